"""What every method says of itself, and the entropy that it logs: of the policies that collected, in nats."""

from __future__ import annotations

import math

import pytest
import torch
import trials

import envs
from metarl.algorithms.maml import MAMLConfig
from metarl.algorithms.outer import AdamConfig
from metarl.algorithms.reptile import ReptileConfig
from metarl.policies.mlp import MLPConfig
from metarl.training.config import TrainConfig, from_dict, make_algorithm
from metarl.training.loop import train_iteration
from metarl.training.presets import METHODS, preset
from metarl.training.run import Run

TRAINED = [name for name in METHODS if name not in ("sb3-ppo-scratch", "pearl")]  # PEARL's actions are bounded


@pytest.mark.parametrize("method", TRAINED)
def test_every_method_logs_the_entropy_of_its_actions(method, tmp_path):
    """Fresh policies on Point draw two independent numbers of deviation 1, whatever they see."""
    config = from_dict(preset(f"{method}-point"), {"meta_batch_size": 4, "num_envs": 3, "num_iterations": 50})
    run = Run(tmp_path, method, config, envs.make_config("point", horizon=5))
    found = train_iteration(run)["entropy"]
    assert found == pytest.approx(math.log(2 * math.pi * math.e), abs=0.01)  # some move while they count


@pytest.mark.parametrize("method", METHODS)
def test_a_meta_iteration_plays_as_many_rounds_as_the_method_says(method):
    config, generator = preset(f"{method}-point"), torch.Generator().manual_seed(0)
    env = envs.make("point", horizon=5)
    algorithm = make_algorithm(config, env, generator)
    trajectories = algorithm.collect(env, env.sample_tasks(2, generator), 3, generator)
    assert config.algorithm.rounds == sum(t.reward.shape[1] // env.horizon for t in trajectories)
    assert config.algorithm.params_per_task == (algorithm.inner is not None)


CASES = {
    "trpo": MAMLConfig(inner_lr=30.0, num_inner_steps=2),
    "promp": MAMLConfig(inner_lr=30.0, estimator="lvc", outer=AdamConfig(inner_kl_coef=1e-3)),
    "reptile": ReptileConfig(inner_lr=30.0),
    "reptile over ppo": ReptileConfig(inner_lr=0.1, inner_loss="ppo", inner_optimizer="adam"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_policies_before_and_after_adaptation_count_where_episodes_run(case):
    env, generator = trials.board(), torch.Generator().manual_seed(0)
    config = TrainConfig(algorithm=CASES[case], policy=MLPConfig((8,)))
    algorithm = make_algorithm(config, env, generator)
    stages = algorithm.collect(env, env.sample_tasks(5, generator), 4, generator)
    assert any((t.mask == 0).any() for t in stages)
    params, memory, expected = algorithm.params.expand(5, -1), None, []
    for k, t in enumerate(stages):
        if k:
            params, memory = algorithm.adapters()[k - 1](params, memory, stages[k - 1])
        entropy = algorithm.policy.bind(params)(t.inputs, None)[0].entropy()
        expected.append(torch.stack([entropy[n][t.mask[n] > 0].mean() for n in range(5)]).mean())
    assert max(expected) - min(expected) > 0.01, "adaptation should change it"
    assert algorithm.update(stages)["entropy"] == pytest.approx(float(torch.stack(expected).mean()), rel=1e-5)
