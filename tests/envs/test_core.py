"""The contract of `Env`, over every family; and the schema of tasks."""

import dataclasses
import json
import math
import pickle

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Generator

import envs
from envs.contract import check_reset, check_step, draw_tasks
from envs.core import Env
from envs.point import Point, Task

N, E = 3, 2


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def tensors(struct: envs.Struct) -> list[torch.Tensor]:
    """All tensors of a Struct, also of nested ones."""
    found: list[torch.Tensor] = []

    def keep(tensor):
        found.append(tensor)
        return tensor

    struct.map(keep)
    return found


def same(a: envs.Struct, b: envs.Struct) -> bool:
    return all(torch.equal(x, y) for x, y in zip(tensors(a), tensors(b), strict=True))


def numpy_rows(x: torch.Tensor) -> np.ndarray:
    return x.flatten(0, 1).numpy()


class TestContract:
    """What every family promises."""

    @pytest.fixture
    def env(self, family, preset) -> Env:
        return envs.make(family, preset)

    def test_it_describes_itself(self, env):
        assert isinstance(env.horizon, int) and env.horizon >= 1
        assert isinstance(env.observation_space, spaces.Box) and env.observation_space.dtype == np.float32
        assert isinstance(env.action_space, spaces.Box | spaces.Discrete)
        assert [field.name for field in dataclasses.fields(env.task_type)] == list(env.task_space)
        assert set(envs.SPLITS) >= set(env.splits) >= {"train", "validation", "test"} and all(env.splits.values())

    def test_tasks_of_every_split_fit_the_schema_and_survive_json(self, env):
        for split in env.splits:
            tasks = env.sample_tasks(20, generator(), split)
            assert same(tasks, env.sample_tasks(20, generator(), split)), "a generator determines the tasks"
            assert not same(tasks, env.sample_tasks(20, generator(1), split))
            dicts = env.task_to_dicts(tasks)
            assert len(dicts) == 20
            for through in (json.loads(json.dumps(dicts)), pickle.loads(pickle.dumps(dicts))):
                assert through == dicts and same(env.task_from_dicts(through), tasks)

    def test_the_check_for_authors_finds_nothing(self, env):
        envs.check_env(env)

    def test_an_unknown_split_is_refused(self, env):
        with pytest.raises(envs.InputError, match=r"Unknown split 'tran'\. Did you mean 'train'\?"):
            env.sample_tasks(1, generator(), "tran")

    def test_no_tasks_are_refused(self, env):
        with pytest.raises(envs.InputError, match="at least 1"):
            env.sample_tasks(0, generator())

    def test_an_episode_stays_in_its_spaces_and_shapes(self, env):
        task, draws = env.sample_tasks(N, generator(1)), generator(2)
        state, obs = env.reset(task, E, draws)
        for _ in range(min(env.horizon, 30)):
            assert obs.dtype == torch.float32 and obs.shape == (N, E, *env.observation_space.shape)
            assert all(env.observation_space.contains(row) for row in numpy_rows(obs))
            assert all(x.shape[:2] == (N, E) for x in tensors(state))
            action = env.random_actions(task, state, None, draws)
            assert all(env.action_space.contains(row) for row in numpy_rows(action))
            result = env.step(task, state, action, draws)
            assert result.reward.shape == result.terminated.shape == (N, E)
            assert result.reward.dtype == torch.float32 and result.terminated.dtype == torch.bool
            assert result.reward.isfinite().all()
            state, obs = result.state, result.obs

    def test_a_step_is_a_function_of_its_arguments(self, env):
        task = env.sample_tasks(N, generator(1))
        state, _ = env.reset(task, E, generator(2))
        action = env.random_actions(task, state, None, generator(3))
        copies = [struct.map(torch.clone) for struct in (task, state)]
        first, second = (env.step(task, state, action, generator(4)) for _ in range(2))
        assert same(first, second)
        assert same(task, copies[0]) and same(state, copies[1]), "nothing that goes in is changed"

    def test_states_to_ask_about_are_those_of_the_family(self, env):
        task = env.sample_tasks(N, generator(1))
        state, obs = check_reset(env, env.any_states(task, E, generator(2)), N, E)
        assert all(env.observation_space.contains(row) for row in numpy_rows(obs))
        check_step(
            env, env.step(task, state, env.random_actions(task, state, None, generator(3)), generator()), state, N, E
        )
        assert env.oracle in {None, *env.references()}

    def test_references_give_actions(self, env):
        task = env.sample_tasks(N, generator(1))
        state, _ = env.reset(task, E, generator(2))
        assert "random" in env.references()
        for reference in env.references().values():
            memory = reference.start(task, E, generator(4))
            action = reference.act(task, state, memory, generator(3))
            assert all(env.action_space.contains(row) for row in numpy_rows(action))

    def test_it_renders(self, env):
        task = env.sample_tasks(1, generator(1))
        state, _ = env.reset(task, 1, generator(2))
        later = env.step(task, state, env.random_actions(task, state, None, generator(3)), generator(4)).state
        episode = type(state).stack([state, later])[:, 0, 0]
        for image in (env.render(task[0], episode), env.render(task[0], episode[:1], earlier=[episode])):
            assert image.shape == (480, 480, 3) and image.dtype == np.uint8 and image.std() > 0
        assert env.render(task[0], episode, size=96).shape == (96, 96, 3)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ({}, "The task {} lacks the field 'goal', which is Box(-2.0, 2.0, (2,), float32)."),
        ({"goal": [0, 0], "gaol": 1}, "Unknown task field 'gaol'. Did you mean 'goal'? Known: goal."),
        ({"goal": [0.0]}, "The task field 'goal' must lie in Box(-2.0, 2.0, (2,), float32), and [0.0] does not."),
        ({"goal": [0.0, 2.1]}, "The task field 'goal' must lie in"),
        ({"goal": [0.0, math.nan]}, "The task field 'goal' must lie in"),
        ({"goal": [0.0, math.inf]}, "The task field 'goal' must lie in"),
        ({"goal": [[0.0, 0.0]]}, "The task field 'goal' must lie in"),
        ({"goal": [0.0, [0.0]]}, "The task field 'goal' must lie in"),
        ({"goal": "north"}, "The task field 'goal' must lie in"),
        ({"goal": None}, "The task field 'goal' must lie in"),
        ([0.0, 0.0], "A task must be a dict with the fields goal, not [0.0, 0.0]."),
        (None, "A task must be a dict with the fields goal, not None."),
    ],
)
def test_a_task_that_does_not_fit_is_answered_in_one_sentence(task, said):
    with pytest.raises(envs.InputError) as caught:
        envs.make("point").task_from_dicts([task])
    message = str(caught.value)
    assert message.startswith(said) and message.endswith(".") and "\n" not in message


