"""Saved models of Stable-Baselines3 are read without running their code."""

from __future__ import annotations

import base64
import json
import pickle
import zipfile
from types import SimpleNamespace

import pytest
import torch
from gymnasium import spaces
from sb3_models import (
    SMALL,
    UNSUPPORTED,
    lanes,
)
from stable_baselines3 import A2C, DQN, PPO, SAC
from stable_baselines3.common.vec_env import VecNormalize
from torch import Generator, nn

from envs import InputError
from metarl.algorithms.sb3_convert import from_sb3
from metarl.algorithms.sb3_file import load_sb3
from metarl.training.loop import train_iteration
from metarl.training.run import Run


@pytest.mark.parametrize("case", sorted(UNSUPPORTED.keys() - {"normalized", "not a model"}))
def test_so_is_its_file(case, tmp_path, sentence):
    UNSUPPORTED[case][0]().save(tmp_path / "model.zip")
    with pytest.raises(InputError) as error:
        load_sb3(tmp_path / "model.zip")
    words = {"images": "has features_extractor.", "a policy of one's own": "of the module", "a dict": "not Dict."}
    assert words.get(case, "") in sentence(error)


def test_normalized_observations_are_seen_in_a_saved_model_too(tmp_path, sentence):
    PPO("MlpPolicy", VecNormalize(lanes()), **SMALL).learn(16).save(tmp_path / "normalized.zip")
    with pytest.raises(InputError) as error:
        load_sb3(tmp_path / "normalized.zip")
    assert "raw; train it without that wrapper." in sentence(error)
    rewards_only = PPO("MlpPolicy", VecNormalize(lanes(), norm_obs=False), **SMALL).learn(16)
    assert from_sb3(rewards_only).num_parameters > 0


# --- A model as the start of a run -------------------------------------------------------------------------------

