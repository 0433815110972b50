"""What all locomotion families share: a robot on a physics engine. A family adds its tasks and its reward.

A step is `frame_skip` physics substeps under one action. Velocities in rewards are displacements of the root over such
a step, divided by its duration.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from gymnasium import spaces
from torch import Generator, Tensor

from envs.core import Env, Reference, StepResult, TaskT
from envs.fields import Checked, NonNegativeFloat, PositiveInt
from envs.locomotion.picture import Chart, Mark, Picture
from envs.physics.base import PhysicsState
from envs.physics.engines import check_engine, make_physics
from envs.structs import Struct

LIMIT = 1e10
"""A simulation with larger numbers has diverged, to MuJoCo (its mjMAXVAL) as to us."""


@dataclass(frozen=True)
class RobotConfig(Checked):
    """Parameters of every locomotion family."""

    control_cost: NonNegativeFloat = 0.05
    """Weight of the squared norm of the action, which is subtracted from the reward."""
    horizon: PositiveInt = 200
    """Steps in an episode."""
    engine: str = "auto"
    """Physics engine: mujoco (C, on the CPU), warp (CUDA), or auto, which goes by the device."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_engine(self.engine)


@dataclass(frozen=True, eq=False)
class Motion(Struct):
    """What a control step did."""

    state: PhysicsState  # after the step
    velocity: Tensor  # [N, E, 2] m/s, of the root along x and y; y = 0 for planar robots
    contact_force: Tensor | None  # [N, E, nbody, 6] N m, N