def test_an_empty_list_of_tasks_is_refused():
    with pytest.raises(envs.InputError, match="at least one task"):
        envs.make("point").task_from_dicts([])


def test_task_dicts_hold_the_shortest_decimals():
    env = envs.make("point")
    tasks = env.task_from_dicts([{"goal": [0.3, -0.2]}, {"goal": np.array([1, 2])}])
    assert env.task_to_dicts(tasks) == [{"goal": [0.3, -0.2]}, {"goal": [1.0, 2.0]}]
    many = Task(torch.rand(10_000, 2, generator=generator()))
    assert torch.equal(env.task_from_dicts(env.task_to_dicts(many)).goal, many.goal)


EVERY_PRESET = [(family, preset) for family in envs.FAMILIES for preset in envs.FAMILIES[family].presets]


@pytest.mark.parametrize(("name", "of"), EVERY_PRESET, ids=map("/".join, EVERY_PRESET))
def test_every_preset_can_be_played(name, of):
    """Also those that differ from another in sizes alone, which the rest of these tests leaves out."""
    env = envs.make(name, of)
    for split in env.splits:
        task = draw_tasks(env, N, generator(), split)
        assert all(entry in env.task_space for entry in env.task_to_dicts(task))
        state, obs = check_reset(env, env.reset(task, E, generator()), N, E)
        for _ in range(2):
            result = env.step(task, state, env.random_actions(task, state, None, generator()), generator())
            check_step(env, result, state, N, E)
            state, obs = result.state, result.obs
        assert all(row in env.observation_space for row in numpy_rows(obs))


@dataclasses.dataclass(frozen=True, eq=False)
class Mixed(envs.Struct):
    level: torch.Tensor  # [N]
    table: torch.Tensor  # [N, 2, 3]


class MixedEnv(Point):
    """Point with a task of other kinds of field."""

    task_type = Mixed  # type: ignore[assignment]

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        self.task_space = spaces.Dict(level=spaces.Discrete(4), table=spaces.Box(0, 1, (2, 3), np.float32))


def test_whole_numbers_and_tables_are_task_fields_too():
    env = MixedEnv()
    dicts = [{"level": 2, "table": [[0.1, 0.2, 0.3], [0.4, 0.5, 1.0]]}, {"level": 0, "table": [[0.0] * 3] * 2}]
    tasks = env.task_from_dicts(dicts)
    assert tasks.level.dtype == torch.int64 and tasks.table.shape == (2, 2, 3)
    assert json.loads(json.dumps(env.task_to_dicts(tasks))) == dicts
    for level in (4, -1, 1.5, "1", None):
        with pytest.raises(envs.InputError, match="'level' must lie in Discrete"):
            env.task_from_dicts([{**dicts[0], "level": level}])


def test_the_first_observation_does_not_tell_the_task(family, preset):
    """A linear decoder from the first observation to any part of the task explains nothing on tasks it has not seen."""
    env = envs.make(family, preset)
    task = env.sample_tasks(400, generator(1))
    _, obs = env.reset(task, 1, generator(2))
    x = torch.cat([obs.flatten(1), torch.ones(400, 1)], 1).double()
    targets = torch.cat([t.reshape(400, -1)[:, :20].double() for t in tensors(task)], 1)
    fit = torch.linalg.pinv(x[:200]) @ targets[:200]
    error = (targets[200:] - x[200:] @ fit).square().mean(0)
    baseline = (targets[200:] - targets[:200].mean(0)).square().mean(0)
    assert torch.all(error >= 0.9 * baseline)


def test_the_decoder_would_find_a_task_that_leaks():
    """The same decoder on an observation that holds the goal."""
    task = envs.make("point").sample_tasks(400, generator(1)).goal.double()
    x = torch.cat([task + 0.01, torch.ones(400, 1)], 1)
    fit = torch.linalg.pinv(x[:200]) @ task[:200]
    assert (task[200:] - x[200:] @ fit).square().mean() < 1e-12
