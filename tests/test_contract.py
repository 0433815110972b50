"""A family that breaks the contract of Env: one sentence names it, the field, what came and what belongs there."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

import envs
from envs import InputError
from metarl.baselines.ppo import SB3PPOConfig
from metarl.config import TrainConfig
from metarl.maml import MAMLConfig
from metarl.policy import MLPConfig
from metarl.recurrent_ppo import RecurrentPPOConfig
from metarl.rl2 import GRUConfig
from metarl.run import Run
from metarl.train import NonFiniteError, train, train_iteration


@dataclass(frozen=True)
class LineConfig:
    horizon: int = 5


@dataclass(frozen=True, eq=False)
class Task(envs.Struct):
    place: torch.Tensor  # [N]


@dataclass(frozen=True, eq=False)
class State(envs.Struct):
    x: torch.Tensor  # [N, E]


class Line(envs.Env):
    """Walk to a place on a line. Nothing is wrong with it."""

    task_type = Task

    def __init__(self, config, device):
        self.config, self.device, self.horizon = config, device, config.horizon
        self.observation_space = self.action_space = spaces.Box(-1, 1, (1,), np.float32)
        self.task_space = spaces.Dict(place=spaces.Box(-1, 1, (), np.float32))
        self.splits = {"train": "anywhere", "test": "anywhere"}

    def sample_tasks(self, n, generator, split="train"):
        self.check_split(split)
        return Task(2 * torch.rand(n, generator=generator, device=self.device) - 1)

    def reset(self, task, num_envs, generator):
        x = torch.zeros(len(task), num_envs, device=self.device)
        return State(x), x.unsqueeze(-1)

    def step(self, task, state, action, generator):
        x = (state.x + 0.2 * action[..., 0].clamp(-1, 1)).clamp(-1, 1)
        reward = -(x - task.place[:, None]).abs()
        return envs.StepResult(State(x), x.unsqueeze(-1), reward, torch.zeros_like(x, dtype=torch.bool))

    def references(self):
        return {"random": envs.Reference(self.random_actions)}

    def render(self, task, episode, earlier=(), size=480):
        return np.zeros((size, size, 3), np.uint8)


def changed(method, change):
    """A Line whose method returns `change` of what it should."""
    return type(
        "Broken", (Line,), {method: lambda self, *args, **named: change(getattr(Line, method)(self, *args, **named))}
    )


def steps(**changes):
    """A Line whose steps return something else in some fields."""
    return changed("step", lambda r: dataclasses.replace(r, **{k: f(getattr(r, k)) for k, f in changes.items()}))


def has(**attributes):
    """A Line with other attributes."""

    def init(self, config, device):
        Line.__init__(self, config, device)
        vars(self).update(attributes)

    return type("Broken", (Line,), {"__init__": init})


def acts(action):
    """A Line with a reference that takes other actions."""
    return changed("references", lambda r: {**r, "odd": envs.Reference(lambda task, state, m, g: action(state.x))})


REWARD, DONE = "step() must return reward as a tensor float32 [N, E]", "step() must return terminated as a tensor bool"
OBS, FIRST = "step() must return obs as a tensor float32 [N, E, O]", "reset() must return obs as a tensor float32"
FIELD = "must return the task field 'place' as a tensor float32 [N] = "
IN_ROLLOUTS = {
    "a reward for a task": (steps(reward=lambda r: r[:, 0]), REWARD),
    "a reward for a task, with an axis": (steps(reward=lambda r: r[:, :1]), REWARD),
    "one reward for all": (steps(reward=lambda r: r.mean()), REWARD),
    "a number as reward": (steps(reward=lambda r: 1.0), REWARD),
    "rewards in float64": (steps(reward=lambda r: r.double()), REWARD),
    "whole rewards": (steps(reward=lambda r: r.long()), REWARD),
    "rewards on another device": (steps(reward=lambda r: r.to("meta")), REWARD),
    "terminated of a task": (steps(terminated=lambda r: r[:, 0]), DONE),
    "terminated of all": (steps(terminated=lambda r: r.any()), DONE),
    "terminated as numbers": (steps(terminated=lambda r: r.float()), DONE),
    "no terminated": (steps(terminated=lambda r: None), DONE),
    "obs without its axis": (steps(obs=lambda r: r[..., 0]), OBS),
    "obs of more numbers": (steps(obs=lambda r: r.expand(-1, -1, 2)), OBS),
    "obs of one lane": (steps(obs=lambda r: r[:, :1]), OBS),
    "obs in float64": (steps(obs=lambda r: r.double()), OBS),
    "a tensor as state": (steps(state=lambda r: r.x), "step() must return a state of class State"),
    "a state of tasks": (steps(state=lambda r: r[:, 0]), "and its field 'x' is float32 [4] on cpu"),
    "a gym tuple": (
        changed("step", lambda r: (r.obs, r.reward, r.terminated, r.terminated, {})),
        "step() must return an envs.StepResult, not a tuple of 5",
    ),
    "reset without a state": (
        changed("reset", lambda r: r[1]),
        "reset() must return (state, obs), not float32 [4, 2, 1]",
    ),
    "a gym reset": (changed("reset", lambda r: (r[1], {})), "reset() must return as state an envs.Struct"),
    "first obs in float64": (changed("reset", lambda r: (r[0], r[1].double())), FIRST),
    "first obs transposed": (changed("reset", lambda r: (r[0], r[1].mT)), FIRST),
    "too few tasks": (changed("sample_tasks", lambda r: r[:-1]), FIELD + "[4] on cpu, not float32 [3] on cpu"),
    "too many tasks": (changed("sample_tasks", lambda r: Task.cat([r, r])), FIELD),
    "tasks without an axis": (changed("sample_tasks", lambda r: r[0]), FIELD),
    "tasks in float64": (changed("sample_tasks", lambda r: r.map(torch.Tensor.double)), FIELD),
    "tasks as a dict": (
        changed("sample_tasks", vars),
        "must return an object of class Task, not an object of class dict",
    ),
    "metrics as tensors": (
        changed("metrics", lambda r: {"lost": torch.zeros(2)}),
        "a plain number as 'lost', not float32",
    ),
}
IN_DESCRIPTION = {
    "no horizon": (has(horizon=0), "horizon must be at least 1 step, not 0"),
    "half a step": (has(horizon=5.0), "horizon must be a whole number of steps, not 5.0"),
    "a Dict observed": (
        has(observation_space=spaces.Dict()),
        "observation_space must be a gymnasium.spaces.Box, not Dict",
    ),
    "a matrix observed": (has(observation_space=spaces.Box(-1, 1, (1, 1))), "must be a one-dimensional Box of float32"),
    "several choices": (
        has(action_space=spaces.MultiDiscrete([2, 2])),
        "action_space must be a Box or a Discrete, not Multi",
    ),
    "choices from 1 on": (has(action_space=spaces.Discrete(3, start=1)), "action_space must count from 0"),
    "another task space": (
        has(task_space=spaces.Dict(goal=spaces.Discrete(2))),
        "each field of Task, place, and it holds goal",
    ),
    "no test split": (has(splits={"train": "all"}), "splits must describe train and test, not train"),
    "a task class that is none": (type("Broken", (Line,), {"task_type": dict}), "task_type must be an envs.Struct"),
    "no attributes": (
        type("Broken", (Line,), {"__init__": lambda self, *args: None}),
        "task_space must be a gymnasium.spaces.Dict",
    ),
    "no methods": (type("Broken", (envs.Env,), {}), "lacks methods that an envs.Env must have: references"),
    "no Env": (type("Broken", (), {"__init__": Line.__init__}), "must make an envs.Env, not an object of class Broken"),
}
ELSEWHERE = {
    "no references": (changed("references", lambda r: None), "must return a dict that holds the reference 'random'"),
    "functions as references": (
        changed("references", lambda r: {"random": print}),
        "must return an envs.Reference as 'random'",
    ),
    "no action": (acts(lambda x: None), "must return actions as a tensor float32 [N, E, A] = "),
    "actions without an axis": (acts(lambda x: x), "must return actions as a tensor float32 [N, E, A] = "),
    "an image of floats": (
        changed("render", lambda r: r / 255),
        "must return a numpy array uint8 [480, 480, 3], not a numpy",
    ),
    "half an image": (
        changed("render", lambda r: r[::2]),
        "must return a numpy array uint8 [480, 480, 3], not a numpy",
    ),
    "fewer dicts": (
        changed("task_to_dicts", lambda r: r[1:]),
        "task_to_dicts() must return a list with a dict for each of 3",
    ),
    "dicts of other fields": (
        changed("task_to_dicts", lambda r: [{"goal": 0.0}] * 3),
        "dicts with the fields place, not goal",
    ),
    "dicts of tensors": (
        changed("task_to_dicts", lambda r: [{"place": torch.zeros(1)}] * 3),
        "must return what JSON can hold",
    ),
    "a reward that is not finite": (steps(reward=lambda r: r / 0), "must return finite numbers as reward"),
    "tasks of chance": (
        changed("sample_tasks", lambda r: Task(torch.rand(len(r)))),
        "the same tasks from the same generator",
    ),
    "tasks out of their space": (
        changed("sample_tasks", lambda r: Task(r.place + 5)),
        "'place' must lie in Box(-1.0, 1.0",
    ),
}


def small_run(monkeypatch, path, env_class, algorithm=None, policy=None) -> Run:
    monkeypatch.setitem(envs.FAMILIES, "line", envs.Family("line", "metarl/Line-v0", env_class, {"a": LineConfig()}))
    config = TrainConfig(
        env="line", env_preset="a", num_iterations=1, meta_batch_size=4, num_envs=2, policy=policy or MLPConfig((4,)),
        algorithm=algorithm or MAMLConfig(),
    )  # fmt: skip
    return Run(path, "maml-point", config, LineConfig())


METHODS = {
    "maml": (MAMLConfig(), MLPConfig((4,))),
    "rl2": (RecurrentPPOConfig(num_episodes=2), GRUConfig(8)),
    "sb3-ppo": (SB3PPOConfig(), MLPConfig((4,))),
    "sb3-ppo-informed": (SB3PPOConfig(informed=True), MLPConfig((4,))),
}


@pytest.mark.parametrize("method", METHODS)
def test_a_family_without_fault_is_trained(monkeypatch, tmp_path, method):
    run = small_run(monkeypatch, tmp_path, Line, *METHODS[method])
    envs.check_env(run.env)
    assert train_iteration(run)["iteration"] == 1


@pytest.mark.parametrize("fault", IN_ROLLOUTS)
def test_training_stops_at_the_first_step_and_names_what_is_wrong(monkeypatch, tmp_path, sentence, fault):
    env_class, words = IN_ROLLOUTS[fault]
    run = small_run(monkeypatch, tmp_path, env_class)
    with pytest.raises(InputError) as error:
        train_iteration(run)
    assert "Broken." in sentence(error) and words in sentence(error)


@pytest.mark.parametrize("method", ["rl2", "sb3-ppo", "sb3-ppo-informed"])
@pytest.mark.parametrize("fault", ["rewards in float64", "obs of more numbers", "first obs in float64", "a gym tuple"])
def test_so_does_that_of_other_methods(monkeypatch, tmp_path, sentence, fault, method):
    env_class, words = IN_ROLLOUTS[fault]
    run = small_run(monkeypatch, tmp_path, env_class, *METHODS[method])
    with pytest.raises(InputError) as error:
        train_iteration(run)
    assert "Broken." in sentence(error) and words in sentence(error)


@pytest.mark.parametrize("fault", IN_DESCRIPTION)
def test_what_is_described_wrongly_is_not_made(monkeypatch, tmp_path, sentence, fault):
    env_class, words = IN_DESCRIPTION[fault]
    with pytest.raises(InputError) as error:
        small_run(monkeypatch, tmp_path, env_class)
    assert words in sentence(error)
    with pytest.raises(InputError):
        envs.make("line")


@pytest.mark.parametrize("fault", [*IN_ROLLOUTS, *ELSEWHERE])
def test_its_author_can_check_a_family(sentence, fault):
    env_class, words = {**IN_ROLLOUTS, **ELSEWHERE}[fault]
    with pytest.raises(InputError) as error:
        envs.check_env(env_class(LineConfig(), torch.device("cpu")), num_tasks=4 if fault in IN_ROLLOUTS else 3)
    assert words in sentence(error)


def test_the_scripts_say_it_in_a_sentence(monkeypatch, tmp_path, script, sentence):
    """Exit status 2: what a family returns is its author's. Each is trained without its fault."""
    monkeypatch.chdir(tmp_path)
    train_it = ("maml-point", "--env", "line", "--run-dir", "run", "--num-iterations", 1, "--meta-batch-size", 2)
    for fault, arguments in {
        "one reward for all": ("train", *train_it[:4], "other"),
        "no references": ("evaluate", "run", "--num-tasks", 3),
        "actions without an axis": ("evaluate", "run", "--num-tasks", 3),
        "functions as references": ("list_envs", "--family", "line"),
        "too few tasks": ("diagnose", "run"),
        "half an image": ("record", "run", "--num-tasks", 1),
        "dicts of other fields": ("list_envs", "--family", "line", "--sample", 3),
    }.items():
        run = small_run(monkeypatch, tmp_path / "run", Line)
        if not (tmp_path / "run").exists():
            run.create()
            train(run, quiet=True)
        env_class, words = {**IN_ROLLOUTS, **ELSEWHERE}[fault]
        small_run(monkeypatch, tmp_path / "none", env_class)
        result = script(*arguments)
        said = sentence(result.err)
        assert result.status == 2 and words.split(" = ")[0].split("[480")[0].split(", not")[0] in said, fault


