"""Dark key-to-door: find an invisible key, then an invisible door (Laskin et al. 2022, algorithm distillation).

The key pays 1 once, and then the door pays 1 once; the episode goes on to its last step. The observation shows the
position, never key or door, which can only be inferred from rewards. A board of 9 × 9 cells has 6,561 tasks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from gymnasium import spaces
from torch import Generator, Tensor

from envs.core import Env, Reference, StepResult, equal_counts
from envs.errors import require
from envs.gridworld.layouts import ACTIONS, held_out, move_table, observation_table, shuffled
from envs.gridworld.render import draw
from envs.key_to_door.references import make_references
from envs.key_to_door.task import KeyToDoorConfig, State, Task


class KeyToDoor(Env[Task, State]):
    """Dark key-to-door. obs [N, E, 2]: row and column, each scaled to [-1, 1]; or [N, E, 4], see `see_progress`.

    action [N, E]: 0 stay, 1 up, 2 right, 3 down, 4 left. Never ends.
    """

    task_type = Task
    oracle = "shortest path"

    def __init__(self, config: KeyToDoorConfig, device: torch.device) -> None:
        self.config, self.device, self.horizon = config, device, config.horizon
        self.walls = torch.zeros(config.size, config.size, dtype=torch.bool)
        self.moves = move_table(self.walls).to(device)
        self.start = config.start[0] * config.size + config.start[1]
        self._table = observation_table(self.walls, "position").to(device)
        self.observation_space = spaces.Box(-1.0, 1.0, (4 if config.see_progress else 2,), np.float32)
        self.action_space = spaces.Discrete(len(ACTIONS))
        place = [config.size, config.size]
        self.task_space = spaces.Dict(key=spaces.MultiDiscrete(place), door=spaces.MultiDiscrete(place))
        pairs = held_out(shuffled(config.size**4), config.held_out_every)
        self.pairs = {split: numbers.to(device) for split, numbers in pairs.items()}
        words = f"{{}} of {config.size**4} pairs of a key and a door, "
        self.splits = {
            split: words.format(len(numbers))
            + ("equally likely" if split == "train" else "each as often as any other")
            + ("" if split == "train" or not config.held_out_every else ", none of them in another split")
            for split, numbers in self.pairs.items()
        }

    def sample_tasks(self, n: int, generator: Generator, split: str = "train") -> Task:
        self.check_split(split)
        require(n >= 1, f"The number of tasks must be at least 1, not {n}.")
        pairs, size = self.pairs[split], self.config.size
        if split == "train":
            chosen = torch.randint(len(pairs), (n,), generator=generator, device=self.device)
        else:
            chosen = equal_counts(n, len(pairs), generator)
        key, door = pairs[chosen] // size**2, pairs[chosen] % size**2
        return Task(*(torch.stack([cell // size, cell % size], -1) for cell in (key, door)))

    def reset(self, task: Task, num_envs: int, generator: Generator) -> tuple[State, Tensor]:
        cell = torch.full((len(task.key), num_envs), self.start, device=self.device)
        state = State(cell, torch.zeros_like(cell))
        return state, self._observe(state)

    def any_states(self, task: Task, num_envs: int, generator: Generator) -> tuple[State, Tensor]:
        """Uniform over cells and what was found."""
        lanes = (len(task.key), num_envs)
        cell, found = (
            torch.randint(n, lanes, generator=generator, device=self.device) for n in (self.walls.numel(), 3)
        )
        state = State(cell, found)
        return state, self._observe(state)

    def step(self, task: Task, state: State, action: Tensor, generator: Generator) -> StepResult[State]:
        cell = self.moves[state.cell * len(ACTIONS) + action]
        key, door = ((place[:, 0] * self.config.size + place[:, 1])[:, None] for place in (task.key, task.door))
        wanted = torch.where(state.found == 0, key, door)
        paid = (cell == wanted) & (state.found < 2)
        after = State(cell, state.found + paid)
        return StepResult(after, self._observe(after), paid.float(), torch.zeros_like(paid))

    def _observe(self, state: State) -> Tensor:
        obs = self._table.index_select(0, state.cell.flatten()).view(*state.cell.shape, -1)
        if not self.config.see_progress:
            return obs
        return torch.cat([obs, torch.stack([state.found >= 1, state.found >= 2], -1).float()], -1)

    def references(self) -> dict[str, Reference]:
        """`random`, `shortest path` and `systematic search`."""
        return {"random": Reference(self.random_actions), **make_references(self.config, self.device)}

    def render(self, task: Task, episode: State, earlier: Sequence[State] = (), size: int = 480) -> np.ndarray:
        """The key is a hollow square until it is held."""
        key, door = (int(place[0] * self.config.size + place[1]) for place in (task.key, task.door))
        return draw(
            self.walls,
            self.walls,
            door,
            self.start,
            episode.cell.flatten().tolist(),
            [past.cell.flatten().tolist() for past in earlier],
            size,
            key=key if int(episode.found.flatten()[-1]) == 0 else None,
        )
