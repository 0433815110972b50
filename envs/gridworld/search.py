"""The Bayes-optimal search for a hidden goal on a small known board, by exact dynamic programming.

A uniform prior over finitely many goals, moves without chance and a reward that tells whether the agent stands on the
goal: until the goal is found, every observation is "not here", so a policy is one fixed walk, cut into the episodes of
a trial. Once the goal is found the rest is known: stay, and in later episodes walk there the shortest way. A goal g at
distance d(g) from the start, first met at step t of episode e (counted from 0) out of K of H steps, therefore pays

    gain(g) = (H + 1 - t) + (K - 1 - e) * (H + 1 - d(g))

steps on the goal, and the Bayes-optimal walk maximizes the sum of the gains. The state of the dynamic program is (time,
cell, set of goals ruled out); states whose upper bound cannot reach a target value are dropped.

For `varibad` the answer is a gain of 825 steps over its 21 goals, an expected return of 1.1 * 825 / 21 - 6 = 37.214 a
trial: 4.0 in the first episode and 11.071, as much as on the shortest way, in each later one.
"""

from __future__ import annotations

import functools

import numpy as np

MAX_STATES = 100_000
"""States of one time step above which the search is given up."""


@functools.lru_cache(maxsize=16)
def optimal_walk(
    moves: tuple[tuple[int, ...], ...], start: int, goals: tuple[int, ...], horizon: int, num_episodes: int
) -> tuple[int, tuple[int, ...]] | None:
    """The walk that maximizes the expected time on the goal over a trial.

    Args:
        moves: for each cell, the cell that each action leads to.
        start: cell in which every episode starts.
        goals: cells among which the goal lies, equally likely; the start is none of them.
        horizon: H, steps in an episode.
        num_episodes: K, episodes in a trial.

    Returns:
        The total gain over all goals, in steps, and the walk as `num_episodes * horizon` actions; after the last goal
        is met they are zeros. None when the board is too large for an exact answer.
    """
    search = _Search(np.array(moves), start, np.array(goals), horizon, num_episodes)
    slack = 1
    while True:  # the first target that a walk reaches proves that walk best: only states below it were dropped
        target = search.root_bound() - slack
        found = search.run(target)
        if found is None or found[0] >= target:
            return found
        slack *= 2


class _Search:
    """The dynamic program. Sets of goals are bits of an int64, above the bits of the cell in a state's key."""

    def __init__(self, moves: np.ndarray, start: int, goals: np.ndarray, horizon: int, num_episodes: int) -> None:
        self.moves, self.start, self.horizon, self.num_episodes = moves, start, horizon, num_episodes
        self.cell_bits = int(len(moves) - 1).bit_length()
        self.bit = np.full(len(moves), -1)
        self.bit[goals] = np.arange(len(goals))
        steps = np.full(len(moves), len(moves))  # distance from the start
        steps[start] = 0
        for _ in range(len(moves)):
            np.minimum.at(steps, moves, steps[:, None] + 1)
        self.nearest = int(steps[goals].min())
        self.later = horizon + 1 - steps[goals]  # [G] gain in each later episode

    def root_bound(self) -> int:
        return int(self._bound(np.zeros(1, np.int64), np.zeros(1, np.int64), 0, 0)[0])

    def run(self, target: int) -> tuple[int, tuple[int, ...]] | None:
        """The best walk among those that reach `target`, or some lower value; None when there are too many states."""
        mask, value, cell = np.zeros(1, np.int64), np.zeros(1, np.int64), np.array([self.start])
        layers: list[tuple[np.ndarray, np.ndarray]] = []  # of each step: predecessor and action of its states
        best, end = 0, (0, 0)
        for episode in range(self.num_episodes):
            cell = np.full(len(mask), self.start)
            for t in range(1, self.horizon + 1):
                parent, action = (x.ravel() for x in np.mgrid[: len(mask), 1:5])
                cell, mask, value = self.moves[cell[parent], action], mask[parent], value[parent]
                bit = self.bit[cell]
                new = (bit >= 0) & (mask >> np.maximum(bit, 0) & 1 == 0)
                gain = self.horizon + 1 - t + (self.num_episodes - 1 - episode) * self.later[bit]
                value, mask = value + new * gain, mask | new.astype(np.int64) << np.maximum(bit, 0)
                keep = np.flatnonzero(self._bound(mask, value, episode, t) >= target)
                # At the end of an episode the cell is forgotten: everyone starts anew.
                key = mask[keep] if t == self.horizon else mask[keep] << self.cell_bits | cell[keep]
                order = np.lexsort((-value[keep], key))
                keep = keep[order[np.diff(key[order], prepend=-1) != 0]]
                if len(keep) == 0 or len(keep) > MAX_STATES:
                    return None if len(keep) else (best, self._walk(layers, end))
                cell, mask, value = cell[keep], mask[keep], value[keep]
                layers.append((parent[keep], action[keep]))
                if value.max() > best:
                    best, end = int(value.max()), (len(layers), int(value.argmax()))
        return best, self._walk(layers, end)

    def _walk(self, layers: list[tuple[np.ndarray, np.ndarray]], end: tuple[int, int]) -> tuple[int, ...]:
        """The actions that lead to state `end[1]` after `end[0]` steps, then zeros."""
        walk, (length, state) = [0] * (self.num_episodes * self.horizon), end
        for step in reversed(range(length)):
            parent, action = layers[step]
            walk[step], state = int(action[state]), int(parent[state])
        return tuple(walk)

    def _bound(self, mask: np.ndarray, value: np.ndarray, episode: int, t: int) -> np.ndarray:
        """No walk on from these states gains more in all: as if one more goal could be met at every step."""
        remaining = mask[:, None] >> np.arange(len(self.later)) & 1 == 0  # [S, G]
        left = remaining.sum(1)
        here = np.minimum(left, self.horizon - t)
        over = left - here  # to be met in the next episode at best, or not at all in the last
        bound = value + here * (self.horizon + 1 - t) - here * (here + 1) // 2
        bound += (self.num_episodes - 1 - episode) * (remaining @ self.later)
        if episode == self.num_episodes - 1:
            return bound
        first = self.horizon + 2 - self.nearest  # gain of the earliest meeting there, plus one
        counted = np.minimum(over, first - 1)
        bound += counted * first - counted * (counted + 1) // 2
        # The goals left over lose one later episode: at best those with the least to lose.
        order = np.argsort(self.later)
        rank = np.cumsum(remaining[:, order], 1)
        return bound - ((rank <= over[:, None]) & remaining[:, order]) @ self.later[order]