def test_adapters_check_their_first_step(monkeypatch):
    for fault in ("rewards in float64", "obs of more numbers", "first obs in float64", "tasks as a dict"):
        env_class, _ = IN_ROLLOUTS[fault]
        family = envs.Family("line", "metarl/Line-v0", env_class, {"a": LineConfig()})
        monkeypatch.setitem(envs.FAMILIES, "line", family)
        env = gymnasium.make(envs.family("point").gym_id).unwrapped  # an adapter, of which only the family changes
        env.__init__("line")
        with pytest.raises(InputError, match=r"Broken\."):
            env.reset(seed=0)
            env.step(env.action_space.sample())


@pytest.mark.parametrize("presets", [{"a": LineConfig}, {"a": {"horizon": 5}}, {"a": LineConfig(), "b": MLPConfig()}])
def test_presets_are_objects_of_one_dataclass(presets, sentence):
    with pytest.raises(InputError) as error:
        envs.register("new-line", Line, presets)
    assert "The presets of the family 'new-line' must be objects of one dataclass" in sentence(error)
    assert "new-line" not in envs.FAMILIES


def test_random_actions_and_sb3_need_bounds(monkeypatch, tmp_path, sentence):
    env_class = has(action_space=spaces.Box(-np.inf, np.inf, (1,), np.float32))
    with pytest.raises(InputError) as error:
        envs.check_env(env_class(LineConfig(), torch.device("cpu")))
    assert "Broken.action_space has no bounds to draw from" in sentence(error)
    with pytest.raises(InputError) as error:
        small_run(monkeypatch, tmp_path, env_class, *METHODS["sb3-ppo"])
    assert "needs bounds of actions, and Broken.action_space is Box(-inf, inf" in sentence(error)
    assert train_iteration(small_run(monkeypatch, tmp_path, env_class))["iteration"] == 1


