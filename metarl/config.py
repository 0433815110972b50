"""TrainConfig: everything that decides what a run computes; and the presets that train.py offers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from envs.errors import require, unknown
from metarl.maml import MAMLConfig
from metarl.policy import MLPConfig


@dataclass(frozen=True)
class TrainConfig:
    """A meta-training run. Together with the environment's config and the seed it fixes every number."""

    env: str = "point"
    """Environment family."""
    env_preset: str = "finn2017"
    """Preset of the family; single fields are set with --env.FIELD."""
    seed: int = 0
    """Seed of parameters, tasks, actions and environments."""
    num_iterations: int = 50
    """Meta-iterations."""
    meta_batch_size: int = 20
    """Tasks in a meta-iteration (N)."""
    num_envs: int = 20
    """Episodes per task, before adaptation and again after each inner step (E)."""
    eval_num_tasks: int = 1000
    """Tasks in evaluation."""
    eval_num_envs: int = 40
    """Episodes per task and adaptation step in evaluation."""
    checkpoint_every: int = 10
    """Meta-iterations between checkpoints; one is always written at the end."""
    policy: MLPConfig = field(default_factory=MLPConfig)
    algorithm: MAMLConfig = field(default_factory=MAMLConfig)

    def __post_init__(self) -> None:
        for name in (
            "num_iterations", "meta_batch_size", "num_envs", "eval_num_tasks", "eval_num_envs", "checkpoint_every",
        ):  # fmt: skip
            require(getattr(self, name) >= 1, f"{name} must be at least 1, not {getattr(self, name)}.")
        require(0 <= self.seed < 2**63, f"seed must lie in 0 .. 2^63 - 1, not {self.seed}.")


def maml_point() -> TrainConfig:
    """MAML-TRPO on 2D navigation, as in Finn et al. 2017, section 5.3."""
    return TrainConfig()


def _maml_locomotion(env: str, num_iterations: int, meta_batch_size: int) -> TrainConfig:
    """Initial actions of deviation 0.5: with 1, half of them are clipped, and the first inner steps find no signal."""
    algorithm = MAMLConfig(inner_lr=0.3, gae_lambda=0.95, max_kl=0.02)
    return TrainConfig(
        env=env, num_iterations=num_iterations, meta_batch_size=meta_batch_size, eval_num_tasks=40, eval_num_envs=20,
        policy=MLPConfig(init_std=0.5), algorithm=algorithm,
    )  # fmt: skip


def maml_half_cheetah_vel() -> TrainConfig:
    """MAML-TRPO on HalfCheetah with a hidden goal velocity."""
    return _maml_locomotion("half-cheetah-vel", 150, 20)


def maml_half_cheetah_dir() -> TrainConfig:
    """MAML-TRPO on HalfCheetah with a hidden direction."""
    return _maml_locomotion("half-cheetah-dir", 200, 10)


def maml_ant_vel() -> TrainConfig:
    """MAML-TRPO on Ant with a hidden goal velocity."""
    return _maml_locomotion("ant-vel", 200, 20)


PRESETS: dict[str, Callable[[], TrainConfig]] = {
    "maml-point": maml_point,
    "maml-half-cheetah-vel": maml_half_cheetah_vel,
    "maml-half-cheetah-dir": maml_half_cheetah_dir,
    "maml-ant-vel": maml_ant_vel,
}


def preset(name: str) -> TrainConfig:
    """The preset of that name. Raises `InputError` with the nearest name when there is none."""
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    return PRESETS[name]()
