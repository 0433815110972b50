"""Files of tasks: they come back as they were, and what is wrong with one is said. Tasks in words."""

import dataclasses
import inspect
import json
import os
import pickle
from dataclasses import dataclass

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Generator

import envs
from envs.point import Point, PointConfig
from envs.tasks import describe_parameters, describe_task, load_tasks, meanings, save_tasks


def drawn(env: envs.Env, n: int = 5, split: str = "train", seed: int = 3) -> envs.Struct:
    return env.sample_tasks(n, Generator().manual_seed(seed), split)


def same(a: envs.Struct, b: envs.Struct) -> bool:
    assert type(a) is type(b)
    pairs = zip(vars(a).values(), vars(b).values(), strict=True)
    return all(torch.equal(x, y) and x.dtype == y.dtype for x, y in pairs)


@pytest.fixture
def env() -> envs.Env:
    return envs.make("point")


@pytest.fixture
def path(tmp_path, env):
    return save_tasks(tmp_path / "tasks.json", "point", "finn2017", env, drawn(env), "train", 3)


class TestEveryFamily:
    def test_tasks_come_back_as_they_were(self, family, preset, tmp_path):
        env = envs.make(family, preset)
        for split in env.splits:
            task = drawn(env, 4, split)
            path = save_tasks(tmp_path / f"{split}.json", family, preset, env, task, split, 3)
            assert same(load_tasks(path, envs.make(family, preset)), task)

    def test_a_file_says_where_its_tasks_are_from_and_fixes_them(self, family, preset, tmp_path):
        env = envs.make(family, preset)
        content = json.loads(
            save_tasks(tmp_path / "x.json", family, preset, env, drawn(env, 3), "train", 3).read_text()
        )
        assert list(content) == ["format", "family", "preset", "config", "split", "seed", "tasks"]
        assert (content["family"], content["preset"], content["split"], content["seed"]) == (family, preset, "train", 3)
        assert content["config"] == json.loads(json.dumps(dataclasses.asdict(env.config)))
        assert content["tasks"] == env.task_to_dicts(drawn(env, 3))
        single = gymnasium.make(envs.FAMILIES[family].gym_id, preset=preset, task=content["tasks"][0])
        assert single.unwrapped.task == content["tasks"][0], "as gymnasium.make takes it"

    def test_dicts_also_travel_by_pickle(self, family, preset):
        env = envs.make(family, preset)
        dicts = env.task_to_dicts(drawn(env))
        assert same(env.task_from_dicts(pickle.loads(pickle.dumps(dicts))), drawn(env))

    def test_a_task_is_described_in_one_short_printable_line(self, family, preset):
        env = envs.make(family, preset)
        for row in env.task_to_dicts(drawn(env)):
            text = describe_task(env, row)
            assert text.isprintable() and 0 < len(text) < 160
            assert all(name.replace("_", " ") in text for name in env.task_space)

    def test_every_task_parameter_is_described(self, family, preset):
        env = envs.make(family, preset)
        words = describe_parameters(env)
        assert list(words) == list(env.task_space) and all(words.values())


def test_one_row_a_task_and_nothing_else_is_left(path):
    lines = path.read_text().splitlines()
    assert sum(line.strip().startswith('{"goal"') for line in lines) == 5
    assert os.listdir(path.parent) == [path.name]


def test_the_folder_is_made_and_a_file_replaced(tmp_path, env):
    path = tmp_path / "new" / "folder" / "tasks.json"
    for seed in (1, 2):
        save_tasks(path, "point", None, env, drawn(env, seed=seed))
        assert same(load_tasks(path, env), drawn(env, seed=seed))


def test_an_interrupted_write_leaves_the_old_file(path, env, monkeypatch):
    before = path.read_bytes()

    def interrupted(self, text, **kwargs):
        self.write_bytes(text[:10].encode())
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.write_text", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_tasks(path, "point", None, env, drawn(env, 9))
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]


def test_tasks_may_serve_an_environment_with_another_horizon(path, env):
    assert same(load_tasks(path, envs.make("point", "semicircle", horizon=7)), drawn(env))


class TestWhatCannotBeSaved:
    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"path": "tasks.txt"}, "The name of a file of tasks must end in .json, and 'tasks.txt' does not."),
            ({"env_id": "slider"}, "The tasks cannot be saved: its family is 'slider', and that of the environment"),
            ({"preset": "fin2017"}, "Unknown preset of 'point' 'fin2017'. Did you mean 'finn2017'?"),
            ({"split": "tran"}, "Unknown split 'tran'. Did you mean 'train'?"),
        ],
    )
    def test_it_is_said_in_one_sentence(self, changes, said, env, tmp_path, monkeypatch, sentence):
        monkeypatch.chdir(tmp_path)
        options = {"path": "x.json", "env_id": "point", "preset": "finn2017", "env": env, "task": drawn(env), **changes}
        with pytest.raises(envs.InputError) as caught:
            save_tasks(**options)
        assert sentence(caught).startswith(said)
        assert not os.listdir(tmp_path)

    def test_a_folder_of_that_name(self, env, tmp_path, sentence):
        (tmp_path / "x.json").mkdir()
        with pytest.raises(envs.InputError) as caught:
            save_tasks(tmp_path / "x.json", "point", None, env, drawn(env))
        assert "which is a folder" in sentence(caught)