# --- Numbers that are not finite ---------------------------------------------------------------------------------


def at_third(field, value):
    """A Line that returns `value` in one lane at the third step of each episode."""

    class Broken(Line):
        def reset(self, *args):
            self.steps = 0
            return super().reset(*args)

        def step(self, *args):
            self.steps += 1
            result = super().step(*args)
            if self.steps == 3:
                getattr(result, field)[1, 1:] = value
            return result

    return Broken


@pytest.mark.parametrize("validate", [True, False])  # torch.compile turns it off for the whole process
@pytest.mark.parametrize("method", ["maml", "rl2", "sb3-ppo"])
@pytest.mark.parametrize(("field", "value"), [("reward", math.nan), ("reward", float("inf")), ("obs", math.nan)])
def test_the_environment_is_named_that_brings_a_number_which_is_not_finite(
    monkeypatch, tmp_path, sentence, method, field, value, validate
):
    monkeypatch.setattr(torch.distributions.Distribution, "_validate_args", validate)
    env_class = at_third(field, value)
    if method == "sb3-ppo":  # which has one lane a task
        env_class = steps(**{field: lambda x: torch.full_like(x, value)})
    run = small_run(monkeypatch, tmp_path, env_class, *METHODS[method])
    before = run.algorithm.params.clone()
    with pytest.raises(NonFiniteError) as error, run.undone_on_error():
        train_iteration(run)
    said = sentence(error)
    assert "Broken" in said and field in said and "finite" in said and "step size" not in said
    if method != "sb3-ppo":
        step = 2 if field == "reward" else 3
        assert f"Broken.step() must return finite numbers, and its {field} at step {step} " in said
    assert torch.equal(run.algorithm.params, before)


def test_a_step_size_is_named_where_the_policy_is_at_fault(monkeypatch, tmp_path, sentence):
    """Actions are not finite first, and what the environment makes of them is no fault of its."""
    run = small_run(monkeypatch, tmp_path, Line, MAMLConfig(inner_lr=1e38))
    with pytest.raises(NonFiniteError) as error:
        train_iteration(run)
    assert "a smaller step size" in sentence(error) and "Line" not in sentence(error)


def test_evaluation_and_diagnosis_name_it_too(monkeypatch, tmp_path, script, sentence):
    run = small_run(monkeypatch, tmp_path / "run", Line)
    run.create()
    train(run, quiet=True)
    small_run(monkeypatch, tmp_path / "none", at_third("reward", math.nan))
    for name, *arguments in (("evaluate", run.path, "--num-tasks", 3), ("diagnose", run.path)):
        result = script(name, *arguments)
        assert result.status == 1 and "Broken.step() must return finite numbers" in sentence(result.err), name
