"""What fits together in a configuration, and its way through JSON."""

from __future__ import annotations

import dataclasses
import json

import pytest
import trials
from torch import Generator

from envs import InputError
from metarl.algorithms.maml import MAMLConfig
from metarl.algorithms.recurrent_ppo import RecurrentPPOConfig
from metarl.algorithms.reptile import ReptileConfig
from metarl.policies.metanet import MetaNetConfig
from metarl.policies.mlp import MLPConfig
from metarl.policies.rl2 import RL2Config
from metarl.training.config import TrainConfig, from_dict, make_algorithm, to_dict

NET = MetaNetConfig(hidden_size=8, num_heads=2, key_size=3, code_size=3, action_units=4, num_slots=2)


@pytest.mark.parametrize(
    ("policy", "method", "words"),
    [
        (MLPConfig(), RecurrentPPOConfig(), "PPO on trials trains a policy with a memory"),
        (NET, MAMLConfig(), "adapts an MLPConfig by gradient steps, and a MetaNetConfig"),
        (RL2Config(), MAMLConfig(), "adapts an MLPConfig by gradient steps, and a RL2Config"),
        (RL2Config(), ReptileConfig(), "adapts an MLPConfig"),
    ],
)
def test_a_method_and_a_policy_that_do_not_fit_are_refused(policy, method, words, sentence):
    with pytest.raises(InputError) as error:
        make_algorithm(TrainConfig(policy=policy, algorithm=method), trials.plane(), Generator())
    assert words in sentence(error)


@pytest.mark.parametrize("policy", [NET, RL2Config(7), dataclasses.replace(NET, memory="ring", weights="readout")])
def test_a_configuration_survives_json(policy):
    config = TrainConfig(policy=policy, algorithm=RecurrentPPOConfig(num_episodes=5, gamma=0.5))
    values = json.loads(json.dumps(to_dict(config)))
    assert values["policy"]["kind"] == type(policy).__name__
    assert values["algorithm"]["kind"] == "RecurrentPPOConfig"
    assert from_dict(TrainConfig(), values) == config


# --- Settings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["meta_batch_size", "num_envs", "eval_num_envs", "checkpoint_every"])
def test_sizes_below_one_are_refused(make_run, name, sentence):
    with pytest.raises(InputError) as error:
        make_run(**{name: 0})
    assert name in sentence(error)
