"""Presets of train.py: each method on each family, as METHOD-FAMILY."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from envs.errors import unknown
from metarl.config import AlgorithmConfig, TrainConfig
from metarl.maml import MAMLConfig
from metarl.outer import AdamConfig
from metarl.policy import MLPConfig
from metarl.reptile import ReptileConfig


@dataclass(frozen=True)
class Suite:
    """What a family asks of every method."""

    about: str
    config: TrainConfig
    inner: dict[str, Any]  # fields of InnerConfig


@dataclass(frozen=True)
class Method:
    """How a method is configured, given a family's fields of InnerConfig."""

    about: str
    make: Callable[..., AlgorithmConfig]


SUITES = {
    "point": Suite("2D navigation, as in Finn et al. 2017, section 5.3", TrainConfig(), {}),
    "bandit": Suite(
        "Bernoulli bandits with 5 arms and 10 pulls",
        TrainConfig("bernoulli-bandit", "k5-n10", num_iterations=100, meta_batch_size=40, num_envs=20),
        {"inner_lr": 1.0, "gamma": 1.0},
    ),
    "tabular-mdp": Suite(
        "random tabular MDPs of Duan et al. 2016, 10 episodes a step",
        TrainConfig("tabular-mdp", "rl2", num_iterations=200, meta_batch_size=40, num_envs=10, eval_num_envs=10),
        {"inner_lr": 1.0},
    ),
    "gridworld": Suite(
        "a 5 x 5 grid with a hidden goal",
        TrainConfig("gridworld", "varibad", num_iterations=200, meta_batch_size=42, num_envs=20, eval_num_envs=20),
        {"inner_lr": 1.0},
    ),
    **{
        f"half-cheetah-{goal}": Suite(
            f"HalfCheetah with a hidden {what}",
            TrainConfig(
                f"half-cheetah-{goal}",
                num_iterations=300,
                meta_batch_size=size,
                eval_num_tasks=40,
                eval_num_envs=20,
                policy=MLPConfig(init_std=0.5),
            ),
            {"inner_lr": 0.3, "gae_lambda": 0.95},
        )
        for goal, what, size in (("vel", "goal velocity", 20), ("dir", "direction", 10))
    },
}
METHODS = {
    "maml": Method("MAML with a TRPO outer step", MAMLConfig),
    "fomaml": Method(
        "first-order MAML with a TRPO outer step", lambda **inner: MAMLConfig(estimator="first-order", **inner)
    ),
    "maml-ppo": Method("MAML with PPO's outer step", lambda **inner: MAMLConfig(outer=AdamConfig(), **inner)),
    "maml-vpg": Method(
        "MAML with one Adam step on the policy gradient",
        lambda **inner: MAMLConfig(outer=AdamConfig("vpg", num_outer_steps=1, outer_lr=1e-2), **inner),
    ),
    "promp": Method(
        "ProMP: low-variance curvature, clipped outer steps, a penalty on the inner KL (Rothfuss et al. 2018)",
        lambda **inner: MAMLConfig(estimator="lvc", outer=AdamConfig(inner_kl_coef=5e-4), **inner),
    ),
    "meta-sgd": Method(
        "MAML with a learned inner step size for each parameter (Li et al. 2017)",
        lambda **inner: MAMLConfig(learned_rates="parameter", **inner),
    ),
    "reptile": Method("Reptile over policy gradient (Nichol et al. 2018)", ReptileConfig),
}
PRESETS = tuple(f"{method}-{suite}" for method in METHODS for suite in SUITES)


def preset(name: str) -> TrainConfig:
    """The preset of that name. Raises `InputError` with the nearest name when there is none."""
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    suite = next(s for key, s in SUITES.items() if name.endswith(f"-{key}"))
    method = METHODS[name[: -len(next(k for k in SUITES if name.endswith(f"-{k}"))) - 1]]
    return replace(suite.config, algorithm=method.make(**suite.inner))
