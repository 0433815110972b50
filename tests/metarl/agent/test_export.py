"""An exported step, run by ONNX Runtime, is ours over a whole trial; the script of the documentation runs the file."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from agents import EPISODES, FAMILIES, saved_run, stepped
from torch import Generator

import envs
import metarl
from envs import InputError
from metarl.policies.cells import CELLS
from metarl.policies.mlp import StepInput
from metarl.training.presets import preset
from metarl.training.run import Run

pytest.importorskip("onnx", reason="needs metarl-toolkit[onnx]")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs metarl-toolkit[onnx]")

GRADIENT = ["maml", "promp", "meta-sgd", "reptile", "sb3-ppo"]
MEMORY = ["metanet", "meta-networks", "rl2", "varibad", "dpt"]


class Runtime:
    """A policy from a file, by ONNX Runtime and numpy alone."""

    def __init__(self, path):
        self.session = onnxruntime.InferenceSession(path)
        self.about = {k: json.loads(v) for k, v in self.session.get_modelmeta().custom_metadata_map.items()}
        self.reads = {x.name for x in [*self.session.get_inputs(), *self.session.get_overridable_initializers()]}
        self.outputs = [x.name for x in self.session.get_outputs()]
        self.carried, self.steps = {}, self.about["steps"]

    def step(self, obs, mask=1.0):
        feed = {"obs": obs, "mask": np.float32([mask]), **self.carried}
        values = self.session.run(None, {name: feed[name] for name in self.reads & feed.keys()})
        found = dict(zip(self.outputs, values, strict=True))
        self.carried |= {name.removeprefix("next_"): x for name, x in found.items() if name.startswith("next_")}
        self.steps += 1
        return found

    def observe(self, action, reward, done):
        self.carried |= {"prev_action": action, "prev_reward": reward, "first": np.array([False])}
        while done and self.about["num_episodes"] and self.steps % self.about["horizon"]:
            self.step(np.zeros((1, *self.about["observation_space"]["shape"]), np.float32), 0.0)
            self.carried |= {"prev_action": np.zeros_like(action), "prev_reward": np.zeros_like(reward)}
        self.carried |= {"first": np.array([done])}


def assert_equal_over_episodes(learner, path, env, num_episodes, ends=()):
    """Ours and the file's distributions where a learner draws the actions; some episodes end early, at their step."""
    theirs, generator = Runtime(path), Generator().manual_seed(7)
    task = env.sample_tasks(1, generator)
    for episode in range(num_episodes):
        state, obs = env.reset(task, 1, generator)
        for t in range(env.horizon):
            seen = {}
            act = learner.policy.act
            learner.policy.act = lambda inputs, act=act, seen=seen: seen.setdefault("ours", act(inputs))
            action = learner.act(obs[0].numpy())
            del learner.policy.act
            found, ours, drawn = theirs.step(obs[0].numpy()), seen["ours"], learner.now[1]
            names = ["log_probs"] if hasattr(ours, "log_probs") else ["mean", "log_std"]
            for name in names:
                expected = getattr(ours, name).expand(1, 1, -1)[0].detach().numpy()
                np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-5)
            probable = ours.mode()[0].detach().numpy()
            probable = np.clip(probable, -1, 1) if len(names) > 1 else probable
            np.testing.assert_allclose(found["action"], probable, rtol=1e-5, atol=1e-5)
            result = env.step(task, state, torch.as_tensor(action)[None], generator)
            done = t == ends[episode] if episode < len(ends) else t == env.horizon - 1
            learner.observe(result.obs[0].numpy(), result.reward[0].numpy(), False, done)
            theirs.observe(drawn.numpy(), result.reward[0].numpy(), done)
            state, obs = result.state, result.obs
            if done:
                break


@pytest.mark.parametrize(("method", "family"), [*itertools.product([*GRADIENT, *MEMORY], FAMILIES), ("pearl", "point")])
def test_a_whole_trial_by_onnx_runtime_is_ours(tmp_path, method, family):
    run = saved_run(tmp_path / "run", method, family)
    learner = metarl.load(run.path).begin(seed=2)
    learner.export(tmp_path / "out" / "policy.onnx")
    ends = [run.env.horizon - 1, 2] if run.algorithm.stages().trial else ()
    assert_equal_over_episodes(learner, tmp_path / "out" / "policy.onnx", run.env, EPISODES, ends)
    about = Runtime(tmp_path / "out" / "policy.onnx").about
    assert about["family"] == family and about["preset"] == f"{method}-{family}" and about["horizon"] == 6
    assert about["action_space"]["type"] == {"point": "Box", "gridworld": "Discrete"}[family]


