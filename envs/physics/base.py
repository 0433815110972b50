"""The physics seam: what an environment asks of an engine, whichever it is.

An engine holds buffers but no episode: `step` takes the whole state and returns the next one, so that an environment
stays a pure function and any state can be continued, copied or replayed bit for bit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from envs.errors import InputError, require, unknown
from envs.structs import Struct

ENGINES = ("auto", "mujoco", "warp")
"""`mujoco`: MuJoCo's C engine on all CPU threads; `warp`: MuJoCo Warp, float32, on CUDA or, slowly, on the CPU;
`auto`: the first on a CPU and the second on CUDA."""

MODELS = Path(__file__).parent.parent / "locomotion" / "models"

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

        A lane that becomes non-finite is put back to the model's initial state and flagged; others are not touched.
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
        """Are these other tensors than last time, or the same with other content? Remembers them."""
        wanted = [(name, tensor, tensor._version) for name, tensor in scales.items()]
        same = len(wanted) == len(self.bound) and all(
            a[0] == b[0] and a[1] is b[1] and a[2] == b[2] for a, b in zip(wanted, self.bound, strict=True)
        )
        self.bound = wanted
        return not same


def load_model(name: str) -> Any:
    """The `mujoco.MjModel` of `models/NAME.xml`, scaled to its `total_mass` (kg) where it names one.

    Raises:
        InputError: when MuJoCo is missing or does not start.
    """
    try:
        import mujoco
    except ImportError:
        raise InputError(
            "MuJoCo is missing here, and locomotion needs it; install it with: pip install mujoco."
        ) from None
    except RuntimeError as error:  # an environment variable that MuJoCo reads has a value that it does not know
        raise InputError(f"MuJoCo does not start here: {error}.") from None

    model = mujoco.MjModel.from_xml_path(str(MODELS / f"{name}.xml"))
    if mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_NUMERIC, "total_mass") >= 0:
        mujoco.mj_setTotalmass(model, float(model.numeric("total_mass").data[0]))
        mujoco.mj_setConst(model, mujoco.MjData(model))
    return model


def check_engine(engine: str) -> None:
    """Raise `InputError` unless `engine` is one of `ENGINES`."""
    if engine not in ENGINES:
        raise unknown("engine", engine, ENGINES)


def make_physics(
    name: str, frame_skip: int, engine: str, device: torch.device, contact_forces: bool = False
) -> Physics:
    """The model `name` on an engine.

    Raises:
        InputError: for an unknown engine, one that does not run on the device, or one that is not installed.
    """
    check_engine(engine)
    if engine == "auto":
        engine = "warp" if device.type == "cuda" else "mujoco"
    if engine == "mujoco":
        require(
            device.type == "cpu",
            "Engine 'mujoco' computes on the CPU; use --device cpu with it, or engine 'warp' on CUDA.",
        )
        from envs.physics.cpu import CpuPhysics

        return CpuPhysics(load_model(name), frame_skip, contact_forces)
    from envs.physics.warp import WarpPhysics

    return WarpPhysics(load_model(name), frame_skip, device, contact_forces)
