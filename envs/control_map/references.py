"""Reference policies for reaching under a hidden map: one is told the map, one measures it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from envs.control_map.task import ControlMapConfig, State, Task
from envs.core import Reference, Transition
from envs.structs import Struct

PROBE = 0.1
"""Size of the actions that measure the map. Motion is exact, so that a small one, which costs little, tells as much."""
TOLERANCE = 1e-3
"""Error, in steps, of a predicted motion beyond which the map must have changed."""


def make_references(config: ControlMapConfig) -> dict[str, Reference]:
    """References by name, without `random`. The one that is told the map is optimal: a bound on every return."""

    def told(task: Task, state: State, memory: None, generator: Generator) -> Tensor:
        return aim(current_map(task, state, config), state, config)

    return {"identification": identification(config), "told the map": Reference(told)}


def current_map(task: Task, state: State, config: ControlMapConfig) -> Tensor:
    """The map of each lane now [N, E, 2, 2]; [N, 1, 2, 2] where there is one for the whole episode."""
    if config.reach is None:
        return task.control
    reach = (state.time // config.reach).clamp_max(config.num_reaches - 1)
    return task.control.flatten(2).gather(1, reach[..., None].expand(-1, -1, 4)).unflatten(2, (2, 2))


def aim(control: Tensor, state: State, config: ControlMapConfig) -> Tensor:
    """The best action [N, E, 2] under the map `control` [N, E, 2, 2], a gain times a rotation or reflection.

    Such a map scales distances by its gain g. In the coordinates y = M⁻¹ (goal - x) / max_step, an action moves by
    itself, and each axis can be brought to 0 alone: clipping each is the fastest way there for both at every step.
    """
    squared = control.square().sum((-2, -1)) / 2  # g², and M⁻¹ = Mᵀ / g²
    offset = (control * (state.goal - state.position)[..., None]).sum(-2)  # Mᵀ (goal - x)
    return (offset / (config.max_step * squared[..., None]).clamp_min(1e-12)).clamp(-1.0, 1.0)


@dataclass(frozen=True, eq=False)
class Measured(Struct):
    """Memory of identification."""

    control: Tensor  # [N, E, 2, 2], column i once action i was tried
    count: Tensor  # [N, E] int64, actions tried: 0, 1 or 2


def identification(config: ControlMapConfig) -> Reference:
    """Tries a small action along each axis, whose motions are the columns of the map, and acts on what it saw.

    It starts again when a motion contradicts its map.
    """

    def start(task: Task, num_envs: int, generator: Generator) -> Measured:
        lanes = len(task.control), num_envs
        count = torch.zeros(lanes, dtype=torch.int64, device=task.control.device)
        return Measured(torch.zeros(*lanes, 2, 2, device=task.control.device), count)

    def act(task: Task, state: State, memory: Measured, generator: Generator) -> Tensor:
        probe = PROBE * torch.stack([memory.count == 0, memory.count == 1], -1)
        return torch.where((memory.count < 2)[..., None], probe, aim(memory.control, state, config))

    def observe(task: Task, memory: Measured, transition: Transition[State]) -> Measured:
        before, after = transition.state, transition.next_state
        moved = (after.position - before.position) / config.max_step
        column = torch.stack([memory.count == 0, memory.count == 1], -1)[..., None, :]
        measured = torch.where(column, moved[..., None] / PROBE, memory.control)
        error = (memory.control * transition.action[..., None, :]).sum(-1) - moved
        changed = (memory.count == 2) & (error.abs().amax(-1) > TOLERANCE)
        count = torch.where(changed, 0, (memory.count + 1).clamp_max(2))
        put_back = after.time % (config.reach or config.horizon) == 0  # this motion was not seen
        return Measured(
            torch.where(put_back[..., None, None], memory.control, measured), torch.where(put_back, memory.count, count)
        )

    return Reference(act, start, observe)