@pytest.mark.parametrize("method", ["meta-sgd", "reptile", *MEMORY])
def test_an_adapted_policy_goes_on_in_the_file(tmp_path, method):
    run = saved_run(tmp_path / "run", method)
    learner = metarl.load(run.path).begin(num_envs=4, seed=1)
    task = run.env.sample_tasks(1, Generator().manual_seed(0))
    stepped(learner, run.env, task, 1)
    learner.save(tmp_path / "adapted.pt")
    learner.export(tmp_path / "policy.onnx")
    fresh = metarl.load(run.path)
    fresh.export(tmp_path / "fresh.onnx")
    adapted, before = (Runtime(tmp_path / name) for name in ("policy.onnx", "fresh.onnx"))
    assert (adapted.about["gradient_steps"], adapted.about["steps"]) == ((0, 6) if method in MEMORY else (1, 0))
    obs = np.float32(run.env.reset(task, 1, Generator().manual_seed(0))[1][0])
    found, first = adapted.step(obs)["log_probs"], before.step(obs)["log_probs"]
    assert not np.allclose(found, first, atol=1e-3)
    ours = learner.policy.act
    learner.policy.act = lambda inputs: setattr(learner, "seen", ours(inputs)) or learner.seen
    learner.act(np.repeat(obs, 4, 0))
    np.testing.assert_allclose(found[0], learner.seen.log_probs[0, 0].detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("memory", ["full", "ring", "linear", "gated-delta", "none"])
def test_every_memory_can_be_exported(tmp_path, memory):
    run = saved_run(tmp_path / "run", "metanet", policy={"memory": memory, "ring_size": 4})
    metarl.load(run.path).export(tmp_path / "policy.onnx")
    assert_equal_over_episodes(metarl.load(run.path).begin(seed=1), tmp_path / "policy.onnx", run.env, EPISODES, [5, 2])


@pytest.mark.parametrize("policy", [*({"cell": cell} for cell in CELLS if cell != "gru"), {"head": "hypernetwork"}])
def test_every_cell_can_be_exported(tmp_path, policy):
    run = saved_run(tmp_path / "run", "rl2", policy={"hidden_size": 16, **policy})
    metarl.load(run.path).export(tmp_path / "policy.onnx")
    assert_equal_over_episodes(metarl.load(run.path).begin(seed=1), tmp_path / "policy.onnx", run.env, EPISODES, [5, 2])


@pytest.mark.parametrize("method", ["maml", "rl2"])
def test_the_script_of_the_documentation_runs_the_file(tmp_path, method):
    run = Run(tmp_path / "run", f"{method}-bandit", preset(f"{method}-bandit"), envs.make_config("bernoulli-bandit"))
    run.create()
    run.save()
    metarl.load(run.path).export(tmp_path / "policy.onnx")
    page = (Path(__file__).parents[3] / "docs/export.md").read_text()
    script = re.findall(r"```python\n(.*?)```", page, re.S)[1]
    assert "import metarl" not in script and "torch" not in script
    assert len([line for line in script.splitlines() if line]) <= 25
    result = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert re.search(r"bernoulli-bandit: \d+ of \d+ pulls paid", result.stdout)


def test_an_action_that_was_not_observed_is_refused(tmp_path, sentence):
    run = saved_run(tmp_path / "run", "maml", "point")
    learner = metarl.load(run.path).begin()
    learner.act(np.zeros(2))
    with pytest.raises(InputError) as error:
        learner.export(tmp_path / "policy.onnx")
    assert "observe()" in sentence(error) and not (tmp_path / "policy.onnx").exists()


def test_without_onnx_the_extra_is_named(tmp_path, monkeypatch, sentence):
    run = saved_run(tmp_path / "run", "maml", "point")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(InputError) as error:
        metarl.load(run.path).export(tmp_path / "policy.onnx")
    assert "metarl-toolkit[onnx]" in sentence(error)


def test_a_policy_with_a_context_vector_is_exported_and_does_not_fit_into_sb3(tmp_path, sentence):
    run = saved_run(tmp_path / "run", "maml", policy={"context_size": 3}, algorithm={"adapt": "context"})
    agent = metarl.load(run.path)
    agent.export(tmp_path / "policy.onnx")
    assert_equal_over_episodes(agent.begin(seed=1), tmp_path / "policy.onnx", run.env, 1)
    with pytest.raises(InputError) as error:
        agent.to_sb3()
    assert "context vector" in sentence(error)


@pytest.mark.parametrize("method", ["maml", "sb3-ppo"])
def test_an_adapted_policy_goes_to_sb3(tmp_path, method):
    run = saved_run(tmp_path / "run", method)
    learner = metarl.load(run.path).begin(seed=1, episodes_per_step=2, num_steps=1)
    fresh = learner.to_sb3()
    obs = np.float32(run.env.reset(run.env.sample_tasks(1, Generator().manual_seed(0)), 1, Generator())[1][0])
    for _ in range(2):
        for t in range(5):
            learner.act(obs[0])
            learner.observe(obs[0], float(t), False, t == 4)
    assert learner.policy.steps_taken == 1
    tensor = torch.as_tensor(obs)
    found, before = (m.policy.get_distribution(tensor).distribution.logits.detach() for m in (learner.to_sb3(), fresh))
    learner.act(obs[0])
    ours = (
        learner.policy.act(StepInput(tensor[None], torch.zeros(1, 1), *[torch.zeros(1, 1)] * 3)).log_probs[0].detach()
    )
    np.testing.assert_allclose(found, ours, rtol=1e-5, atol=1e-5)
    assert not np.allclose(found, before, atol=1e-6)
