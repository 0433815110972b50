"""The card games: step for step those of popgym itself, what is right by hand, and the references."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cards import CELLS, GAMES, generator, make, play
from gymnasium import spaces

import envs
from envs.popgym.task import CountTask, Task


def popgym_env(name: str):
    """A fresh environment of popgym."""
    module = pytest.importorskip("popgym.envs", reason="popgym is an extra")
    return getattr(module, name)()


def decks_of(theirs) -> list[np.ndarray]:
    """The kinds of the cards in popgym's decks, as they lie."""
    if hasattr(theirs, "query_deck"):
        return [theirs.deck_idx_type[deck.idx] for deck in (theirs.value_deck, theirs.query_deck)]
    return [theirs.deck.suits_idx[theirs.deck.idx]]


@pytest.mark.parametrize(("game", "preset"), CELLS)
def test_every_step_is_that_of_popgym(game, preset):
    """Same cards and same answers, about half of them right: equal observations, rewards and ends at every step."""
    env, num_tasks = make(game, preset), 3
    theirs = [popgym_env("".join(map(str.capitalize, [*game.split("-"), preset]))) for _ in range(num_tasks)]
    seen = [one.reset(seed=seed)[0] for seed, one in enumerate(theirs)]
    task = env.task_type(*(torch.tensor(np.stack(deck)) for deck in zip(*map(decks_of, theirs), strict=True)))
    assert env.horizon == theirs[0].max_episode_length and env.action_space == theirs[0].action_space
    assert env.task_from_dicts(env.task_to_dicts(task)).cards.equal(task.cards)
    draws = generator(1)
    state, obs = env.reset(task, 1, draws)
    for step in range(env.horizon):
        assert np.array_equal(obs[:, 0], [spaces.flatten(theirs[0].observation_space, x) for x in seen]), step
        random, right = (f(task, state, None, draws) for f in (env.random_actions, env.remember))
        action = torch.where(torch.rand(num_tasks, 1, generator=draws) < 0.5, right, random)
        result = env.step(task, state, action, draws)
        seen, rewards, ends, cuts, _ = zip(
            *(one.step(a) for one, a in zip(theirs, action[:, 0].tolist(), strict=True)), strict=True
        )
        assert np.array_equal(result.reward[:, 0], np.float32(rewards)), step
        assert result.terminated[:, 0].tolist() == [*ends] and not any(cuts), step
        state, obs = result.state, result.obs
    assert result.terminated.all()
    assert np.array_equal(obs[:, 0], [spaces.flatten(theirs[0].observation_space, x) for x in seen])


class TestByHand:
    """Cards are written as they are dealt; a task holds them from the last to the first."""

    def deck(self, *first: int, kinds: int) -> torch.Tensor:
        rest = [kind for kind in range(kinds) for _ in range(52 // kinds - first.count(kind))]
        return torch.tensor([[*first, *rest]]).flip(1)

    def test_repeat_previous_asks_for_the_kth_latest_card(self):
        env, task = make("repeat-previous", k=3), Task(self.deck(2, 0, 3, 1, kinds=4))
        assert play(env, task, [2, 2, 2, 0, 0]) * 49 == pytest.approx([0, 0, 1, 1, -1])

    def test_count_recall_counts_what_has_been_shown(self):
        task = CountTask(self.deck(1, 1, 0, 1, kinds=2), self.deck(0, 1, 1, 0, kinds=2))
        assert play(make("count-recall"), task, [0, 2, 2, 1]) * 51 == pytest.approx([1, 1, 1, 1])
        assert play(make("count-recall"), task, [1, 1, 3, 3]) * 51 == pytest.approx([-1, -1, -1, -1])

    def test_autoencode_asks_for_the_deck_backwards(self):
        task = Task(self.deck(2, 0, 3, 1, kinds=4))
        backwards = task.cards[0].tolist()
        rewards = play(make("autoencode"), task, [0] * 51 + backwards)
        assert rewards[:51].eq(0).all() and rewards[51:] * 52 == pytest.approx(np.ones(52))
        assert backwards[-4:] == [1, 3, 0, 2]


@pytest.mark.parametrize(("game", "preset"), CELLS)
def test_perfect_memory_earns_one_and_every_other_answer_costs_as_much(game, preset):
    env = make(game, preset)
    task = env.sample_tasks(4, generator(1))
    state, _ = env.reset(task, 1, generator())
    best = worst = torch.zeros(4, 1)
    for _ in range(env.horizon):
        right = env.remember(task, state, None, generator())
        best = best + env.step(task, state, right, generator()).reward
        result = env.step(task, state, (right + 1) % env.action_space.n, generator())
        state, worst = result.state, worst + result.reward
    assert best.numpy() == pytest.approx(1, abs=1e-5) and worst.numpy() == pytest.approx(-1, abs=1e-5)


def test_the_expected_count_is_the_likeliest_one():
    """Against SciPy's hypergeometric distribution, at every step."""
    from scipy.stats import hypergeom

    env = make("count-recall", "medium")
    task = env.sample_tasks(1, generator())
    state, _ = env.reset(task, 1, generator())
    for step in range(env.horizon):
        guess = env.expect(task, state, None, generator())
        chance = hypergeom(104, 26, step + 1).pmf(np.arange(27))
        assert chance[guess.item()] == pytest.approx(chance.max())
        state = env.step(task, state, guess, generator()).state


@pytest.mark.parametrize("game", GAMES)
def test_decks_are_whole_and_in_uniformly_random_order(game):
    env = make(game)
    for deck in vars(env.sample_tasks(4000, generator(1))).values():
        counts = torch.stack([(deck == kind).sum(1) for kind in range(env.num_kinds)])
        assert counts.eq(52 // env.num_kinds).all()
        where = torch.stack([(deck == kind).float().mean(0) for kind in range(env.num_kinds)])  # [S, C]
        assert where.numpy() == pytest.approx(1 / env.num_kinds, abs=5 * (0.25 / 4000) ** 0.5)


def test_a_deck_that_is_not_whole_is_refused():
    env = make("count-recall")
    row = env.task_to_dicts(env.sample_tasks(1, generator()))[0]
    row["queries"][0] = 1 - row["queries"][0]
    with pytest.raises(envs.InputError, match="queries"):
        env.task_from_dicts([row])


def test_lanes_may_stand_at_different_times():
    """As those of a vector environment do."""
    env = make("count-recall")
    task = env.sample_tasks(1, generator(1))
    state, _ = env.reset(task, 2, generator())
    for _ in range(5):
        later = env.step(task, state, torch.zeros(1, 2).long(), generator()).state
        state = type(state).zip_map(lambda pair: torch.stack([pair[0][:, 0], pair[1][:, 1]], 1), [later, state])
    assert state.time.tolist() == [[5, 0]]
    together = env.answer(task, state.time)
    alone = [env.answer(task, state.time[:, i : i + 1]) for i in range(2)]
    assert torch.equal(together, torch.cat(alone, 1))
