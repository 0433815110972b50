"""Encoders in front of every policy: which there are, and categories through every method; images in test_images.py."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium import spaces
from rooms import Rooms, RoomsConfig
from torch import Generator

import envs
import metarl
from envs import InputError
from envs.adapters.gym import TaskEnv
from metarl.evaluation.evaluate import EvaluationConfig, evaluate_run
from metarl.learning.linearize import linearize
from metarl.policies.embeddings import EmbeddingEncoder
from metarl.policies.encoders import EncodedPolicy, encoder_of, policy_for
from metarl.policies.images import ImageEncoder
from metarl.policies.mlp import MLPConfig, MLPPolicy, StepInput
from metarl.training.loop import train
from metarl.training.presets import preset
from metarl.training.start import new_run


@pytest.fixture
def rooms() -> Rooms:
    return Rooms(RoomsConfig(num_rooms=5), torch.device("cpu"))


def test_vectors_need_none():
    assert encoder_of(spaces.Box(-1, 1, (3,), np.float32)) is None
    assert isinstance(encoder_of(spaces.Box(0, 255, (7, 7, 3), np.uint8)), ImageEncoder)
    assert isinstance(encoder_of(spaces.MultiDiscrete([9])), EmbeddingEncoder)
    assert isinstance(policy_for(envs.make("point"), MLPConfig()), MLPPolicy)


def test_a_context_goes_with_vectors_alone(rooms, sentence):
    with pytest.raises(InputError) as error:
        policy_for(rooms, MLPConfig(context_size=2))
    assert "context_size" in sentence(error)


def test_gradients_and_hessian_products_are_those_of_a_loop_over_tasks(rooms):
    policy = policy_for(rooms, MLPConfig((3,)))
    assert isinstance(policy, EncodedPolicy)
    params = torch.stack([policy.init(Generator().manual_seed(k)) for k in range(2)]).double()
    obs = torch.stack([torch.randint(n, (2, 3, 4)) for n in (5, 2)], -1)
    action, vector = torch.randint(2, (2, 3, 4)), torch.randn(params.shape, dtype=torch.float64)
    seen = StepInput(obs, *[torch.zeros(2, 3, 4)] * 4)

    def objective(distribution):
        return (distribution.log_prob(action[: len(distribution.log_probs)]) ** 2).sum((1, 2))

    gradient, product = linearize(policy, params, seen).hessian(objective)
    for k in range(2):
        leaf = params[k].clone().requires_grad_()
        distribution = policy.bind(leaf.unsqueeze(0))(seen[k : k + 1], None)[0]
        loss = (distribution.log_prob(action[k : k + 1]) ** 2).sum()
        own = torch.autograd.grad(loss, leaf, create_graph=True)[0]
        torch.testing.assert_close(gradient[k], own.detach())
        torch.testing.assert_close(product(vector)[k], torch.autograd.grad(own, leaf, vector[k])[0])


@pytest.mark.parametrize("method", ["maml", "reptile", "metanet", "rl2", "sb3-ppo"])
def test_methods_train_on_ten_thousand_categories(tmp_path, monkeypatch, method):
    family = envs.Family("rooms", "metarl/rooms-v0", Rooms, {"many": RoomsConfig()})
    monkeypatch.setitem(envs.FAMILIES, "rooms", family)
    config = replace(preset(f"{method}-rooms"), meta_batch_size=2, num_envs=3, num_iterations=1)
    if method == "maml":
        config = replace(config, algorithm=replace(config.algorithm, baseline="value"))
    run = new_run(f"{method}-rooms", tmp_path / "run", config)
    before = run.algorithm.params.clone()
    train(run, quiet=True)
    assert run.algorithm.params.isfinite().all() and not run.algorithm.params.equal(before)
    result = evaluate_run(run, EvaluationConfig(num_tasks=2, num_envs=2))
    assert np.isfinite(result["per_task"]).all()
    learner, env = metarl.load(tmp_path / "run").begin(), TaskEnv("rooms")
    obs, _ = env.reset(seed=0)
    with pytest.raises(InputError, match="categories"):
        learner.act(obs + 10_000)
    assert env.action_space.contains(learner.act(obs))
