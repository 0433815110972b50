"""Reference policies for glyphs.

`oracle` is told the labels. `nearest neighbour` compares images, averaged over 2 × 2 pixels, with those whose label it
has seen in this episode. It gives the label of the nearest one, unless that is farther away than `NEW` and there are
labels it has not seen: then it guesses one of these. In the active form it asks where none is nearer than `SURE`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn.functional import avg_pool2d

from envs.core import Reference, Transition
from envs.glyphs.letters import SIDE
from envs.glyphs.task import GlyphsConfig, State, Task, one_hot
from envs.structs import Struct

POOL = 2
NEW, SURE = 0.04, 0.025
"""Mean squared differences of pixels; the best of seven on training tasks of `5-way` and `5-way-active`."""


@dataclass(frozen=True, eq=False)
class Seen(Struct):
    """The instances of an episode up to now."""

    image: Tensor  # [N, E, H, P] float32 in [0, 1]
    label: Tensor  # [N, E, H] int64, or -1 where it was not revealed


def make_references(config: GlyphsConfig) -> dict[str, Reference]:
    """References by name, without `random`."""
    neighbour = Neighbour(config)
    return {
        "nearest neighbour": Reference(neighbour.act, neighbour.start, neighbour.observe),
        "oracle": Reference(oracle),
    }


def oracle(task: Task, state: State, memory: None, generator: Generator) -> Tensor:
    """The label [N, E]."""
    return _now(state.label, state).long()


@dataclass(frozen=True)
class Neighbour:
    """The nearest neighbour among the instances of this episode."""

    config: GlyphsConfig

    def start(self, task: Task, num_envs: int, generator: Generator) -> Seen:
        shape, device = (len(task.letter), num_envs, self.config.horizon), task.letter.device
        image = torch.zeros(*shape, (SIDE // POOL) ** 2, device=device)
        return Seen(image, torch.full(shape, -1, device=device))

    def observe(self, task: Task, seen: Seen, transition: Transition[State]) -> Seen:
        state, asked = transition.state, transition.action == self.config.num_letters
        label = _now(state.label, state).long()
        here = state.time.unsqueeze(-1)
        before = torch.where(here == 0, -1, seen.label)  # an episode forgets those before it
        image = _pooled(state.image).unsqueeze(-2)
        return Seen(
            seen.image.scatter(-2, here.unsqueeze(-1).expand_as(image), image),
            before.scatter(-1, here, (torch.where(asked, label, -1) if self.config.active else label).unsqueeze(-1)),
        )

    def act(self, task: Task, state: State, seen: Seen, generator: Generator) -> Tensor:
        size = self.config.num_letters
        known = (seen.label >= 0) & (state.time > 0).unsqueeze(-1)  # [N, E, H]
        distance = (seen.image - _pooled(state.image).unsqueeze(-2)).square().mean(-1)
        nearest, index = torch.where(known, distance, torch.inf).min(-1)
        label = seen.label.gather(-1, index.unsqueeze(-1)).squeeze(-1).clamp(min=0)
        unseen = ~(one_hot(seen.label, size) & known.unsqueeze(-1)).any(-2)  # [N, E, L]
        guess = (unseen * (1 + torch.rand(unseen.shape, generator=generator, device=unseen.device))).argmax(-1)
        if self.config.active:
            return torch.where(nearest > SURE, size, label)
        return torch.where((nearest > NEW) & unseen.any(-1), guess, label)


def _now(per_instance: Tensor, state: State) -> Tensor:
    """[N, E], at the present instance, of something for each instance [N, E, H]."""
    return per_instance.gather(-1, state.time.clamp(max=per_instance.shape[-1] - 1).unsqueeze(-1)).squeeze(-1)


def _pooled(image: Tensor) -> Tensor:
    """Images [N, E, 784] uint8, averaged over squares of pixels: [N, E, P] in [0, 1]."""
    square = image.reshape(-1, 1, SIDE, SIDE) / 255
    return avg_pool2d(square, POOL).view(*image.shape[:-1], -1)
