"""What was chosen for each family, for every method: the settings behind the presets of metarl train.

A family without an entry in `SUITES` has `general` settings.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import envs
from envs.extras import package_of
from envs.kinds import counts
from metarl.algorithms.outer import TRPOConfig
from metarl.policies.mlp import MLPConfig
from metarl.training.config import TrainConfig


@dataclass(frozen=True)
class Suite:
    """Settings of a family for every method."""

    about: str
    config: TrainConfig
    inner: dict[str, Any]  # fields of InnerConfig
    trpo: TRPOConfig = field(default_factory=TRPOConfig)  # of methods with that outer step
    clipped_lr: float = 3e-3  # outer learning rate of methods with PPO's outer step
    maml: dict[str, Any] = field(default_factory=dict)  # fields of MAMLConfig
    trial: dict[str, Any] = field(default_factory=dict)  # fields of RecurrentPPOConfig
    trials: dict[str, Any] = field(default_factory=dict)  # fields of TrainConfig where a policy has a memory
    ppo: dict[str, Any] = field(default_factory=dict)  # fields of SB3PPOConfig
    continuous: bool = False  # are actions numbers?
    methods: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What differs for single methods, by name and nested as in config.json."""


PPO_ROUNDS = {"inner_loss": "ppo", "inner_optimizer": "adam", "inner_lr": 3e-3, "inner_epochs": 10}


LONG_TRIALS: dict[str, Any] = {"policy": {"model_updates": 10}}
"""Of VariBAD: a step of its model costs as much as the trials are long."""


PEARL_ON_ROBOTS: dict[str, Any] = {
    "num_iterations": 100,
    "policy": {"hidden_sizes": (128, 128)},
    "algorithm": {"num_train_tasks": 50, "num_updates": 1000, "update_tasks": 8, "batch_size": 64},
}


def locomotion(about: str, env: str, meta_batch_size: int, inner_lr: float, pretrain: int) -> Suite:
    """Actions start with a std of 0.5: with 1, half of them are clipped and the first inner steps find no signal.

    Where the body is hidden, rewards tell little of it, and next observations much: VariBAD's model predicts them and
    PEARL's context has them, as published.
    """
    body = env.endswith("-params")
    config = TrainConfig(
        env,
        next(iter(envs.family(env).presets)),
        num_iterations=200,
        meta_batch_size=meta_batch_size,
        eval_num_tasks=40,
        eval_num_envs=20,
        policy=MLPConfig(init_std=0.5),
    )
    inner = {"inner_lr": inner_lr, "gae_lambda": 0.95}
    return Suite(
        about,
        config,
        inner,
        TRPOConfig(max_kl=0.02),
        clipped_lr=1e-3 if pretrain else 3e-3,  # a trained policy with a small std changes fast
        maml={"pretrain_iterations": pretrain, "pretrain_envs": 5 if pretrain else 0},
        trial={"num_episodes": 2, "gamma": 0.99, "gae_lambda": 0.95},
        trials=trials(200, 100, 40),
        ppo={"reward_scale": 0.1, "finetune_lr": 1e-3},
        continuous=True,
        methods={
            "reptile": {"algorithm": PPO_ROUNDS},
            "varibad": {"policy": {**LONG_TRIALS["policy"], **({"decode": "reward-and-transition"} if body else {})}},
            "pearl": {**PEARL_ON_ROBOTS, "algorithm": {**PEARL_ON_ROBOTS["algorithm"], "next_obs_in_context": body}},
        },
    )


def trials(num_iterations: int, meta_batch_size: int, eval_num_tasks: int) -> dict[str, Any]:
    """One trial on each task."""
    evaluation = {"eval_num_tasks": eval_num_tasks, "eval_num_envs": 1}
    return {"num_iterations": num_iterations, "meta_batch_size": meta_batch_size, "num_envs": 1, **evaluation}


def bandits(env_preset: str, meta_batch_size: int) -> Suite:
    """γ = 0: a pull affects only its own reward, so all later rewards are noise in its advantage."""
    config = TrainConfig(
        "bernoulli-bandit",
        env_preset,
        num_iterations=20,
        meta_batch_size=meta_batch_size,
        num_envs=1,
        eval_num_tasks=10_000,
        eval_num_envs=1,
        policy=MLPConfig(hidden_sizes=(16, 16)),
    )
    arms, pulls = env_preset.removeprefix("k").split("-n")
    warning = ""
    if pulls == "10":
        warning = "; over ten episodes gradient methods earn less here than an untrained start with --baseline constant"
    return Suite(
        f"Bernoulli bandits with {arms} arms and {pulls} pulls, one episode a step{warning}",
        config,
        {"inner_lr": 1.0, "gamma": 0.0},
        clipped_lr=1e-2,
        trial={"gae_lambda": 0.9, "entropy_coef": 0.02},
        trials=trials(120, 1000, 10_000) if pulls == "10" else trials(220, 256, 10_000),
        ppo={"gamma": 0.0},
        methods={
            "metanet": {
                "policy": {"hidden_size": 32, "num_heads": 2, "key_size": 2, "code_size": 8, "action_units": 16}
            },
            "dpt": MIXTURE,
            "reptile": {"num_iterations": 13, "algorithm": {"inner_lr": 3.0}},
            "sb3-ppo": {"algorithm": {"finetune_lr": 0.1}},
            "sb3-ppo-scratch": {"algorithm": {"finetune_lr": 0.1}},
        },
    )


