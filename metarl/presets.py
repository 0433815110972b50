"""Presets of train.py: each method on each family, as METHOD-FAMILY."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from envs.errors import InputError
from metarl.config import AlgorithmConfig, TrainConfig
from metarl.maml import MAMLConfig
from metarl.outer import AdamConfig, TRPOConfig
from metarl.policy import MLPConfig
from metarl.reptile import ReptileConfig


@dataclass(frozen=True)
class Suite:
    """What a family asks of every method."""

    about: str
    config: TrainConfig
    inner: dict[str, Any]  # fields of InnerConfig
    trpo: TRPOConfig = field(default_factory=TRPOConfig)  # of methods with that outer step
    maml: dict[str, Any] = field(default_factory=dict)  # fields of MAMLConfig


@dataclass(frozen=True)
class Method:
    """How a method is configured for a family."""

    about: str
    make: Callable[[Suite], AlgorithmConfig]


def locomotion(about: str, env: str, meta_batch_size: int, inner_lr: float, pretrain: int) -> Suite:
    """Initial actions of deviation 0.5: with 1, half of them are clipped, and the first inner steps find no signal."""
    config = TrainConfig(
        env, num_iterations=200, meta_batch_size=meta_batch_size, eval_num_tasks=40, eval_num_envs=20,
        policy=MLPConfig(init_std=0.5),
    )  # fmt: skip
    inner = {"inner_lr": inner_lr, "gae_lambda": 0.95}
    return Suite(about, config, inner, TRPOConfig(max_kl=0.02), {"pretrain_iterations": pretrain})


SUITES = {
    "point": Suite("2D navigation, as in Finn et al. 2017, section 5.3", TrainConfig(), {}),
    "bandit": Suite(
        "Bernoulli bandits with 5 arms and 10 pulls, one episode a step",
        TrainConfig("bernoulli-bandit", "k5-n10", num_iterations=50, meta_batch_size=400, num_envs=1, eval_num_envs=1),
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
    "half-cheetah-vel": locomotion("HalfCheetah with a hidden goal velocity", "half-cheetah-vel", 20, 0.05, 60),
    "half-cheetah-dir": locomotion("HalfCheetah with a hidden direction", "half-cheetah-dir", 10, 0.3, 0),
    "ant-vel": locomotion("Ant with a hidden goal velocity", "ant-vel", 20, 0.05, 60),
}
METHODS = {
    "maml": Method("MAML with a TRPO outer step", lambda s: MAMLConfig(outer=s.trpo, **s.inner, **s.maml)),
    "fomaml": Method(
        "first-order MAML with a TRPO outer step",
        lambda s: MAMLConfig(estimator="first-order", outer=s.trpo, **s.inner, **s.maml),
    ),
    "maml-ppo": Method("MAML with PPO's outer step", lambda s: MAMLConfig(outer=AdamConfig(), **s.inner, **s.maml)),
    "maml-vpg": Method(
        "MAML with one Adam step on the policy gradient",
        lambda s: MAMLConfig(outer=AdamConfig("vpg", num_outer_steps=1, outer_lr=1e-2), **s.inner, **s.maml),
    ),
    "promp": Method(
        "ProMP: low-variance curvature, clipped outer steps, a penalty on the inner KL (Rothfuss et al. 2018)",
        lambda s: MAMLConfig(estimator="lvc", outer=AdamConfig(inner_kl_coef=5e-4), **s.inner, **s.maml),
    ),
    "meta-sgd": Method(
        "MAML with a learned inner step size for each parameter (Li et al. 2017)",
        lambda s: MAMLConfig(learned_rates="parameter", outer=s.trpo, **s.inner, **s.maml),
    ),
    "reptile": Method("Reptile over policy gradient (Nichol et al. 2018)", lambda s: ReptileConfig(**s.inner)),
}
PRESETS = tuple(f"{method}-{suite}" for method in METHODS for suite in SUITES)


def preset(name: str) -> TrainConfig:
    """The preset of that name. Raises `InputError` with the nearest name when there is none."""
    if name not in PRESETS:
        nearest = difflib.get_close_matches(name, PRESETS, n=1)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
        raise InputError(
            f"Unknown preset {name!r}.{hint} A preset is METHOD-FAMILY, with a method of {', '.join(METHODS)} "
            f"and a family of {', '.join(SUITES)}."
        )
    suite = next(s for key, s in SUITES.items() if name.endswith(f"-{key}"))
    method = METHODS[name[: -len(next(k for k in SUITES if name.endswith(f"-{k}"))) - 1]]
    return replace(suite.config, algorithm=method.make(suite))
