"""Presets of metarl train: each method on each family, as METHOD-FAMILY; the settings of families are in suites.py."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import envs
from envs.errors import InputError
from envs.extras import PACKAGES
from metarl.algorithms.dpt import DPTConfig
from metarl.algorithms.maml import MAMLConfig
from metarl.algorithms.outer import AdamConfig
from metarl.algorithms.pearl import PEARLConfig
from metarl.algorithms.recurrent_ppo import RecurrentPPOConfig
from metarl.algorithms.reptile import ReptileConfig
from metarl.algorithms.sb3_ppo import SB3PPOConfig
from metarl.policies.in_context import InContextConfig
from metarl.policies.meta_networks import MetaNetworksConfig
from metarl.policies.metanet import MetaNetConfig
from metarl.policies.mlp import MLPConfig
from metarl.policies.rl2 import RL2Config
from metarl.policies.varibad import VariBADConfig
from metarl.training.config import Algorithms, Policies, TrainConfig, flat, from_dict, to_dict
from metarl.training.suites import SUITES, Suite, families, suite_of


@dataclass(frozen=True)
class MethodSpec:
    """How a method is configured for a family."""

    about: str
    make: Callable[[Suite], Algorithms]
    policy: Policies | None = None  # where it is not the suite's
    train: Callable[[Suite], dict[str, Any]] = lambda suite: {}
    """Fields of TrainConfig that are not the suite's, either."""
    suits: Callable[[Suite], bool] = lambda suite: True
    """Can it learn the family? Where not, it says so when it is made."""


def all_tasks(suite: Suite) -> dict[str, Any]:
    """As many episodes as MAML collects: a round for each of its stages, or one in iterations without inner steps.

    Few evaluation tasks, since each is fine-tuned on its own, which takes long.
    """
    maml = MAMLConfig(**{**suite.inner, **suite.maml})
    adapting = suite.config.num_iterations - maml.pretrain_iterations
    rounds = maml.rounds * adapting + round(maml.pretrain_rounds(suite.config.num_envs))
    return {"num_iterations": rounds, "eval_num_tasks": 40}


def lessons(suite: Suite) -> dict[str, Any]:
    """64 gradient steps on 64 datasets each in a meta-iteration. In a trial of one episode datasets grow by steps."""
    grows: Any = "step" if suite.trial.get("num_episodes", 1) == 1 else "episode"
    policy = InContextConfig(grows=grows, init_std=suite.config.policy.init_std)
    return {"num_iterations": 30, "meta_batch_size": 4096, "policy": policy}


