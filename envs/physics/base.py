"""The physics seam: what an environment asks of an engine, whichever it is.

An engine holds buffers but no episode: `step` takes the whole state and returns the next one, so that an environment
stays a pure function and any state can be continued, copied or replayed bit for bit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from envs.structs import Struct

SCALABLE = ("body_mass", "body_inertia", "dof_damping", "geom_friction")
"""Model fields that a task may multiply."""


@dataclass(frozen=True, eq=False)
class PhysicsState(Struct):
    """All that an engine needs to continue: float64 from the C engine, float32 from Warp."""

    qpos: Tensor  # [N, E, nq] m, rad, quaternions (which engines normalize)
    qvel: Tensor  # [N, E, nv] m/s, rad/s
    warmstart: Tensor  # [N, E, nv] accelerations from which the constraint solver starts


@dataclass(frozen=True, eq=False)
class PhysicsStep(Struct):
    """What `Physics.step` returns."""

    state: PhysicsState
    diverged: Tensor  # [N, E] bool: became non-finite or huge, and stands at the model's initial state
    contact_force: Tensor | None  # [N, E, nbody, 6] N m, N: `cfrc_ext` of the last substep, when it was asked for


class Physics(ABC):
    """A model on an engine.

    Attributes:
        model: the `mujoco.MjModel`, for sizes, names, initial state and rendering.
        device, dtype: of the states.
        frame_skip: substeps of `model.opt.timestep` s in a step.
    """

    model: Any
    device: torch.device
    dtype: torch.dtype
    frame_skip: int
    _lanes: dict[Any, Any]  # buffers by number of lanes, made when a step needs them

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles go without the buffers, which the next step fills with its state anyway."""
        return {**vars(self), "_lanes": {}}

    @abstractmethod
    def step(self, state: PhysicsState, control: Tensor, scales: Mapping[str, Tensor] | None = None) -> PhysicsStep:
        """Advance every lane by `frame_skip` substeps under constant `control` [N, E, nu].

        Args:
            scales: multipliers [N, ...] of the model's fields in `SCALABLE`, one set for each task. They are bound
                when other tensors come in than last time, so pass the same tensors throughout an episode.

        A lane that becomes non-finite is reset to the model's initial state and flagged; others are not affected.
        """

    @property
    def dt(self) -> float:
        """Duration of a step in s."""
        return self.frame_skip * self.model.opt.timestep


class Binding:
    """Remembers which tensors of scales an engine holds. The tensors stay alive, so that identity means equality."""

    def __init__(self) -> None:
        self.bound: list[tuple[str, Tensor, int]] = []

    def changed(self, scales: Mapping[str, Tensor]) -> bool:
        """Are these different tensors from last time, or the same with new content? Remembers them."""
        wanted = [(name, tensor, tensor._version) for name, tensor in scales.items()]
        same = len(wanted) == len(self.bound) and all(
            a[0] == b[0] and a[1] is b[1] and a[2] == b[2] for a, b in zip(wanted, self.bound, strict=True)
        )
        self.bound = wanted
        return not same
