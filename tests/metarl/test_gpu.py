"""The same code on CUDA: the same numbers up to rounding."""

from __future__ import annotations

import pytest
import torch
from plain_meta import FEW_ITERATIONS, assert_same_step
from torch import Generator

import envs
from metarl.learning.rollout import reference_rollout

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


def test_an_update_on_cuda_equals_one_on_the_cpu(build_problem):
    cpu, cuda = (build_problem(num_inner_steps=2, outer=FEW_ITERATIONS) for _ in range(2))
    cuda.algorithm.meta = cuda.algorithm.meta.cuda()
    assert_same_step(cpu, cuda, [t.to("cuda") for t in cuda.trajectories])
    assert cuda.algorithm.meta.is_cuda


def test_training_on_cuda_stays_there(make_run, trained):
    from metarl.training.loop import train_iteration
    from metarl.training.run import Run

    run = Run.open(trained, "cuda", num_iterations=4)
    metrics = train_iteration(run)
    assert run.algorithm.params.is_cuda and metrics["iteration"] == 4


@pytest.mark.parametrize("family", envs.FAMILIES)
def test_references_run_on_cuda(family):
    env = envs.make(family, device="cuda")
    task = env.sample_tasks(8, Generator("cuda").manual_seed(0))
    for reference in env.references().values():
        trajectory = reference_rollout(env, reference, task, 2, Generator("cuda").manual_seed(1), num_episodes=2)
        assert trajectory.reward.is_cuda and trajectory.reward.isfinite().all()


@pytest.mark.parametrize("name", ["metanet-gridworld", "rl2-point"])
def test_memory_policies_learn_on_cuda_and_see_what_they_see_on_the_cpu(name, tmp_path):
    import dataclasses

    from metarl.training.loop import train_iteration
    from metarl.training.presets import preset
    from metarl.training.run import Run

    config = dataclasses.replace(preset(name), meta_batch_size=4)
    run = Run(tmp_path, name, config, envs.make_config(config.env, config.env_preset), "cuda")
    train_iteration(run)
    task = run.env.sample_tasks(3, run.generator)
    trial = torch.cat([t.inputs.obs for t in run.algorithm.collect(run.env, task, 1, run.generator)], 1)
    assert trial.is_cuda and run.algorithm.params.is_cuda
    cpu = Run(tmp_path, name, config, envs.make_config(config.env, config.env_preset))
    state = run.algorithm.state_dict()
    cpu.algorithm.network.load_state_dict({key: x.cpu() for key, x in state["network"].items()})
    rows = run.algorithm.collect(run.env, task, 1, run.generator)[0].map(lambda x: x.transpose(1, 2).flatten(0, 1))
    with torch.no_grad():
        found, right = run.algorithm.network(rows.inputs), cpu.algorithm.network(rows.inputs.to("cpu"))
    torch.testing.assert_close(found.action.cpu(), right.action, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.value.cpu(), right.value, rtol=1e-4, atol=1e-5)
