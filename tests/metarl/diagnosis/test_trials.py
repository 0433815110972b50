"""What a diagnosis says about trials."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diagnoses import diagnosis, trained
from torch import Generator
from trials import arms, board, make

import envs
from metarl.algorithms.pearl import PEARLConfig
from metarl.algorithms.recurrent_ppo import RecurrentPPOConfig
from metarl.diagnosis import trials as diagnosed
from metarl.diagnosis.findings import does_not_apply
from metarl.diagnosis.probe import DiagnosisConfig, Probe
from metarl.diagnosis.trials import belief, ends, forgetful, repeated
from metarl.learning.rollout import rollout
from metarl.policies.metanet import MetaNetConfig
from metarl.policies.mlp import StepInput
from metarl.policies.rl2 import RL2Config
from metarl.training.run import Run

# --- Trials ------------------------------------------------------------------------------------------------------


def test_the_ends_of_a_trial():
    reward = torch.arange(20.0).view(1, 20, 1).expand(2, 20, 3)
    assert [x.tolist() for x in ends(reward, 1)] == [[0.5, 0.5], [18.5, 18.5]]
    assert [x.tolist() for x in ends(reward, 4)] == [[10.0, 10.0], [85.0, 85.0]]
    assert [x.tolist() for x in ends(reward[:, :, 0], 2)] == [[45.0, 45.0], [145.0, 145.0]]


@pytest.mark.parametrize(
    "config",
    [
        RL2Config(8),
        RL2Config(8, "transformer"),
        MetaNetConfig(hidden_size=8, num_heads=2, key_size=2, code_size=2),
    ],
)
def test_a_forgetful_actor_remembers_the_episode_and_nothing_before_it(config):
    """Its logits are compared between two trials whose rewards differ in one step, by the actions they lead to."""
    env = arms(pulls=3)
    network, seen = make(env, config, num_episodes=2, noise=1.0), []

    def logits(changed_step):
        act, memory, out = forgetful(network, Generator().manual_seed(0)), None, []
        network.distribution = lambda outputs: SimpleNamespace(
            sample=lambda generator: (out.append(outputs.action), torch.zeros(2, dtype=torch.int64))[1]
        )
        for t in range(6):
            reward = torch.full((1, 2), float(t == changed_step))
            yes = torch.ones(1, 2)
            first = torch.full((1, 2), t % 3 == 0)
            inputs = StepInput(torch.ones(1, 2, 1), torch.zeros(1, 2, dtype=torch.int64), reward, first, yes)
            _, memory = act(inputs, None, memory)
        del network.distribution
        return torch.stack(out)

    with torch.no_grad():
        plain_trial, seen = logits(None), [logits(k) for k in (1, 3, 4)]
    differs = [[bool((a - b).abs().max() > 1e-6) for a, b in zip(x, plain_trial, strict=True)] for x in seen]
    assert differs[0] == [False, True, True, False, False, False]  # seen in the first episode
    assert differs[1] == [False] * 6  # what the last step of the first episode paid is seen when it is forgotten
    assert differs[2] == [False] * 4 + [True] * 2
    assert (plain_trial[0] - plain_trial[4]).abs().max() > 1e-6


def test_repeated_actions_are_those_of_the_other_trial():
    env = board()
    actions = torch.randint(5, (3, 12, 2), generator=Generator().manual_seed(0))
    task = env.sample_tasks(3, Generator().manual_seed(1))
    played = rollout(env, repeated(actions), task, 2, Generator(), num_episodes=2)
    assert torch.equal(played.action, actions)


# --- Policies with a memory, and other methods -------------------------------------------------------------------


def trial_run(path: Path, policy, num_episodes: int, horizon: int, num_iterations: int) -> Run:
    return trained(
        path,
        RecurrentPPOConfig(num_episodes=num_episodes, lr=5e-3, epochs=4),
        policy,
        "bernoulli-bandit",
        "k5-n10",
        {"horizon": horizon, "num_arms": 2},
        num_iterations=num_iterations,
        meta_batch_size=100,
        num_envs=1,
    )


@pytest.mark.parametrize(("episodes", "horizon", "control"), [(1, 8, "another task's rewards"), (3, 4, "emptied")])
def test_a_memory_that_learned_helps(tmp_path, episodes, horizon, control):
    d = diagnosis(trial_run(tmp_path / "run", RL2Config(16), episodes, horizon, 16), num_tasks=1000)
    assert d.problems == set()
    f = d.findings["adaptation"]
    assert f.verdict == "ok" and control in f.sentence and "identifies the task" in f.sentence
    references = f.numbers["references at start and end"]
    assert references["random"][1] < f.numbers["end"]["mean"] < references["clairvoyant"][1]
    assert {n for n, f in d.findings.items() if f.verdict == "does not apply"} == {
        "inner learning rate",
        "hidden units",
    }


@pytest.mark.parametrize("episodes", [1, 3])
def test_without_a_memory_nothing_is_gained(tmp_path, episodes):
    config = MetaNetConfig(memory="none", hidden_size=16)
    d = diagnosis(trial_run(tmp_path / "run", config, episodes, 5, 3), num_tasks=1000)
    assert d.findings["adaptation"].verdict != "ok"
    low, high = d.findings["adaptation"].numbers["gain beyond the control"]["mean_ci95"]
    assert low < 0 < high
    assert "--memory linear" in d.findings["adaptation"].next


def test_what_training_has_brought_is_judged_by_the_episodes_that_count(tmp_path, monkeypatch):
    run = trial_run(tmp_path / "run", RL2Config(8), 3, 4, 1)
    run.config = dataclasses.replace(run.config, algorithm=dataclasses.replace(run.config.algorithm, free_episodes=2))
    seen = []
    monkeypatch.setattr(
        diagnosed, "judge_start", lambda *args: seen.append(args) or does_not_apply("meta-training", ".")
    )
    probe = Probe.of(run, DiagnosisConfig(num_tasks=8))
    task = probe.tasks(probe.split)
    played = diagnosed.trial(probe, task, repeated(torch.zeros(8, 12, 1, dtype=torch.int64)))
    diagnosed.meta_training(probe, task, played)
    torch.testing.assert_close(seen[0][0][0], played.reward[:, 8:].double().sum((1, 2)))


# --- Beliefs ---------------------------------------------------------------------------------------------------------


def with_belief(width, tells=True):
    """A probe of a method whose belief ends with this width, and whose mean is the goal or nothing."""
    env = envs.make("point", horizon=4)
    task = env.sample_tasks(40, Generator().manual_seed(0))
    std = torch.ones(40, 2, 4, 2)
    std[:, :, -1] = width
    mean = task.goal[:, None, None].expand_as(std) if tells else torch.zeros_like(std)
    found = torch.stack([mean, std], 2).flatten(0, 1)
    algorithm = SimpleNamespace(name="Any", belief=lambda inputs: found)
    config = SimpleNamespace(algorithm=PEARLConfig(), policy=None)
    probe = SimpleNamespace(run=SimpleNamespace(algorithm=algorithm, env=env, config=config), num_envs=2)
    played = SimpleNamespace(map=lambda f: SimpleNamespace(inputs=None))
    return belief(probe, task, played)


def test_a_belief_should_narrow_and_tell_the_task():
    good = with_belief(0.3)
    assert (good.verdict, good.numbers["mean standard deviation"]["end"]) == ("ok", pytest.approx(0.3))
    assert good.numbers["R² of the task from its mean at the end"]["goal"] > 0.99
    assert with_belief(0.3, tells=False).verdict == "note"
    assert with_belief(1.0).verdict == "problem" and "--kl-coef 0.005" in with_belief(1.0).next
