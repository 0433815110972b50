"""Every preset of train.py makes its method on its family, and a small meta-iteration of it works."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import replace

import pytest

import envs
from envs import InputError
from metarl.algorithms.base import Stages
from metarl.algorithms.dpt import DPT, DPTConfig
from metarl.algorithms.maml import MAML
from metarl.algorithms.outer import TRPO, Adam
from metarl.algorithms.pearl import PEARL, PEARLConfig
from metarl.algorithms.recurrent_ppo import RecurrentPPO, RecurrentPPOConfig
from metarl.algorithms.reptile import Reptile, ReptileConfig
from metarl.algorithms.sb3_ppo import SB3PPO, SB3PPOConfig
from metarl.evaluation.curve import play_stages
from metarl.policies.meta_networks import MetaNetworks
from metarl.policies.metanet import MetaNet
from metarl.policies.mlp import MLPConfig
from metarl.policies.rl2 import RL2Network
from metarl.policies.varibad import VariBADNetwork
from metarl.training.config import from_dict, to_dict
from metarl.training.loop import train_iteration
from metarl.training.presets import METHODS, PRESETS, preset, split_name
from metarl.training.run import Run
from metarl.training.suites import SUITES

HEAVY = [name for name in PRESETS if hasattr(envs.make_config(preset(name).env), "engine")]
ROBOTS = ["maml-half-cheetah-vel", "reptile-ant-dir", "rl2-ant-goal", "maml-hopper-params", "maml-walker2d-params"]
"""One preset of each kind of task on a robot; the other methods do the same there."""


def small(name, path):
    """A run of the preset with its method as it is, and everything else reduced."""
    config = preset(name)
    env_config = envs.make_config(config.env, config.env_preset)
    if "horizon" in {f.name for f in dataclasses.fields(env_config)}:
        env_config = dataclasses.replace(env_config, horizon=5)
    hidden = {"hidden_sizes": (4,)} if isinstance(config.policy, MLPConfig) else {"hidden_size": 8}
    hidden |= {"model_updates": 2} if hasattr(config.policy, "model_updates") else {}
    if hasattr(config.algorithm, "num_updates"):
        config = replace(config, algorithm=replace(config.algorithm, num_updates=2))
    sizes = {"meta_batch_size": 2, "num_envs": 2, "policy": dataclasses.replace(config.policy, **hidden)}
    return Run(path, name, dataclasses.replace(config, **sizes), env_config)


@pytest.mark.parametrize("name", [name for name in PRESETS if name not in HEAVY] + ROBOTS)
def test_a_small_meta_iteration_of_every_preset(name, tmp_path):
    run = small(name, tmp_path / "run")
    run.create()
    start = run.algorithm.params.clone()
    metrics = train_iteration(run)
    assert all(math.isfinite(value) for value in metrics.values())
    assert metrics["iteration"] == 1
    end = run.algorithm.params
    assert end.isfinite().all()
    assert bool((start != end).any()) == (metrics.get("step") != 0)
    run.save()
    again = Run.open(run.path)
    assert (again.config, again.preset, again.iteration) == (run.config, name, 1)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_survives_json(name):
    config = preset(name)
    assert from_dict(type(config)(), to_dict(config)) == config
    assert envs.make_config(config.env, config.env_preset)


def test_every_robot_family_has_presets_of_its_own():
    robots = {id for id in envs.FAMILIES if hasattr(envs.make_config(id), "engine")}
    assert {preset(name).env for name in HEAVY} == robots
    assert {preset(name).env for name in ROBOTS} == robots - {"half-cheetah-dir", "ant-vel"}


@pytest.mark.parametrize("method", ["maml", "reptile", "metanet", "rl2", "sb3-ppo"])
@pytest.mark.parametrize("family", ["gaussian-bandit", "arena"])
def test_every_registered_family_has_general_settings(method, family, arena, tmp_path):
    run = small(f"{method}-{family}", tmp_path / "run")
    assert run.config.env == family and run.config.env_preset == next(iter(envs.family(family).presets))
    run.create()
    metrics = train_iteration(run)
    assert all(math.isfinite(value) for value in metrics.values())
    run.save()
    assert Run.open(run.path).config == run.config


def test_an_own_family_is_offered_where_its_name_is_misspelled(arena):
    with pytest.raises(InputError, match="Did you mean 'maml-arena'"):
        preset("maml-arenna")
    with pytest.raises(InputError, match="--imports"):
        preset("maml-slider")


@pytest.mark.parametrize(
    ("name", "pair"),
    [
        ("maml-point", ("maml", "point")),
        ("maml-ppo-bandit-100", ("maml-ppo", "bandit-100")),
        ("sb3-ppo-informed-point", ("sb3-ppo-informed", "point")),
        ("rl2-not-registered", ("rl2", "not-registered")),
        ("own", None),
    ],
)
def test_a_name_is_a_method_and_a_family(name, pair):
    assert split_name(name) == pair


def test_methods_are_what_their_names_say(tmp_path):
    made = {name: small(f"{name}-point", tmp_path).algorithm for name in METHODS}
    kinds = {name: type(algorithm) for name, algorithm in made.items()}
    networks = {"metanet": MetaNet, "meta-networks": MetaNetworks, "rl2": RL2Network, "varibad": VariBADNetwork}
    trials = dict.fromkeys(networks, RecurrentPPO)
    baselines = dict.fromkeys(("sb3-ppo", "sb3-ppo-informed", "sb3-ppo-scratch"), SB3PPO)
    assert kinds == {
        **dict.fromkeys(METHODS, MAML),
        "reptile": Reptile,
        "pearl": PEARL,
        "dpt": DPT,
        **trials,
        **baselines,
    }
    assert [name for name in baselines if made[name].config.informed] == ["sb3-ppo-informed"]
    assert [name for name in METHODS if preset(f"{name}-point").num_iterations == 0] == ["sb3-ppo-scratch"]
    assert {name: type(made[name].network) for name in networks} == networks
    steps = {name: type(a.optimizer) for name, a in made.items() if isinstance(a, MAML)}
    assert {name for name, step in steps.items() if step is TRPO} == {"maml", "fomaml", "meta-sgd"}
    assert {name for name, step in steps.items() if step is Adam} == {"maml-ppo", "maml-vpg", "promp"}
    assert made["fomaml"].config.estimator == "first-order" and made["promp"].config.estimator == "lvc"
    assert len(made["meta-sgd"].meta) == 2 * len(made["meta-sgd"].params)
    assert made["maml-vpg"].config.outer.num_outer_steps == 1
    assert made["promp"].config.outer.inner_kl_coef > 0


def test_a_preset_is_its_method_with_what_its_family_asks():
    for method in METHODS:
        for key, suite in SUITES.items():
            config = preset(f"{method}-{key}")
            assert (config.env, config.env_preset) == (suite.config.env, suite.config.env_preset)
            kinds = {RecurrentPPOConfig: suite.trial, SB3PPOConfig: suite.ppo, PEARLConfig: {}, DPTConfig: {}}
            asked = kinds.get(type(config.algorithm), suite.inner)
            own = suite.methods.get(method, {}).get("algorithm", {})
            asked = {name: own.get(name, value) for name, value in asked.items()}
            assert {name: getattr(config.algorithm, name) for name in asked} == asked
            if isinstance(config.algorithm, RecurrentPPOConfig):
                asked = {name: suite.methods.get(method, {}).get(name, value) for name, value in suite.trials.items()}
                assert {name: getattr(config, name) for name in asked} == asked
            assert config.policy.init_std == suite.config.policy.init_std


def test_a_family_may_ask_something_else_of_a_single_method():
    assert preset("promp-bandit").algorithm.outer.outer_lr == 1e-2 != preset("promp-point").algorithm.outer.outer_lr
    assert preset("promp-bandit").algorithm.outer.inner_kl_coef == preset("promp-point").algorithm.outer.inner_kl_coef
    assert preset("reptile-bandit").algorithm.inner_lr == 3.0 != preset("maml-bandit").algorithm.inner_lr
    assert all(key in METHODS for suite in SUITES.values() for key in suite.methods)


def test_a_family_whose_name_goes_on_is_another_family():
    assert preset("maml-bandit").env_preset == "k5-n10" and preset("maml-bandit-100").env_preset == "k5-n100"
    assert preset("maml-ppo-bandit-100").algorithm.outer == preset("maml-ppo-bandit").algorithm.outer


def env_steps(config):
    rounds = getattr(config.algorithm, "num_inner_steps", 0) + (not isinstance(config.algorithm, ReptileConfig))
    return config.num_iterations * config.meta_batch_size * config.num_envs * rounds


@pytest.mark.parametrize(
    "family", ["point", "bandit", "bandit-100", "tabular-mdp", "gridworld", "control-map", "contextual-bandit"]
)
def test_methods_of_a_family_see_as_many_steps(family):
    names = [name for name, method in METHODS.items() if method.policy is None and name != "sb3-ppo-scratch"]
    steps = [env_steps(preset(f"{name}-{family}")) for name in names]
    assert max(steps) <= 1.03 * min(steps)


@pytest.mark.parametrize("method", ["maml", "promp", "reptile"])
def test_bandits_are_learned_fast(method, tmp_path):
    """With the preset's settings, a tenth of its iterations, and 2,000 tasks whose mean is known to 0.06."""
    config = preset(f"{method}-bandit")
    run = Run(tmp_path, method, replace(config, num_iterations=4), envs.make_config(config.env, config.env_preset))
    while run.iteration < 4:
        train_iteration(run)
    task = run.env.sample_tasks(2000, envs.task_generator(0, "test"), "test")
    rewards = play_stages(run.env, run.algorithm.play(run.env, 1, run.generator, Stages(2)), task, 1).rewards
    before, first, second = rewards.sum(2).mean(0).tolist()
    assert before == pytest.approx(5.0, abs=0.2)
    assert first > 6.0 and second > first


@pytest.mark.parametrize(
    ("wrong", "right"), [("maml-pont", "maml-point"), ("fomaml-gridword", "fomaml-gridworld"), ("prmp-point", "promp")]
)
def test_a_wrong_name_is_answered_with_the_nearest(wrong, right, sentence):
    with pytest.raises(InputError) as error:
        preset(wrong)
    assert f"Unknown preset {wrong!r}. Did you mean '{right}" in sentence(error)