class TestWhatCannotBeLoaded:
    def refusal(self, path, env, sentence) -> str:
        with pytest.raises(envs.InputError) as caught:
            load_tasks(path, env)
        return sentence(caught)

    @pytest.mark.parametrize("text", [b"", b"{", b"goal: 1", b"\xff\xfe\x00", b"[" * 100_000])
    def test_what_is_not_json(self, text, path, env, sentence):
        path.write_bytes(text)
        assert self.refusal(path, env, sentence) == f"The file {str(path)!r} is not valid JSON."

    @pytest.mark.parametrize("content", [3, {}, {"tasks": []}, {"format": "metarl-tasks-1", "tasks": {}}])
    def test_other_json(self, content, path, env, sentence):
        path.write_text(json.dumps(content))
        assert "is not a list of tasks" in self.refusal(path, env, sentence)

    def test_a_list_of_no_tasks(self, path, env, sentence):
        path.write_text("[]")
        assert "at least one task" in self.refusal(path, env, sentence)

    def test_no_file_and_a_folder(self, tmp_path, env, sentence):
        assert "No such file" in self.refusal(tmp_path / "x.json", env, sentence)
        assert "s a directory" in self.refusal(tmp_path, env, sentence)

    @pytest.mark.parametrize("family", ["slider", None, 3, ["point"]])
    def test_another_family(self, family, path, env, sentence):
        path.write_text(json.dumps({**json.loads(path.read_text()), "family": family}))
        said = f"does not fit: its family is {family!r}, and that of the environment 'point'."
        assert self.refusal(path, env, sentence).endswith(said)

    @pytest.mark.parametrize(
        ("task", "said"),
        [
            ({"goal": [0.0, 9.0]}, "The task field 'goal' must lie in Box(-2.0, 2.0, (2,), float32)"),
            ({"goal": [0.0, float("nan")]}, "The task field 'goal' must lie in"),
            ({"gaol": [0.0, 0.0]}, "Unknown task field 'gaol'. Did you mean 'goal'?"),
            ({}, "The task {} lacks the field 'goal'"),
            (None, "A task must be a dict"),
        ],
    )
    def test_a_task_outside_the_schema_is_named(self, task, said, path, env, sentence):
        content = json.loads(path.read_text())
        content["tasks"][2] = task
        path.write_text(json.dumps(content))
        assert self.refusal(path, env, sentence).startswith(f"Task 3 of {str(path)!r} does not fit: {said}")

    def test_no_tasks(self, path, env, sentence):
        path.write_text(json.dumps({**json.loads(path.read_text()), "tasks": []}))
        assert "A list of tasks must hold at least one task." in self.refusal(path, env, sentence)


# --- In words ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Mixed(envs.Struct):
    """A task of many kinds."""

    goal_velocity: torch.Tensor  # [N] m/s
    arm: torch.Tensor  # [N]
    place: torch.Tensor
    """Row and
    column."""
    walls: torch.Tensor  # [N, 2, 3] int8: 1 where there is one
    mean: torch.Tensor  # [N, 4, 3]


class MixedEnv(Point):
    task_type = Mixed  # type: ignore[assignment]

    def __init__(self) -> None:
        self.task_space = spaces.Dict(
            goal_velocity=spaces.Box(-3, 3, (), np.float32),
            arm=spaces.Discrete(5, start=1),
            place=spaces.MultiDiscrete([4, 5]),
            walls=spaces.MultiBinary((2, 3)),
            mean=spaces.Box(0, 1, (4, 3), np.float32),
        )


MIXED = {
    "arm": 3,
    "goal_velocity": -1.5,
    "place": [0, 4],
    "walls": [[1, 0, 1], [0, 0, 0]],
    "mean": [[0.5, 0.25, 1.0]] * 4,
}


def test_a_task_in_one_line(env):
    assert describe_task(env, {"goal": [0.3123, -0.5]}) == "goal (0.31, −0.50) m"
    assert describe_task(env, {"goal": [1, 0]}) == "goal (1.00, 0.00) m"
    assert describe_task(MixedEnv(), MIXED) == (
        "goal velocity −1.50 m/s, arm 3, place (0, 4), walls [2 × 3] with 2 of 6 set, mean [4 × 3] from 0.25 to 1.00"
    )


def test_parameters_with_their_ranges_and_units(env):
    assert describe_parameters(env) == {"goal": "[2] -2 to 2; m"}
    assert describe_parameters(MixedEnv()) == {
        "goal_velocity": "-3 to 3; m/s",
        "arm": "1 to 5",
        "place": "[2] 0 to [3, 4]; Row and column.",
        "walls": "[2 × 3] 0 or 1; int8: 1 where there is one",
        "mean": "[4 × 3] 0 to 1",
    }


def test_the_source_tells_the_meaning_of_fields_also_of_inherited_ones():
    @dataclass(frozen=True, eq=False)
    class More(Mixed):
        friction: torch.Tensor  # [N] kg/s

    assert meanings(More) == {**meanings(Mixed), "friction": "kg/s"}
    assert meanings(PointConfig)["horizon"] == "Steps in an episode."
    assert meanings(dataclasses.make_dataclass("Bare", ["x"])) == {}


def test_the_source_is_read_once_for_all_tasks(monkeypatch):
    read, getsource = [], inspect.getsource
    monkeypatch.setattr(inspect, "getsource", lambda of: read.append(of) or getsource(of))
    env = envs.make("gridworld")
    rows = env.task_to_dicts(env.sample_tasks(20, Generator().manual_seed(0)))
    assert len({describe_task(env, row) for row in rows}) > 1
    assert len(read) == len(set(read))
