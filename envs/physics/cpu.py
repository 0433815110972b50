"""MuJoCo's C engine over many lanes at once: `mujoco.batch`, as many threads as PyTorch has by default, float64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from envs import threads
from envs.errors import InputError
from envs.physics.base import Binding, Physics, PhysicsState, PhysicsStep

MAX_BATCHES = 4
"""Batches kept, one for each number of lanes; the oldest is dropped first."""


class CpuPhysics(Physics):
    """A model on `mujoco.batch.Batch`. Results do not depend on the number of threads.

    Raises:
        InputError: when this MuJoCo has no `batch`.
    """

    def __init__(self, model: Any, frame_skip: int, contact_forces: bool = False) -> None:
        self.model, self.frame_skip, self.contact_forces = model, frame_skip, contact_forces
        self.device, self.dtype = torch.device("cpu"), torch.float64
        self.num_threads = threads.for_physics or torch.get_num_threads()
        self._lanes: dict[int, _Lanes] = {}

    def step(self, state: PhysicsState, control: Tensor, scales: Mapping[str, Tensor] | None = None) -> PhysicsStep:
        shape = control.shape[:2]
        count = shape.numel()
        if count not in self._lanes:
            if len(self._lanes) == MAX_BATCHES:
                self._lanes.pop(next(iter(self._lanes)))
            self._lanes[count] = _Lanes(self.model, count, self.num_threads, self.contact_forces)
        lanes = self._lanes[count]
        lanes.bind(scales or {}, shape[1])
        diverged = lanes.step(state, control, self.frame_skip)

        def copy(view: np.ndarray) -> Tensor:
            return torch.from_numpy(view.copy()).unflatten(0, shape)

        return PhysicsStep(
            PhysicsState(copy(lanes.qpos), copy(lanes.qvel), copy(lanes.warmstart)),
            copy(diverged),
            None if lanes.contact_force is None else copy(lanes.contact_force),
        )

    def plain_loop(self, qpos: Tensor, qvel: Tensor, control: Tensor) -> Tensor:
        """`mj_step` over every lane in one call of `mujoco.rollout`, without Python between the steps: to compare with.

        Args:
            qpos, qvel: [lanes, ...] to start from.
            control: [lanes, T, A], each held for `frame_skip` steps.

        Returns:
            qpos after each control [lanes, T, ...].
        """
        import mujoco
        from mujoco.rollout import Rollout

        threads, places = torch.get_num_threads(), []
        initial = torch.cat([qpos.new_zeros(len(qpos), 1), qpos, qvel], -1).double().numpy()  # time, qpos, qvel
        assert initial.shape[1] == mujoco.mj_stateSize(self.model, mujoco.mjtState.mjSTATE_FULLPHYSICS)
        controls = control.double().repeat_interleave(self.frame_skip, 1).numpy()
        with Rollout(nthread=threads) as pool:
            for lanes in range(0, len(initial), 100):
                part = slice(lanes, lanes + 100)
                data = [mujoco.MjData(self.model) for _ in range(threads)]
                states, _ = pool.rollout(self.model, data, initial[part], controls[part])
                places.append(torch.from_numpy(states[:, self.frame_skip - 1 :: self.frame_skip, 1:]))
        return torch.cat(places)[..., : qpos.shape[-1]]


class _Lanes:
    """A Batch and live views of what goes in and out of it."""

    def __init__(self, model: Any, count: int, num_threads: int, contact_forces: bool) -> None:
        try:
            from mujoco import mjtWarning
            from mujoco.batch import Batch
        except ImportError:
            import mujoco

            raise InputError(
                f"MuJoCo {mujoco.__version__} has no mujoco.batch; install 3.17 or newer: pip install -U mujoco."
            ) from None
        self.model = model
        self.batch = batch = Batch(model, count, nthread=num_threads)
        self.qpos, self.qvel, self.control = batch.bind("qpos"), batch.bind("qvel"), batch.bind("ctrl")
        self.warmstart = batch.bind("qacc_warmstart")
        self.contact_force = batch.bind("cfrc_ext") if contact_forces else None
        bad = [int(w) for w in (mjtWarning.mjWARN_BADQPOS, mjtWarning.mjWARN_BADQVEL, mjtWarning.mjWARN_BADQACC)]
        self.warnings = batch.warning[:, min(bad) : max(bad) + 1, 1]  # counts of each lane, never set back
        self.seen = self.warnings.sum(1)
        self.binding = Binding()

    def bind(self, scales: Mapping[str, Tensor], num_envs: int) -> None:
        """Multiply the model's fields, unless these very tensors are bound already."""
        before = {name for name, _, _ in self.binding.bound}
        if not self.binding.changed(scales):
            return
        for name in before - scales.keys():
            self.batch.expand(name)[:] = getattr(self.model, name)
        for name, tensor in scales.items():
            factor = tensor.to(torch.float64).repeat_interleave(num_envs, 0).numpy()
            self.batch.expand(name)[:] = getattr(self.model, name) * factor
        self.batch.set_const()

    def step(self, state: PhysicsState, control: Tensor, frame_skip: int) -> np.ndarray:
        """Advance all lanes. Returns which diverged [lanes]."""
        self.qpos[:] = state.qpos.flatten(0, 1).numpy()
        self.qvel[:] = state.qvel.flatten(0, 1).numpy()
        self.warmstart[:] = state.warmstart.flatten(0, 1).numpy()
        self.control[:] = control.flatten(0, 1).numpy()
        self.batch.step(nstep=frame_skip)
        counts = self.warnings.sum(1)
        diverged = (counts != self.seen) | ~np.isfinite(self.qvel).all(1)
        self.seen = counts
        if diverged.any():
            self.qpos[diverged], self.qvel[diverged], self.warmstart[diverged] = self.model.qpos0, 0.0, 0.0
        return diverged
