"""MuJoCo Warp over many lanes at once: float32, on CUDA or, by the same code, on the CPU.

The substeps of a step are one captured graph. On CUDA it runs on PyTorch's current stream, in memory that it shares
with tensors, and the host waits for it only when the number of lanes or the scales are new. There, contacts come into
their buffers in whatever order kernels find them, and sums follow that order, so that two steps from the same state
differ by rounding. On the CPU a step is repeated bit for bit.

Warp compiles its kernels when a model is first stepped, which takes a minute or more, and keeps them in its own cache
folder (`WARP_CACHE_PATH` names another).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from envs.errors import InputError, require
from envs.physics.base import Binding, Physics, PhysicsState, PhysicsStep

try:
    import warp as wp

    if wp.config.log_level == wp.LOG_INFO:  # its default, which greets and reports each module that it loads
        wp.config.log_level = wp.LOG_WARNING
    import mujoco_warp as mjw
except ImportError:
    raise InputError(
        "Engine 'warp' needs MuJoCo Warp, which is missing here; "
        "install it with: pip install \"metarl-toolkit[warp]\", or use engine 'mujoco'."
    ) from None

MAX_LANES = 4
"""Sets of buffers kept, one for each number of lanes and set of scaled fields; the oldest is dropped first."""

MAX_VALUE = 1e10
"""What is larger counts as divergence: `mjMAXVAL` of the C engine."""

MAX_CONTACTS = 128
"""Contacts of a lane that buffers have room for, on average over lanes, where a model could have more."""

DERIVED = ("body_subtreemass", "body_invweight0", "dof_invweight0", "tendon_invweight0", "actuator_acc0")
"""Model fields that follow from those in `SCALABLE`, and that Warp's kernels read."""

LOST = int(mjw.OverflowType.ALL & ~(mjw.OverflowType.ITERATIONS | mjw.OverflowType.LS_ITERATIONS))
"""Overflows that lose contacts or constraints, unlike a solver that stops at its last iteration."""


class WarpPhysics(Physics):
    """A model on MuJoCo Warp.

    Raises:
        InputError: for a device that Warp cannot use.
    """

    def __init__(self, model: Any, frame_skip: int, device: torch.device, contact_forces: bool = False) -> None:
        require(device.type in ("cpu", "cuda"), f"Engine 'warp' runs on 'cuda' or 'cpu', not on {str(device)!r}.")
        wp.init()
        require(
            device.type == "cpu" or wp.is_cuda_available(),
            "PyTorch sees a CUDA device here, but Warp does not; update its driver, or use --device cpu.",
        )
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
        self.model, self.frame_skip, self.contact_forces = model, frame_skip, contact_forces
        self.device, self.dtype = device, torch.float32
        self._lanes: dict[tuple[int, tuple[str, ...]], _Lanes] = {}

    @torch.no_grad()
    def step(self, state: PhysicsState, control: Tensor, scales: Mapping[str, Tensor] | None = None) -> PhysicsStep:
        shape = control.shape[:2]
        scales = scales or {}
        key = (shape.numel(), tuple(sorted(scales)))
        if key not in self._lanes:
            if len(self._lanes) == MAX_LANES:
                wp.synchronize_device(wp.device_from_torch(self.device))  # a graph may still run in its memory
                self._lanes.pop(next(iter(self._lanes)))
            self._lanes[key] = _Lanes(self.model, self.frame_skip, self.device, self.contact_forces, *key)
        lanes = self._lanes[key]
        lanes.bind(scales, shape[1])
        return lanes.step(state, control).map(lambda tensor: tensor.unflatten(0, shape))