def card_game(env: str, about: str, memory: str = "full", num_iterations: int = 200) -> Suite:
    """γ = 0, since an answer changes nothing but its own reward; one deck is one trial, as published.

    MetaNet must find one card again in most games: of attention's entries each is one, while fast weights fail from 32
    cards on. To count, it needs how much was written about a kind, which the delta rule knows and an average does not.
    """
    config = TrainConfig(env, "easy", eval_num_tasks=1000, policy=MLPConfig(hidden_sizes=(32, 32)))
    return Suite(
        about,
        config,
        {"inner_lr": 1.0, "gamma": 0.0, "entropy_coef": 0.02},
        clipped_lr=1e-3,
        trial={"gamma": 0.0, "entropy_coef": 0.02},
        trials=trials(num_iterations, 128, 1000),
        ppo={"gamma": 0.0},
        methods={"metanet": {"policy": {"memory": memory, "positions": True}}},
    )


def general(id: str) -> Suite:
    """Settings for a registered family of which nothing is known but its spaces and its horizon H.

    Discrete actions: inner steps of 1, since tasks then differ by logits of that size, and an entropy bonus. Box
    actions: inner steps of 0.1, and an initial std of 0.5, so that few actions are clipped. A trial of a memory has 2
    to 4 episodes, of about 200 steps in all. An evaluation plays about 4 million steps a stage, where they are fast.
    """
    made = envs.family(id)
    env = envs.make(id)
    discrete = bool(counts(env.action_space))
    hidden = (32, 32) if discrete else (64, 64)
    num_tasks = min(1000, max(40, 100_000 // env.horizon)) if env.fast else 40
    config = TrainConfig(
        id,
        next(iter(made.presets)),
        eval_num_tasks=num_tasks,
        eval_num_envs=40 if env.fast else 20,
        policy=MLPConfig(hidden, init_std=1.0 if discrete else 0.5),
    )
    entropy = {"entropy_coef": 0.02} if discrete else {}
    return Suite(
        "general settings",
        config,
        {"inner_lr": 1.0 if discrete else 0.1, "gae_lambda": 0.95, **entropy},
        trial={"num_episodes": min(4, max(2, 200 // env.horizon)), "gamma": 0.99, "gae_lambda": 0.9},
        trials=trials(100, 100, num_tasks if env.fast else 200),
        ppo=entropy,
        continuous=not discrete,
        methods={"reptile": {"num_iterations": 33}, "dpt": DATASETS.get(id, {})},
    )


MIXTURE: dict[str, Any] = {"algorithm": {"num_episodes": 1, "behaviour": "mixture"}, "policy": {"grows": "step"}}
DATASETS: dict[str, dict[str, Any]] = {
    "dark-room": {
        "algorithm": {"num_episodes": 4, "context_size": 100, "lr": 3e-3, "minibatches": 128},
        "policy": {"grows": "step"},
        "num_iterations": 60,
        "eval_num_tasks": 200,
    },
    "key-to-door": {
        "env_preset": "see-progress",
        "algorithm": {"num_episodes": 4, "lr": 3e-3},
        "num_iterations": 40,
        "eval_num_tasks": 656,
    },
    "gaussian-bandit": {
        **MIXTURE,
        "env_preset": "lee2023",
        "algorithm": {
            **MIXTURE["algorithm"],
            "context_size": 500,
            "growth": 1.0,
            "num_queries": 8,
            "lr": 3e-3,
            "minibatches": 256,
        },
        "num_iterations": 60,
        "eval_num_tasks": 200,
    },
}
"""Of DPT, for families with general settings: sizes and behaviour as published, and steps for ten minutes on a core.

Datasets of 500 transitions alone teach nothing for long, hence their growth. In the dark room a goal that was found is
of use at once where the dataset grows by steps.
"""


def popgym(id: str) -> Suite:
    """A trial is an episode, as published. Answers about cards change nothing but their own reward, hence γ = 0."""
    suite, answers = general(id), any(game in id for game in ("autoencode", "repeat", "count-recall"))
    gamma: dict[str, Any] = {"gamma": 0.0} if answers else {}
    counting = "count-recall" in id  # as in `card_game`
    memory = {"policy": {"memory": "delta" if counting else "full", "positions": True}}
    return replace(
        suite,
        about="POPGym, an episode a trial",
        inner={**suite.inner, **gamma},
        trial={**suite.trial, "num_episodes": 1, **gamma},
        trials=trials(300 if counting else 200, 128, 1000),
        ppo={**suite.ppo, **gamma},
        methods={**suite.methods, **({"metanet": memory} if answers else {})},
    )


def metaworld(id: str) -> Suite:
    """Ten episodes before each step, as Meta-World's evaluation has it; a trial of a memory has three."""
    suite, ml1 = general(id), id == "metaworld-ml1"
    return replace(
        suite,
        about="Meta-World, ten episodes a step",
        config=replace(
            suite.config,
            num_iterations=200,
            meta_batch_size=10 if ml1 else 20,
            num_envs=10,
            eval_num_tasks=50,
            eval_num_envs=10,
        ),
        trial={**suite.trial, "num_episodes": 3},
        trials=trials(300, 20 if ml1 else 40, 50),
        methods={"reptile": {"num_iterations": 133}},
    )


# Reptile collects three rounds of episodes in a meta-iteration where the others collect two.
SUITES = {
    "point": Suite(
        "2D navigation, as in Finn et al. 2017, section 5.3",
        TrainConfig(),
        {},
        trial={"num_episodes": 3, "gae_lambda": 0.95, "gamma": 0.99},
        trials=trials(100, 100, 1000),
        ppo={"reward_scale": 0.1, "finetune_lr": 1e-2},
        continuous=True,
        methods={
            "reptile": {"num_iterations": 33, "algorithm": {"inner_lr": 1.0}},
            # without the return in its encoder it takes four times as many steps of the model: docs/varibad.md
            "varibad": {
                "policy": {**LONG_TRIALS["policy"], "joint": True, "uncertainty": "std"},
                "algorithm": {"lr": 1e-3},
            },
        },
    ),
    "bandit": bandits("k5-n10", 400),
    "bandit-100": bandits("k5-n100", 100),
    "tabular-mdp": Suite(
        "random tabular MDPs of Duan et al. 2016, 10 episodes a step",
        TrainConfig(
            "tabular-mdp",
            "rl2",
            num_iterations=40,
            meta_batch_size=40,
            num_envs=10,
            eval_num_envs=10,
            policy=MLPConfig(hidden_sizes=(32, 32)),
        ),
        {"inner_lr": 3.0, "gae_lambda": 0.4},
        clipped_lr=1e-2,
        trial={"num_episodes": 10, "gamma": 0.99, "gae_lambda": 0.9},
        trials=trials(120, 200, 10_000),
        methods={
            "maml-vpg": {"algorithm": {"outer": {"outer_lr": 3e-3}}},
            "reptile": {"num_iterations": 27},
            "varibad": {"policy": {"latent_size": 20, "decode": "reward-and-transition", "model_updates": 40}},
        },
    ),
    "tabular-mdp-episodes": Suite(
        "random tabular MDPs, a step after each of ten episodes, all of which count",
        TrainConfig(
            "tabular-mdp",
            "rl2",
            num_iterations=60,
            meta_batch_size=100,
            num_envs=1,
            eval_num_tasks=4000,
            eval_num_envs=1,
            policy=MLPConfig(hidden_sizes=(32, 32)),
        ),
        {
            "inner_lr": 1.0,
            "num_inner_steps": 9,
            "halve_test_lr": False,
            "gamma": 0.4,  # ten rewards cannot credit an action for what comes long after it
            "baseline": "constant",
        },
        clipped_lr=1e-2,
        maml={"outer_stages": "all", "outer_baseline": "batch"},
        trial={"num_episodes": 10, "gamma": 0.99, "gae_lambda": 0.9},
        trials=trials(120, 200, 10_000),
        methods={
            "maml": {"algorithm": {"learned_rates": "step"}},
            "maml-vpg": {"num_iterations": 150, "meta_batch_size": 150, "algorithm": {"learned_rates": "step"}},
        },
    ),
    "gridworld": Suite(
        "a 5 x 5 grid with a hidden goal",
        TrainConfig(
            "gridworld",
            "varibad-one-hot",
            num_iterations=30,
            meta_batch_size=42,
            num_envs=20,
            eval_num_tasks=48 * 21,  # each goal equally often, here and below
            eval_num_envs=20,
            policy=MLPConfig(hidden_sizes=(32, 32)),
        ),
        {"inner_lr": 3.0, "gae_lambda": 0.9, "entropy_coef": 0.1},
        maml={"num_inner_steps": 3, "outer_stages": "all"},  # one step finds a fraction of the goals
        trial={"num_episodes": 4, "gae_lambda": 0.9, "entropy_coef": 0.1},
        trials=trials(180, 400, 500 * 21),
        methods={
            "maml-vpg": {"algorithm": {"outer": {"outer_lr": 3e-3}}},
            "reptile": {"num_iterations": 40},
            "varibad": {"policy": {"model_updates": 40}},
            "sb3-ppo": {"eval_num_tasks": 42, "algorithm": {"entropy_coef": 0.1, "finetune_lr": 0.03}},
            "sb3-ppo-informed": {"eval_num_tasks": 42},
            "sb3-ppo-scratch": {"eval_num_tasks": 42, "algorithm": {"entropy_coef": 0.1, "finetune_lr": 0.03}},
        },
    ),
    "repeat-previous": card_game("repeat-previous", "POPGym's RepeatPrevious, one deck a trial"),
    "count-recall": card_game("count-recall", "POPGym's CountRecall, one deck a trial", "delta", 300),
    "autoencode": card_game("autoencode", "POPGym's Autoencode, one deck a trial"),
    "contextual-bandit": Suite(
        "20 contexts with the best of 5 arms each, 100 pulls, one episode a step",
        TrainConfig(
            "contextual-bandit",
            "c20",
            num_iterations=60,
            meta_batch_size=200,
            num_envs=1,
            eval_num_tasks=2000,
            eval_num_envs=1,
            policy=MLPConfig(hidden_sizes=(32, 32)),
        ),
        {"inner_lr": 3.0, "gamma": 0.0},
        trial={"num_episodes": 1, "gamma": 0.0, "gae_lambda": 0.9, "entropy_coef": 0.02},
        trials=trials(100, 240, 2000),
        ppo={"gamma": 0.0},
        methods={"metanet": {"policy": {"key_size": 32}}, "reptile": {"num_iterations": 40}},
    ),
    "control-map": Suite(
        "reaching under a hidden map from action to motion",
        TrainConfig(
            "control-map",
            "map",
            num_iterations=60,
            meta_batch_size=24,
            num_envs=20,
            eval_num_envs=20,
            policy=MLPConfig(init_std=0.5),
        ),
        {"inner_lr": 0.1, "gae_lambda": 0.95},
        trial={"num_episodes": 4, "gamma": 0.95, "gae_lambda": 0.9},
        trials=trials(60, 240, 2000),
        continuous=True,
        methods={"metanet": {"algorithm": {"aux_coef": 0.0}}, "reptile": {"num_iterations": 40}},
    ),
    "glyphs": Suite(
        "5-way one-shot label prediction on letters, an episode a step",
        TrainConfig(
            "glyphs",
            "5-way",
            num_iterations=30,
            meta_batch_size=40,
            num_envs=10,
            eval_num_envs=10,
            policy=MLPConfig(hidden_sizes=(64, 64)),
        ),
        {"inner_lr": 1.0, "gamma": 0.0},
        trial={"num_episodes": 1, "gamma": 0.0, "gae_lambda": 0.9, "entropy_coef": 0.02},
        trials=trials(200, 200, 1000),
        ppo={"gamma": 0.0},
        methods={
            "metanet": {  # attention: fifty images are few, and it keeps each of them
                "policy": {"memory": "full", "keys": "observation", "hidden_size": 128, "key_size": 32},
                "num_iterations": 500,
            },
            "reptile": {"num_iterations": 20},
        },
    ),
    "half-cheetah-vel": locomotion("HalfCheetah with a hidden goal velocity", "half-cheetah-vel", 20, 0.05, 100),
    "half-cheetah-dir": locomotion("HalfCheetah with a hidden direction", "half-cheetah-dir", 10, 0.3, 0),
    "ant-vel": locomotion("Ant with a hidden goal velocity", "ant-vel", 20, 0.05, 60),
    "ant-dir": locomotion("Ant with a hidden direction", "ant-dir", 10, 0.3, 0),
    "ant-goal": locomotion("Ant with a hidden place to go to", "ant-goal", 20, 0.05, 60),
    "hopper-params": locomotion("Hopper with a hidden body", "hopper-params", 20, 0.05, 60),
    "walker2d-params": locomotion("Walker2d with a hidden body", "walker2d-params", 20, 0.05, 60),
}


def suite_of(family: str) -> Suite:
    """The settings of a family: its own in `SUITES`, by that name or by the environment's, else `general` ones."""
    named = (suite for key, suite in SUITES.items() if family in (key, suite.config.env))
    return next(named, None) or OF_PACKAGES.get(package_of(family) or "", general)(family)


OF_PACKAGES = {"metaworld": metaworld, "popgym": popgym}
"""Settings for the families of packages that are extras, by package."""


def families() -> list[str]:
    """What may stand for FAMILY: the names of `SUITES`, then all other registered families."""
    return list(dict.fromkeys([*SUITES, *envs.FAMILIES]))
