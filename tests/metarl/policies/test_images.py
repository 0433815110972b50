"""Policies of images, and of several discrete actions: against loops over tasks, and through every method."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from signs import PRESETS, Signs
from torch import Generator
from torch.nn import functional

import envs
import metarl
from envs.adapters.gym import TaskEnv
from metarl.evaluation.evaluate import EvaluationConfig, evaluate_run
from metarl.learning.linearize import linearize
from metarl.policies.encoders import EncodedPolicy, policy_for
from metarl.policies.images import Convolutions, ImageEncoder
from metarl.policies.meta_networks import MetaNetworksConfig
from metarl.policies.metanet import MetaNetConfig
from metarl.policies.mlp import MLPConfig, StepInput
from metarl.policies.rl2 import RL2Config
from metarl.training.config import from_dict
from metarl.training.loop import train
from metarl.training.presets import METHODS, preset
from metarl.training.run import Run
from metarl.training.start import new_run, resume_run


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


@pytest.fixture
def signs(monkeypatch) -> str:
    monkeypatch.setitem(envs.FAMILIES, "signs", envs.Family("signs", "metarl/signs-v0", Signs, PRESETS))
    return "signs"


def make(preset: str = "small") -> Signs:
    return Signs(PRESETS[preset], torch.device("cpu"))


def inputs(env: Signs, *lanes: int) -> StepInput:
    obs = torch.randint(11, (*lanes, int(np.prod(env.observation_space.shape))), generator=generator()).byte()
    draw = [torch.randint(n, lanes, generator=generator(n)) for n in (3, 2)]
    reward = torch.rand(lanes, generator=generator(1))
    first = torch.zeros(lanes, dtype=torch.bool)
    return StepInput(obs, torch.stack(draw, -1), reward, first, torch.ones(lanes))


def plain(policy: EncodedPolicy, vector: torch.Tensor, obs: torch.Tensor) -> torch.Tensor:
    """Features of one task's images [B, H W C] by its parameters [P], by ordinary convolutions."""
    c, at = policy.encoder, 0
    x = (obs.to(vector.dtype) / 10).unflatten(-1, c.shape).permute(0, 3, 1, 2)
    for layer, shape in zip(c.layers, c.weights, strict=True):
        size = int(np.prod(shape))
        weight, bias = vector[at : at + size].view(shape), vector[at + size : at + size + shape[0]]
        x = functional.conv2d(x, weight, bias, layer.stride, layer.padding).relu()
        at += size + shape[0]
    return x.flatten(1)


@pytest.mark.parametrize("preset", PRESETS)
def test_each_task_has_its_own_convolutions(preset):
    """In float64: features, gradients and Hessian products are those of a loop over tasks."""
    env = make(preset)
    policy = policy_for(env, MLPConfig((3,)))
    assert isinstance(policy, EncodedPolicy)
    params = torch.stack([policy.init(generator(k)) for k in range(2)]).double()
    seen = inputs(env, 2, 3, 1)
    features = policy.encoder.encode(params[:, : policy.num_encoding], seen.obs.flatten(1, -2))
    each = [plain(policy, p, obs.flatten(0, -2)) for p, obs in zip(params, seen.obs, strict=True)]
    torch.testing.assert_close(features, torch.stack(each))
    vector = torch.randn(params.shape, generator=generator(), dtype=torch.float64)

    def objective(distribution):
        return (distribution.log_prob(seen.prev_action[: len(distribution.each.log_probs)]) ** 2).sum((1, 2))

    gradient, product = linearize(policy, params, seen).hessian(objective)
    for k in range(2):
        leaf = params[k].clone().requires_grad_()
        mlp = policy.mlp.bind(leaf[policy.num_encoding :].unsqueeze(0))
        x = plain(policy, leaf, seen.obs[k].flatten(0, -2)).view(1, 3, 1, -1)
        loss = (mlp(StepInput(x, *[None] * 4), None)[0].log_prob(seen.prev_action[k : k + 1]) ** 2).sum()
        own = torch.autograd.grad(loss, leaf, create_graph=True)[0]
        torch.testing.assert_close(gradient[k], own.detach())
        torch.testing.assert_close(product(vector)[k], torch.autograd.grad(own, leaf, vector[k])[0])


def test_both_encoders_compute_the_same():
    space = make().observation_space
    encoder, convolutions = ImageEncoder(space), Convolutions(space)
    params = torch.cat([p.detach().flatten() for p in encoder.parameters()]).unsqueeze(0)
    obs = inputs(make(), 1, 5).obs
    torch.testing.assert_close(convolutions.encode(params, obs), encoder(obs))


@pytest.mark.parametrize("config", [RL2Config(8), MetaNetConfig(hidden_size=8), MetaNetworksConfig(8)])
def test_a_memory_steps_as_it_sees_whole_trials(config):
    env = make()
    network = config.make(env, 2, generator())
    seen = inputs(env, 3, 8)
    whole, memory = network(seen), None
    for t in range(8):
        outputs, memory = network.step(seen[:, t], memory)
        torch.testing.assert_close(outputs.action, whole.action[:, t], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(outputs.value, whole.value[:, t], atol=1e-5, rtol=1e-4)


def test_images_are_not_normalized():
    network = RL2Config(8).make(make(), 2, generator())
    seen = inputs(make(), 3, 8)
    network.normalizer.update(seen.obs, seen.prev_reward, seen.mask)
    assert len(network.normalizer.mean) == 1
    torch.testing.assert_close(network.normalized_obs(seen), network.encoder(seen.obs))


FEWER = {
    "metanet": {"algorithm": {"epochs": 2}},
    "varibad": {"algorithm": {"epochs": 1}, "policy": {"model_updates": 2}},
}
"""Steps of methods that take many."""
LANES = {"meta_batch_size": 2, "num_envs": 3, "num_iterations": 2, "checkpoint_every": 1}


@pytest.mark.parametrize(
    "method", [name for name in METHODS if name not in ("sb3-ppo-informed", "sb3-ppo-scratch", "pearl")]
)
def test_every_method_trains_resumes_evaluates_and_acts(tmp_path, signs, method):
    config = replace(preset(f"{method}-signs"), **LANES)
    if method in FEWER:
        config = from_dict(config, FEWER[method])
    whole, part = (new_run(f"{method}-signs", tmp_path / name, config) for name in ("whole", "part"))
    train(whole, quiet=True)

    calls = []

    def stop(run):
        calls.append(run)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return {}

    with pytest.raises(KeyboardInterrupt):
        train(part, quiet=True, held_out=stop)
    resumed = resume_run(tmp_path / "part")
    assert resumed.iteration == 1
    train(resumed, quiet=True)
    assert resumed.algorithm.params.isfinite().all()
    torch.testing.assert_close(resumed.algorithm.params, whole.algorithm.params, rtol=0, atol=0)
    result = evaluate_run(Run.open(tmp_path / "whole"), EvaluationConfig(num_tasks=2, num_envs=2))
    assert np.isfinite(result["per_task"]).all()
    learner, env = metarl.load(tmp_path / "whole").begin(), TaskEnv("signs")
    obs, _ = env.reset(seed=0)
    for _ in range(8):
        action = learner.act(obs)
        assert env.action_space.contains(action)
        obs, *step = env.step(action)
        learner.observe(obs, *step)
        if step[2]:
            obs, _ = env.reset()