class _Lanes:
    """Buffers of `count` lanes, with room for a value in each lane of the fields in `scaled`, and the graph on them."""

    @torch.inference_mode(False)  # its tensors are written to in whatever mode `step` is called
    def __init__(
        self,
        model: Any,
        frame_skip: int,
        device: torch.device,
        contact_forces: bool,
        count: int,
        scaled: tuple[str, ...],
    ) -> None:
        self.model, self.warp = model, wp.device_from_torch(device)
        names = [name for name in (*scaled, *DERIVED) if getattr(model, name).size] if scaled else []
        with wp.ScopedDevice(self.warp):
            m = mjw.put_model(model, batch_sizes=dict.fromkeys(names, count))
            m.opt.graph_conditional = self.warp.is_cpu or wp.is_conditional_graph_supported()
            m.sensor_rne_postconstraint = contact_forces  # at the start of a substep, as in the C engine
            m.opt.warn_overflow = 0  # kernels would print; `step` warns instead
            contacts, rows = capacity(model, m.nxn_geom_pair_filtered.numpy())
            d = mjw.make_data(model, nworld=count, nconmax=contacts, njmax=rows)

            def substeps() -> None:
                for _ in range(frame_skip):
                    mjw.step(m, d)

            substeps()  # compiles and loads the kernels, which a capture may not
            with wp.ScopedCapture() as capture:
                substeps()
            wp.synchronize_device()  # what comes next runs on PyTorch's stream
        self.graph, self.on_device = capture.graph, (m, d)  # the graph works in their memory
        self.qpos, self.qvel, self.warmstart = (wp.to_torch(a) for a in (d.qpos, d.qvel, d.qacc_warmstart))
        self.control = wp.to_torch(d.ctrl)
        self.contact_force = wp.to_torch(d.cfrc_ext) if contact_forces else None
        self.fields = {name: wp.to_torch(getattr(m, name)) for name in names}
        self.constraints = [wp.to_torch(d.efc.J), wp.to_torch(d.efc.D)]
        self.overflow = wp.to_torch(d.overflow)
        self.lost = torch.zeros((), dtype=torch.bool, pin_memory=device.type == "cuda")
        self.warned = False
        self.start = torch.as_tensor(model.qpos0, dtype=torch.float32, device=device)
        self.binding = Binding()

    def bind(self, scales: Mapping[str, Tensor], num_envs: int) -> None:
        """Write the scaled fields and what follows from them, unless these very tensors are bound already."""
        if not self.binding.changed(scales):
            return
        values = scaled_fields(self.model, scales)
        for name, field in self.fields.items():
            field.copy_(torch.from_numpy(values[name]).to(field).repeat_interleave(num_envs, 0))

    def step(self, state: PhysicsState, control: Tensor) -> PhysicsStep:
        """Advance all lanes. Everything that is returned is [lanes, ...], and fresh."""
        if self.lost and not self.warned:
            warnings.warn(
                "MuJoCo Warp found more contacts or constraints than its buffers hold, and left some out; "
                "use engine 'mujoco' for a model like this one.",
                stacklevel=5,
            )
            self.warned = True
        self.qpos.copy_(state.qpos.flatten(0, 1))
        self.qvel.copy_(state.qvel.flatten(0, 1))
        self.warmstart.copy_(state.warmstart.flatten(0, 1))
        self.control.copy_(control.flatten(0, 1))
        with wp.ScopedDevice(self.warp):
            wp.capture_launch(self.graph, wp.stream_from_torch(self.qpos.device) if self.warp.is_cuda else None)
        # Arrives in host memory some time later, and is looked at by a later step: waiting for it would stall.
        self.lost.copy_((self.overflow & LOST).any(), non_blocking=True)

        sound = torch.stack([(x.abs() <= MAX_VALUE).all(-1) for x in (self.qpos, self.qvel, self.warmstart)]).all(0)
        for rows in self.constraints:  # unused rows count with a factor of 0, which does not remove a NaN
            rows.masked_fill_(~sound.view(-1, *[1] * (rows.ndim - 1)), 0.0)
        return PhysicsStep(
            PhysicsState(
                torch.where(sound[:, None], self.qpos, self.start),
                torch.where(sound[:, None], self.qvel, 0.0),
                torch.where(sound[:, None], self.warmstart, 0.0),
            ),
            ~sound,
            None if self.contact_force is None else torch.where(sound[:, None, None], self.contact_force, 0.0),
        )


def capacity(model: Any, pairs: np.ndarray) -> tuple[int, int]:
    """Room for (contacts, constraint rows) of a lane: as many as there can be, up to `MAX_CONTACTS`.

    Args:
        pairs: geoms that may collide [P, 2].
    """
    from mujoco import mjtCone, mjtGeom

    most = {int(mjtGeom.mjGEOM_SPHERE): 1, int(mjtGeom.mjGEOM_ELLIPSOID): 1, int(mjtGeom.mjGEOM_CAPSULE): 2}
    points = [most.get(int(kind), 8) for kind in model.geom_type]  # contacts of a geom with another; 8: two boxes
    contacts = max(1, min(MAX_CONTACTS, sum(min(points[a], points[b]) for a, b in pairs.tolist())))
    condim = int(model.geom_condim.max(initial=1))
    pyramid = model.opt.cone == mjtCone.mjCONE_PYRAMIDAL and condim > 1
    limits = int(model.jnt_limited.sum() + model.tendon_limited.sum())
    friction = int((model.dof_frictionloss > 0).sum() + (model.tendon_frictionloss > 0).sum())
    rows = limits + friction + 6 * model.neq + contacts * (2 * (condim - 1) if pyramid else condim)
    return contacts, rows


def scaled_fields(model: Any, scales: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """The scaled fields of each task and those in `DERIVED` [N, ...], by the C engine's mj_setConst in float64.

    Computed on the host, once for the tasks of an episode, so that both engines simulate the same bodies.
    """
    from mujoco.batch import Batch

    batch = Batch(model, len(next(iter(scales.values()))), nthread=torch.get_num_threads())
    for name, tensor in scales.items():
        batch.expand(name)[:] = getattr(model, name) * tensor.detach().to("cpu", torch.float64).numpy()
    batch.set_const()
    values = {}
    for name in (*scales, *DERIVED):
        field = batch.expanded(name)
        if field is None:  # the same for all tasks
            field = np.broadcast_to(getattr(model, name), (batch.nsim, *getattr(model, name).shape))
        values[name] = field.copy()
    return values
