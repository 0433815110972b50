"""Reference policies of dark key-to-door. `shortest path` knows the task; `systematic search` remembers its trial."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from envs.core import Reference, Transition
from envs.gridworld.layouts import ACTIONS, FAR, OFFSETS
from envs.gridworld.references import first_least, rows_first
from envs.key_to_door.task import KeyToDoorConfig, State, Task
from envs.structs import Struct


@dataclass(frozen=True, eq=False)
class Search(Struct):
    """Memory of the search."""

    key: Tensor  # [N, E, C] bool: the key may be here
    door: Tensor  # [N, E, C] bool: the door may be here


def make_references(config: KeyToDoorConfig, device: torch.device) -> dict[str, Reference]:
    """References by name, without `random`."""
    policies = Policies(config.size, device)
    return {
        "shortest path": Reference(policies.shortest_path),
        "systematic search": Reference(policies.search, policies.start, policies.observe),
    }


class Policies:
    """The functions of the references, on a board of `size` × `size` cells."""

    def __init__(self, size: int, device: torch.device) -> None:
        cell = torch.arange(size * size, device=device)
        place = torch.stack([cell // size, cell % size], -1)
        self.size, self.cells = size, cell
        self.apart = (place[:, None] - place).abs().sum(-1).short()  # [C, C] steps
        target = (place[:, None] + torch.tensor(OFFSETS, device=device)).clamp(0, size - 1)
        self.neighbours = target[..., 0] * size + target[..., 1]  # [C, 5]
        assert self.neighbours.shape[1] == len(ACTIONS)

    def towards(self, cell: Tensor, target: Tensor) -> Tensor:
        """The first step of a shortest way from cells to cells, both [N, E]; stays where they are the same."""
        return first_least(self.apart[target[..., None], self.neighbours[cell]])

    def shortest_path(self, task: Task, state: State, memory: None, generator: Generator) -> Tensor:
        """To the key, then to the door, each along its column first, and stays there."""
        key, door = ((place[:, 0] * self.size + place[:, 1])[:, None] for place in (task.key, task.door))
        target = torch.where(state.found == 0, key, door)
        return rows_first(self.apart[target[..., None], self.neighbours[state.cell]])

    def start(self, task: Task, num_envs: int, generator: Generator) -> Search:
        anywhere = torch.ones(len(task.key), num_envs, len(self.cells), dtype=torch.bool, device=self.cells.device)
        return Search(anywhere, anywhere)

    def search(self, task: Task, state: State, memory: Search, generator: Generator) -> Tensor:
        """To the nearest cell where what is wanted next may be; good, but not optimal. Rewards told it what it has."""
        belief = torch.where((state.found == 0)[..., None], memory.key, memory.door)
        nearest = first_least(self.apart[state.cell].where(belief, FAR))
        return self.towards(state.cell, torch.where(state.found == 2, state.cell, nearest))

    def observe(self, task: Task, memory: Search, transition: Transition[State]) -> Search:
        """The cell that was entered is where the wanted thing is, if it paid; otherwise it is not there."""
        here = transition.next_state.cell[..., None] == self.cells
        paid = (transition.reward > 0.5)[..., None]
        known = [torch.where(paid, here, belief & ~here) for belief in (memory.key, memory.door)]
        stages = [(transition.state.found == k)[..., None] for k in (0, 1)]
        return Search(torch.where(stages[0], known[0], memory.key), torch.where(stages[1], known[1], memory.door))
