"""The scripts with policies that have a memory: trials in training, in the evaluation's file, and in videos."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import envs
from metarl.algorithms.recurrent_ppo import RecurrentPPO
from metarl.training.config import from_dict
from metarl.training.loop import train
from metarl.training.presets import preset
from metarl.training.run import Run

SIZES = {"num_iterations": 3, "meta_batch_size": 4, "eval_num_envs": 2, "checkpoint_every": 1}
TINY = [text for name, value in SIZES.items() for text in (f"--{name.replace('_', '-')}", str(value))]
NETWORK = ["--hidden-size", "8"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> SimpleNamespace:
    """Folders of small trained runs: two memories, and MAML; the tests do not change them."""
    path = tmp_path_factory.mktemp("runs")

    def trained(name: str, **env_fields) -> Path:
        changes = {**SIZES, "num_envs": 1, "policy": {"hidden_sizes": (4,)}}
        if not name.startswith("maml"):
            changes["policy"] = {"hidden_size": 8}
        config = from_dict(preset(name), changes)
        run = Run(path / name, name, config, envs.make_config(config.env, config.env_preset, **env_fields))
        run.create()
        train(run, quiet=True)
        return run.path

    return SimpleNamespace(
        grid=trained("metanet-gridworld", horizon=10), bandit=trained("rl2-bandit"), maml=trained("maml-bandit")
    )


def evaluated(script, run, output, *arguments) -> tuple[dict, str]:
    result = script("evaluate", run, "--num-tasks", 6, "--output", output, *arguments)
    assert (result.status, result.err) == (0, "")
    assert output.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    return json.loads(output.read_text()), result.out


def test_an_evaluation_holds_the_trial_by_episodes(script, runs, tmp_path):
    e, out = evaluated(script, runs.grid, tmp_path / "e.json")
    assert (e["stages"], e["num_envs"]) == ({"num_steps": 0, "num_episodes": 4}, 2)
    rows = np.array(e["per_task"])
    assert rows.shape == (6, 4)
    np.testing.assert_allclose(e["trial"]["curve"]["mean"], rows.mean(0))
    assert e["trial"]["mean"] == pytest.approx(rows.sum(1).mean())
    for reference in e["references"].values():
        assert np.shape(reference["trial"]["curve"]["mean_ci95"]) == (4, 2)
        assert reference["trial"]["mean"] == pytest.approx(4 * reference["mean"])
    assert {"random", "shortest path", "Bayes-optimal search"} <= e["references"].keys()
    assert all(f"episode {k}" in out for k in (1, 2, 3, 4)) and "whole trial" in out


def test_an_evaluation_of_one_episode_holds_the_trial_by_steps(script, runs, tmp_path):
    e, out = evaluated(script, runs.bandit, tmp_path / "e.json")
    assert out.count("whole trial") == 1 and "episode 1" not in out
    assert (e["stages"], np.shape(e["per_task"])) == ({"num_steps": 0, "num_episodes": 1}, (6, 1))
    for trial in (e["trial"], *(reference["trial"] for reference in e["references"].values())):
        assert np.shape(trial["curve"]["iqm_ci95"]) == (10, 2)
        assert sum(trial["curve"]["mean"]) == pytest.approx(trial["mean"])


def test_references_are_left_out_on_request(script, runs, tmp_path):
    with_them, _ = evaluated(script, runs.grid, tmp_path / "a.json")
    without, out = evaluated(script, runs.grid, tmp_path / "b.json", "--no-references")
    assert without["references"] == {} and "random" in with_them["references"] and "random" not in out
    assert without.pop("command").endswith("--no-references") and with_them.pop("command")
    assert {**without, "references": with_them["references"]} == with_them


@pytest.mark.parametrize(
    ("name", "run", "arguments", "words"),
    [
        ("evaluate", "grid", ["--num-steps", 2], "leave --num-steps out."),
        ("record", "grid", ["--num-steps", 0], "leave --num-steps out."),
        ("evaluate", "maml", ["--num-steps", -1], "num_steps must be at least 0, not -1."),
    ],
)
def test_wrong_options_end_in_one_sentence(script, runs, files, name, run, arguments, words, tmp_path):
    path = getattr(runs, run)
    before = files(path)
    output = tmp_path / ("x.json" if name == "evaluate" else "x.mp4")
    result = script(name, path, "--num-tasks", 2, "--output", output, *arguments)
    assert result.status == 2
    assert words in " ".join(result.err.split())
    assert files(path) == before and not output.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["metanet-bandit", "--num-episodes", "0"], "num_episodes must be at least 1, not 0."),
        (["metanet-bandit", "--memory", "fast"], "invalid choice"),
        (["metanet-bandit", "--inner-lr", "1"], "The preset metanet-bandit has no --inner-lr"),
        (
            ["rl2-bandit", "--memory", "full"],
            "The preset rl2-bandit has no --memory; the methods that have it: metanet",
        ),
        (["maml-bandit", "--num-episodes", "2"], "The preset maml-bandit has no --num-episodes"),
    ],
)
def test_wrong_fields_of_a_memory_are_said(script, tmp_path, arguments, words):
    result = script("train", *arguments, "--run-dir", tmp_path / "run")
    assert (result.status, result.out) == (2, "")
    assert words in " ".join(result.err.replace("│", " ").split()) and "Traceback" not in result.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("run", ["grid", "bandit"])
def test_record_writes_a_video(script, runs, tmp_path, run):
    from moviepy import VideoFileClip

    output = tmp_path / "x.mp4"
    result = script("record", getattr(runs, run), "--num-tasks", 1, "--output", output)
    assert (result.status, result.err) == (0, "")
    with VideoFileClip(str(output)) as clip:
        steps, fps = {"grid": (40, 4), "bandit": (10, 2)}[run]
        assert clip.fps == pytest.approx(fps)
        assert clip.duration == pytest.approx((steps + 1 + 1.5 * fps) / fps, abs=0.01)


def checkpoint(path: Path) -> dict:
    return torch.load(path / "checkpoint.pt", weights_only=True)


@pytest.mark.parametrize("name", ["metanet-gridworld", "rl2-bandit"])
def test_a_stopped_run_goes_on_to_the_bit(script, tmp_path, monkeypatch, name):
    """Stopped in the middle: the second iteration ends with a signal."""
    arguments = ["train", name, *TINY, *NETWORK, "--env.horizon", 5, "--run-dir"]
    assert script(*arguments, tmp_path / "whole").status == 0
    update, calls = RecurrentPPO.update, []

    def stopping(self, trajectories):
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return update(self, trajectories)

    with monkeypatch.context() as patch:
        patch.setattr(RecurrentPPO, "update", stopping)
        result = script(*arguments, tmp_path / "stopped")
    assert result.status == 128 + signal.SIGTERM
    assert checkpoint(tmp_path / "stopped")["iteration"] == 2
    assert script("train", "--resume", tmp_path / "stopped").status == 0
    whole, stopped = checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "stopped")
    assert whole["iteration"] == stopped["iteration"] == 3
    assert whole["algorithm"]["updates"] == 3
    for key, value in whole["algorithm"]["network"].items():
        assert torch.equal(value, stopped["algorithm"]["network"][key]), key
    assert torch.equal(whole["generator"], stopped["generator"])
