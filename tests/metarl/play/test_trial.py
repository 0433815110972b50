"""A policy on one task, stage by stage."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from agents import saved_run
from PIL import Image

from envs.errors import InputError
from metarl.agent.load import load
from metarl.play.trial import Trial
from metarl.policies.mlp import StepInput


def played(trial):
    stages = []
    while not trial.done:
        stages.append(trial.play())
    return stages


def test_a_memory_policy_plays_the_episodes_of_its_trial(runs):
    trial = Trial(load(runs / "memory"), {"goal": [2, 2]}, 0)
    stages = played(trial)
    assert [s["name"] for s in stages] == ["episode 1", "episode 2", "episode 3"]
    assert [s["done"] for s in stages] == [False, False, True]
    for k, stage in enumerate(stages):
        assert len(stage["states"]["cell"]) == 1 and len(stage["states"]["cell"][0]) == 7  # the start, and 6 steps
        assert stage["returns"][0] == pytest.approx(sum(stage["rewards"]), abs=1e-3)
        assert np.shape(stage["attention"]) == (6, 6 * (k + 1))
        assert not np.triu(np.array(stage["attention"])[:, 6 * k :]).any()  # no step reads itself or later ones
    sums = np.array(stages[2]["attention"]).sum(1)
    assert (sums > 0).all() and (sums <= 1.02).all()  # learned slots have the rest
    with pytest.raises(InputError, match="over"):
        trial.play()


@pytest.mark.parametrize(("method", "family"), [("varibad", "gridworld"), ("pearl", "point")])
def test_a_belief_is_told_of_every_step(method, family, tmp_path):
    fields = {"algorithm": {"num_episodes": 2, **({"num_train_tasks": 2} if method == "pearl" else {})}}
    agent = load(saved_run(tmp_path / "run", method, family, **fields).path)
    trial = Trial(agent, {"goal": [2, 2]} if family == "gridworld" else {"goal": [0.1, 0.1]}, 0)
    stages = played(trial)
    steps = trial.env.horizon
    belief = np.concatenate([stage["belief"] for stage in stages], 1)
    assert belief.shape == (2, 2 * steps, 5) and (belief[1] > 0).all() and stages[0]["attention"] is None
    inputs = StepInput.cat([step for steps in trial.seen for step in steps]).map(lambda x: x.unsqueeze(0))
    np.testing.assert_allclose(belief, agent.run.algorithm.belief(inputs)[0], atol=1e-4)
    assert np.abs(np.diff(belief[0], axis=0)).max() > 0


def test_a_gradient_method_plays_as_many_episodes_as_it_learns_from_and_steps(runs):
    trial = Trial(load(runs / "gradient"), {"goal": [0.3, -0.2]}, 0)
    stages = []
    for k in range(4):
        before = trial.learner.policy.params.clone()
        stages.append(trial.play())
        assert trial.learner.policy.steps_taken == min(k + 1, 3)
        assert torch.equal(trial.learner.policy.params, before) == (k == 3)
    assert all(len(s["returns"]) == 4 and s["attention"] is s["belief"] is None for s in stages) and stages[3]["done"]
    assert np.shape(stages[0]["states"]["position"]) == (4, 7, 2)


def test_a_seed_repeats_a_trial(runs):
    first, again, other = (played(Trial(load(runs / "gradient"), {"goal": [0.3, 0.1]}, s)) for s in (3, 3, 4))
    assert first == again != other


def test_episodes_that_end_early_are_cut_and_the_trial_goes_on(tmp_path):
    """Lanes whose episode is over go on with ones that do not count, until the last one is over."""
    saved_run(tmp_path / "run", "maml", "point")
    agent = load(tmp_path / "run")
    trial = Trial(agent, {"goal": [0.0, 0.0]}, 0)
    object.__setattr__(trial.env.config, "goal_tolerance", 0.08)
    stages = played(trial)
    lengths = [n for s in stages for n in s["lengths"]]
    assert min(lengths) < 6 and len(set(lengths)) > 1
    assert all(len(s["rewards"]) == s["lengths"][0] for s in stages)
    assert trial.learner.policy.steps_taken == 3


def test_frames_are_pictures_of_steps_that_were_played(runs):
    trial = Trial(load(runs / "memory"), {"goal": [2, 2]}, 0)
    trial.play()
    image = Image.open(io.BytesIO(trial.frame(0, 6)))
    assert image.format == "PNG" and image.size == (480, 480)
    for stage, step in ((1, 0), (0, 7), (-1, 0), (0, -1)):
        with pytest.raises(InputError, match="stage"):
            trial.frame(stage, step)


def test_a_task_must_fit_the_family(runs):
    for task in ({"goal": [9, 9]}, {"gaol": [1, 1]}, {}):
        with pytest.raises(InputError, match=r"goal|gaol"):
            Trial(load(runs / "memory"), task, 0)
