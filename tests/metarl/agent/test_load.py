"""What can be loaded, and what is refused without being opened."""

from __future__ import annotations

import pickle

import gymnasium
import pytest
import torch
from agents import saved_run

import metarl
from envs import InputError


def test_a_run_without_checkpoint_and_a_missing_one_are_refused(tmp_path, sentence):
    saved_run(tmp_path / "run", "maml")
    (tmp_path / "run/checkpoint.pt").unlink()
    for path, words in (("run", "checkpoint.pt"), ("nothing", "nothing"), (".", "config.json")):
        with pytest.raises(InputError) as error:
            metarl.load(tmp_path / path)
        assert words in sentence(error)


class Trap:
    """Unpickled, it would leave a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_foreign_file_is_refused_and_not_unpickled(tmp_path, sentence):
    run = saved_run(tmp_path / "run", "maml")
    torch.save({"learner": Trap(tmp_path / "sprung")}, tmp_path / "torch.pt")
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    (tmp_path / "text.pt").write_text("hello")
    metarl.load(run.path).begin().save(tmp_path / "cut.pt")
    whole = (tmp_path / "cut.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    for name in ("torch.pt", "pickle.pt", "text.pt", "cut.pt", "run/checkpoint.pt"):
        with pytest.raises(InputError) as error:
            metarl.load(tmp_path / name)
        assert name in sentence(error)
    assert not (tmp_path / "sprung").exists()


def test_parts_of_another_policy_are_refused(tmp_path, sentence):
    metarl.load(saved_run(tmp_path / "run", "rl2").path).begin().save(tmp_path / "learner.pt")
    content = torch.load(tmp_path / "learner.pt", weights_only=True)
    for change in ({"learner": {}}, {"learner": {**content["learner"], "policy": {}}}, {"algorithm": {}}):
        torch.save({**content, **change}, tmp_path / "changed.pt")
        with pytest.raises(InputError) as error:
            metarl.load(tmp_path / "changed.pt")
        assert "changed.pt" in sentence(error)


def test_an_environment_with_other_spaces_is_refused(tmp_path, sentence):
    agent = metarl.load(saved_run(tmp_path, "maml", "point").path)
    agent.check_env(gymnasium.make("metarl/Point-v0"))
    for env in (gymnasium.make("CartPole-v1"), gymnasium.make_vec("metarl/BernoulliBandit-v0", num_envs=2)):
        with pytest.raises(InputError) as error:
            agent.check_env(env)
        assert "spaces" in sentence(error)
