"""Which engine simulates a model: MuJoCo's C engine or MuJoCo Warp. Each is imported when it is first asked for."""

from __future__ import annotations

import torch

from envs.errors import require, unknown
from envs.physics.base import Physics
from envs.physics.model import load_model

ENGINES = ("auto", "mujoco", "warp")
"""`mujoco`: MuJoCo's C engine on all CPU threads; `warp`: MuJoCo Warp, float32, on CUDA or, slowly, on the CPU;
`auto`: the first on a CPU and the second on CUDA."""


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