class Robot(Env[TaskT, PhysicsState]):
    """A locomotion family on a model of `envs/locomotion/models`.

    obs [N, E, O] float32: positions (m, rad, quaternions) but the hidden ones, then velocities. action [N, E, A]: in
    [-1, 1], torques in units of each motor's gear.

    Attributes:
        physics: the engine.
        num_diverged: int64 tensor; how many times a simulation became non-finite and was reset.
    """

    model: ClassVar[str]
    """Name of the model's file."""
    frame_skip: ClassVar[int]
    """Physics substeps in a step."""
    noise: ClassVar[float] = 0.1
    """Half width of the uniform noise on initial positions (m, rad), and the scale of that on velocities."""
    gaussian: ClassVar[bool] = True
    """Is the noise on initial velocities Gaussian, or uniform?"""
    hidden: ClassVar[int] = 1
    """How many of the first positions observations leave out: x, or x and y, or none."""
    contact_forces: ClassVar[bool] = False
    """Does the reward need contact forces?"""
    recordable = False  # the physics is a recording of its own

    config: RobotConfig

    def __init__(self, config: RobotConfig, device: torch.device) -> None:
        self.config, self.device, self.horizon = config, device, config.horizon
        self.physics = make_physics(self.model, self.frame_skip, config.engine, device, self.contact_forces)
        m = self.physics.model
        self.planar = m.jnt_type[0] != 0  # a free joint is 0
        self.observation_space = spaces.Box(-LIMIT, LIMIT, (m.nq - self.hidden + m.nv,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (m.nu,), np.float32)
        self.start = torch.as_tensor(m.qpos0, dtype=self.physics.dtype, device=device)
        self.num_diverged = torch.zeros((), dtype=torch.int64, device=device)
        self._reported = 0

    @abstractmethod
    def reward(self, task: TaskT, motion: Motion, action: Tensor) -> Tensor:
        """Reward [N, E] of a step, in the engine's precision."""

    @abstractmethod
    def chart(self, task: TaskT, episode: PhysicsState) -> Chart:
        """What a video plots for one task and the states [t] of an episode."""

    def marks(self, task: TaskT) -> list[Mark]:
        """What a video shows on the ground for one task. By default nothing."""
        return []

    def fallen(self, state: PhysicsState) -> Tensor:
        """Where an episode terminates [N, E]. By default nowhere."""
        return torch.zeros_like(state.qpos[..., 0], dtype=torch.bool)

    def scales(self, task: TaskT) -> Mapping[str, Tensor] | None:
        """Multipliers [N, ...] of the model's fields. By default the model is the same for all tasks."""
        return None

    def reset(self, task: TaskT, num_envs: int, generator: Generator) -> tuple[PhysicsState, Tensor]:
        self._report_divergence()
        m, lanes = self.physics.model, (len(task), num_envs)

        def draw(random, size: int) -> Tensor:
            return random(*lanes, size, generator=generator, device=self.device).to(self.physics.dtype)

        qpos = self.start + self.noise * (2 * draw(torch.rand, m.nq) - 1)
        spread = draw(torch.randn, m.nv) if self.gaussian else 2 * draw(torch.rand, m.nv) - 1
        state = PhysicsState(qpos, self.noise * spread, torch.zeros_like(spread))
        return state, self.observe(state)

    def step(self, task: TaskT, state: PhysicsState, action: Tensor, generator: Generator) -> StepResult[PhysicsState]:
        action = action.clamp(-1.0, 1.0)
        result = self.physics.step(state, action, self.scales(task))
        velocity = (result.state.qpos[..., :2] - state.qpos[..., :2]) / self.physics.dt
        velocity = velocity.masked_fill(result.diverged[..., None], 0.0)  # a jump back to the start is no motion
        if self.planar:  # the second coordinate is the height
            velocity[..., 1] = 0.0
        self.num_diverged += result.diverged.sum()
        reward = self.reward(task, Motion(result.state, velocity, result.contact_force), action)
        return StepResult(result.state, self.observe(result.state), reward.float(), self.fallen(result.state))

    def observe(self, state: PhysicsState) -> Tensor:
        return torch.cat([state.qpos[..., self.hidden :], state.qvel], -1).float()

    def stand_still(self, task: TaskT, state: PhysicsState, memory: None, generator: Generator) -> Tensor:
        """The reference that applies no torque."""
        return torch.zeros(*state.qpos.shape[:2], self.physics.model.nu, device=self.device)

    def references(self) -> dict[str, Reference]:
        return {"random": Reference(self.random_actions), "standing still": Reference(self.stand_still)}

    def metrics(self) -> dict[str, float]:
        return {"diverged": float(self.num_diverged)}

    def _report_divergence(self) -> None:
        """Warn, at most once an episode, of simulations that diverged since the last time."""
        count = int(self.num_diverged)
        if count > self._reported:
            warnings.warn(
                f"{count - self._reported} simulations of {self.model!r} became non-finite and were reset "
                f"({count} so far); those steps count as zero velocity.",
                stacklevel=3,
            )
            self._reported = count

    def render(
        self, task: TaskT, episode: PhysicsState, earlier: Sequence[PhysicsState] = (), size: int = 480
    ) -> np.ndarray:
        return self.render_beside((), task, episode, earlier, size)

    def render_beside(
        self,
        row: Sequence[PhysicsState],
        task: TaskT,
        episode: PhysicsState,
        earlier: Sequence[PhysicsState],
        size: int,
    ) -> np.ndarray:
        from envs.locomotion.render import draw

        past, whole = ([self.chart(task, e).values for e in episodes] for episodes in (earlier, row))
        picture = Picture(
            model=self.model,
            planar=self.planar,
            paths=[e.qpos.double().cpu().numpy() for e in (episode, *earlier)],
            marks=self.marks(task),
            chart=self.chart(task, episode),
            past=past,
            row=whole,
            duration=self.horizon * self.physics.dt,
            horizon=self.horizon,
        )
        return draw(picture, size)

    def equal_halves(self, n: int, generator: Generator) -> Tensor:
        """0 and 1 in equal numbers [N], in random order; with one more of either, at random, when `n` is odd.

        For families of two tasks. With few tasks, chance would favour one of them in each batch, and that noise would
        drown the difference between the two, from which a policy learns to adapt.
        """
        first = torch.randint(2, (1,), generator=generator, device=self.device)
        alternating = (first + torch.arange(n, device=self.device)) % 2
        return alternating[torch.randperm(n, generator=generator, device=self.device)]

    def root_velocity(self, episode: PhysicsState) -> np.ndarray:
        """Displacement over each step as a velocity [t, 2] in m/s of states [t]; 0 at the first."""
        position = episode.qpos[:, :2].double().cpu().numpy()
        return np.diff(position, axis=0, prepend=position[:1]) / self.physics.dt