TINY = ["--meta-batch-size", "2", "--num-envs", "3", "--env.horizon", "5", "--num-iterations", "2"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> SimpleNamespace:
    """A model of PPO and one of A2C, and their files."""
    folder = tmp_path_factory.mktemp("models")
    out = SimpleNamespace(folder=folder)
    for name, algorithm, kwargs in (("ppo", PPO, {"net_arch": [8, 6]}), ("a2c", A2C, {"activation_fn": nn.ReLU})):
        model = algorithm("MlpPolicy", lanes(), policy_kwargs=kwargs, n_steps=8, device="cpu", seed=0).learn(32)
        model.save(folder / f"{name}.zip")
        setattr(out, name, model)
    SAC("MlpPolicy", lanes(), buffer_size=10, device="cpu").save(folder / "sac.zip")
    DQN("MlpPolicy", lanes("gridworld"), buffer_size=10, device="cpu").save(folder / "dqn.zip")
    PPO("MlpPolicy", lanes("gridworld", preset="varibad"), **SMALL).save(folder / "grid.zip")
    (folder / "text.zip").write_text("no model")
    return out


@pytest.mark.parametrize(("preset", "name"), [("maml-point", "ppo"), ("reptile-point", "a2c")])
def test_a_run_starts_from_a_saved_model_and_resumes_without_it(script, saved, tmp_path, preset, name):
    model = tmp_path / "model.zip"
    model.write_bytes((saved.folder / f"{name}.zip").read_bytes())
    start = from_sb3(getattr(saved, name)).init(Generator())
    result = script("train", preset, "--init-sb3", model, "--run-dir", tmp_path / "whole", *TINY)
    assert (result.status, result.err) == (0, "")
    none = [*TINY[:-1], "0"]
    assert script("train", preset, "--init-sb3", model, "--run-dir", tmp_path / "run", *none).status == 0
    model.unlink()
    run = Run.open(tmp_path / "run")
    assert torch.equal(run.algorithm.params, start)
    assert run.config.policy.hidden_sizes == ((8, 6) if name == "ppo" else (64, 64))
    assert run.config.policy.activation == ("tanh" if name == "ppo" else "relu")
    assert run.config.init_sb3 == str(model)
    result = script("train", "--resume", tmp_path / "run", "--num-iterations", 2)
    assert (result.status, result.err) == (0, "")
    params = [Run.open(tmp_path / name).algorithm.params for name in ("whole", "run")]
    assert torch.equal(*params) and not torch.equal(params[0], start)


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def rewritten(source, target, change):
    """A copy of a zip with `change(name, content)` in place of each entry's content."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return target


def test_code_in_a_saved_model_does_not_run(script, saved, tmp_path):
    sprung = tmp_path / "sprung"
    trap = pickle.dumps(Trap(sprung))
    pickle.loads(trap).close()
    sprung.unlink()  # it works

    def set_traps(name, content):
        if name == "data":
            data = json.loads(content)
            for entry in data.values():
                if isinstance(entry, dict) and ":serialized:" in entry:
                    entry[":serialized:"] = base64.b64encode(trap).decode()
            data["clip_range"] = {":type:": "<class 'function'>", ":serialized:": base64.b64encode(trap).decode()}
            return json.dumps(data)
        return trap if name.endswith(".pth") and name != "policy.pth" else content

    evil = rewritten(saved.folder / "a2c.zip", tmp_path / "evil.zip", set_traps)
    result = script("train", "maml-point", "--init-sb3", evil, "--run-dir", tmp_path / "run", *TINY)
    assert (result.status, result.err) == (0, "")
    assert torch.equal(load_sb3(evil).start, from_sb3(saved.a2c).start)
    assert not sprung.exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda name, content, trap: trap if name == "policy.pth" else content,
        lambda name, content, trap: content[: len(content) // 2] if name == "policy.pth" else content,
        lambda name, content, trap: content[: len(content) // 2] if name == "data" else content,
        lambda name, content, trap: b"[" * 100_000 if name == "data" else content,
        lambda name, content, trap: b"{}" if name == "data" else content,
        lambda name, content, trap: content.replace(b'"_shape": [', b'"_shape": [1, ') if name == "data" else content,
    ],
    ids=["a trap", "cut tensors", "cut text", "nested text", "no fields", "another shape"],
)
def test_a_damaged_or_evil_model_is_refused(saved, tmp_path, sentence, change):
    trap = pickle.dumps(Trap(tmp_path / "sprung"))
    bad = rewritten(saved.folder / "ppo.zip", tmp_path / "bad.zip", lambda name, content: change(name, content, trap))
    with pytest.raises(InputError) as error:
        load_sb3(bad)
    sentence(error)
    assert not (tmp_path / "sprung").exists()


def test_a_file_and_the_model_in_it_are_one_policy(saved):
    for name in ("ppo", "a2c"):
        read, model = load_sb3(saved.folder / f"{name}.zip"), from_sb3(getattr(saved, name))
        assert torch.equal(read.start, model.start) and read.config == model.config
        assert (read.observation_space, read.action_space) == (model.observation_space, model.action_space)
    assert load_sb3(saved.folder / "grid.zip").action_space == spaces.Discrete(5)


def test_a_run_that_lost_its_start_says_so(make_run, saved, sentence):
    run = make_run(init_sb3="model.zip")
    with pytest.raises(InputError) as error:
        Run.open(run.path)
    assert "was stopped before it had taken over model.zip" in sentence(error)


@pytest.mark.parametrize(
    ("preset", "file", "more", "words"),
    [
        ("maml-point", "none.zip", [], "There is no file"),
        ("maml-point", "text.zip", [], "is not a model of an on-policy algorithm that SB3 saved"),
        ("maml-point", "sac.zip", [], "is not a model of an on-policy algorithm that SB3 saved"),
        ("maml-point", "dqn.zip", [], "is not a model of an on-policy algorithm that SB3 saved"),
        ("maml-point", "grid.zip", [], "grid.zip has the actions Discrete(5), and the environment Box("),
        (
            "maml-point",
            "ppo.zip",
            ["--hidden-sizes", 8, 6],
            "leave out the options of a policy, such as --hidden-sizes",
        ),
        ("metanet-point", "ppo.zip", [], "Only a method that adapts by gradient steps can start from a model"),
        ("sb3-ppo-point", "ppo.zip", [], "Only a method that adapts by gradient steps can start from a model"),
    ],
)
def test_a_model_that_cannot_be_the_start_is_refused(script, saved, tmp_path, sentence, preset, file, more, words):
    result = script("train", preset, "--init-sb3", saved.folder / file, *more, "--run-dir", tmp_path / "run")
    assert (result.status, result.out) == (2, "")
    if result.err.startswith("error: "):  # ours, and not the parser's box
        sentence(result.err)
    assert words in " ".join(result.err.replace("│", " ").split()) and "Traceback" not in result.err
    assert not (tmp_path / "run").exists()


def test_the_first_iteration_starts_from_the_model(make_run, saved, tmp_path):
    """Not only in the checkpoint: what is trained is the model's policy."""
    run = make_run(hidden_sizes=(8, 6))
    policy = from_sb3(saved.ppo)
    started = Run(tmp_path / "started", "maml-point", run.config, run.env_config, policy=policy)
    started.create()
    train_iteration(started)
    assert float((started.algorithm.params - policy.init(Generator())).norm()) < 1
    assert float((started.algorithm.params - run.algorithm.params).norm()) > 1