METHODS = {
    "maml": MethodSpec("MAML with a TRPO outer step", lambda s: MAMLConfig(outer=s.trpo, **s.inner, **s.maml)),
    "fomaml": MethodSpec(
        "first-order MAML with a TRPO outer step",
        lambda s: MAMLConfig(estimator="first-order", outer=s.trpo, **s.inner, **s.maml),
    ),
    "maml-ppo": MethodSpec(
        "MAML with PPO's outer step", lambda s: MAMLConfig(outer=AdamConfig(outer_lr=s.clipped_lr), **s.inner, **s.maml)
    ),
    "maml-vpg": MethodSpec(
        "MAML with one Adam step on the policy gradient",
        lambda s: MAMLConfig(outer=AdamConfig("vpg", num_outer_steps=1, outer_lr=1e-2), **s.inner, **s.maml),
    ),
    "promp": MethodSpec(
        "ProMP: low-variance curvature, clipped outer steps, a penalty on the inner KL (Rothfuss et al. 2018)",
        lambda s: MAMLConfig(
            estimator="lvc", outer=AdamConfig(outer_lr=s.clipped_lr, inner_kl_coef=5e-4), **s.inner, **s.maml
        ),
    ),
    "meta-sgd": MethodSpec(
        "MAML with a learned inner learning rate for each parameter (Li et al. 2017)",
        lambda s: MAMLConfig(learned_rates="parameter", outer=s.trpo, **s.inner, **s.maml),
    ),
    "reptile": MethodSpec("Reptile over policy gradient (Nichol et al. 2018)", lambda s: ReptileConfig(**s.inner)),
    "metanet": MethodSpec(
        "a memory of fast weights, trained by PPO on trials (after Munkhdalai & Yu 2017)",
        lambda s: RecurrentPPOConfig(**s.trial),
        MetaNetConfig(),
    ),
    "meta-networks": MethodSpec(
        "Meta Networks as published, trained by PPO on trials (Munkhdalai & Yu 2017)",
        lambda s: RecurrentPPOConfig(**s.trial),
        MetaNetworksConfig(),
    ),
    "rl2": MethodSpec(
        "RL², a GRU or another --cell trained by PPO on trials (Duan et al. 2016)",
        lambda s: RecurrentPPOConfig(**s.trial),
        RL2Config(),
    ),
    "varibad": MethodSpec(
        "VariBAD, a policy on a learned belief about the task, trained by PPO on trials (Zintgraf et al. 2020)",
        lambda s: RecurrentPPOConfig(**{"lr": 4e-3, "epochs": 6, "minibatches": 8, **s.trial}),  # no steps through time
        VariBADConfig(),
    ),
    "dpt": MethodSpec(
        "DPT, a transformer taught optimal actions by a family's oracle (Lee et al. 2023)",
        lambda s: DPTConfig(num_episodes=s.trial.get("num_episodes", 1)),
        InContextConfig(),
        lessons,
        lambda s: getattr(envs.family(s.config.env).env_class, "oracle", None) is not None,
    ),
    "pearl": MethodSpec(
        "soft actor-critic with a latent variable inferred from context (Rakelly et al. 2019)",
        lambda s: PEARLConfig(gamma=s.trial.get("gamma", 0.99)),
        MLPConfig((64, 64), "relu"),
        train=lambda s: {"num_iterations": 60, "meta_batch_size": 10, "num_envs": 1},
        suits=lambda s: s.continuous,
    ),
    "sb3-ppo": MethodSpec(
        "no meta-learning: SB3's PPO on all tasks at once, fine-tuned by PPO on each",
        lambda s: SB3PPOConfig(**s.ppo),
        train=all_tasks,
    ),
    "sb3-ppo-informed": MethodSpec(
        "the same, told the task: an oracle", lambda s: SB3PPOConfig(informed=True, **s.ppo), train=all_tasks
    ),
    "sb3-ppo-scratch": MethodSpec(
        "SB3's PPO from scratch on each task: no meta-training at all",
        lambda s: SB3PPOConfig(**s.ppo),
        train=lambda s: {**all_tasks(s), "num_iterations": 0},
    ),
}
PRESETS = tuple(
    f"{method}-{name}" for method in METHODS for name, suite in SUITES.items() if METHODS[method].suits(suite)
)
"""Those of `SUITES`; `preset` also takes METHOD-FAMILY of every other registered family."""


def preset_names() -> list[str]:
    """Every name that `preset` takes."""
    return [f"{method}-{family}" for method in METHODS for family in families()]


def split_name(name: str) -> tuple[str, str] | None:
    """METHOD and FAMILY of a preset's name, also of a family that is not registered here. None for any other name."""
    found = [(method, name.removeprefix(f"{method}-")) for method in METHODS if name.startswith(f"{method}-")]
    known = families()
    return max(found, key=lambda pair: (pair[1] in known, len(pair[0])), default=None)  # sb3-ppo-informed, not sb3-ppo


def name_on(name: str, env: str) -> str:
    """METHOD-FAMILY by the family that a run of this preset trained on, which --env may have chosen: maml-slider."""
    pair = split_name(name)
    if pair is None:
        return name
    method, family = pair
    own = SUITES[family].config.env if family in SUITES else family
    return name if env == own else f"{method}-{env}"


def nearest_preset(config: TrainConfig) -> str:
    """The preset that a configuration differs from in the fewest fields, which names its method in titles."""
    envs.family(config.env)  # one of an extra is then among the families
    suites = [family for family in families() if suite_of(family).config.env == config.env]
    own = flat(to_dict(config))

    def difference(name: str) -> int:
        other = flat(to_dict(preset(name)))
        return sum(own.get(key, ...) != other.get(key, ...) for key in own | other)

    return min((f"{method}-{family}" for method in METHODS for family in suites), key=difference)


def preset(name: str) -> TrainConfig:
    """The preset of that name. Raises `InputError` with the nearest name when there is none."""
    pair = split_name(name)
    if pair is None or not (pair[1] in SUITES or envs.is_known(pair[1])):
        example = next(iter(PACKAGES.values())).example
        nearest = difflib.get_close_matches(name, preset_names(), n=1)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
        raise InputError(
            f"Unknown preset {name!r}.{hint} A preset is METHOD-FAMILY, with a method of {', '.join(METHODS)} "
            f"and a family of {', '.join(families())}, one of another package, such as {example}, or one of your own "
            "whose module --imports names."
        )
    method, family = pair
    suite, policy = suite_of(family), METHODS[method].policy
    config = replace(suite.config, algorithm=METHODS[method].make(suite))
    if policy is not None:
        init_std = suite.config.policy.init_std
        config = from_dict(replace(config, policy=replace(policy, init_std=init_std)), suite.trials)
    config = replace(config, **METHODS[method].train(suite))
    return from_dict(config, suite.methods.get(method, {}))
