"""What the faces are given wrongly is answered in one sentence."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from faces import EAST, GO_EAST, NORTH, POINT, running
from gymnasium import spaces

import envs
from envs.adapters.checks import check_action
from envs.adapters.gym import TaskEnv, TaskVectorEnv
from envs.adapters.sb3 import make_sb3


def running_vector(**options) -> TaskVectorEnv:
    env = TaskVectorEnv("point", num_envs=2, **options)
    env.reset(seed=0)
    return env


def after_the_end():
    env = running(horizon=1)
    env.step(GO_EAST)
    env.step(GO_EAST)


WRONG = {
    "preset": (lambda: gymnasium.make(POINT, preset="fin2017"), "Unknown preset of 'point' 'fin2017'. Did you mean"),
    "field": (lambda: gymnasium.make(POINT, horizn=3), "Unknown field of 'point' 'horizn'. Did you mean 'horizon'?"),
    "vector field": (lambda: gymnasium.make_vec(POINT, goal_scal=1), "Unknown field of 'point' 'goal_scal'. Did"),
    "sb3 id": (lambda: make_sb3("pont", 2), "Unknown environment 'pont'. Did you mean 'point'?"),
    "task": (lambda: gymnasium.make(POINT, task={"gaol": [0, 0]}), "Unknown task field 'gaol'. Did you mean 'goal'?"),
    "task value": (lambda: running().set_task({"goal": [0, 9]}), "The task field 'goal' must lie in"),
    "tasks of one": (lambda: gymnasium.make(POINT, tasks=[NORTH]), "A single environment takes task={...}"),
    "task of many": (lambda: gymnasium.make_vec(POINT, task=NORTH), "A vector environment takes tasks=[...]"),
    "count": (
        lambda: gymnasium.make_vec(POINT, num_envs=3, tasks=[NORTH]),
        "There must be one task for each of the 3 lanes, not",
    ),
    "sb3 count": (
        lambda: make_sb3("point", 1, tasks=[NORTH, EAST]),
        "There must be one task for each of the 1 lanes, not",
    ),
    "set count": (lambda: running_vector().set_tasks([]), "There must be one task for each of the 2 lanes, not 0"),
    "tasks": (lambda: gymnasium.make_vec(POINT, tasks=NORTH), "tasks must be a list of dicts, not {'goal'"),
    "lanes": (lambda: gymnasium.make_vec(POINT, num_envs=0), "num_envs must be at least 1, not 0."),
    "render mode": (lambda: TaskEnv("point", render_mode="human"), "render_mode must be None or 'rgb_array', not"),
    "max steps": (lambda: gymnasium.make_vec(POINT, max_episode_steps=0), "horizon must be at least 1, not 0."),
    "seed": (lambda: running().reset(seed=-1), "seed must be a whole number from 0 to 2**62, not -1."),
    "seed type": (lambda: running_vector().reset(seed="1"), "seed must be a whole number from 0 to 2**62, not '1'."),
    "split": (lambda: running().sample_tasks(1, split="tran"), "Unknown split 'tran'. Did you mean 'train'?"),
    "number": (lambda: running().sample_tasks(0), "The number of tasks must be at least 1, not 0."),
    "number type": (lambda: running().sample_tasks(1.5), "The number of tasks must be at least 1, not 1.5."),
    "option": (lambda: running().reset(options={"taks": NORTH}), "Unknown reset option 'taks'. Did you mean 'task'?"),
    "vector option": (lambda: running_vector().reset(options={"task": NORTH}), "Unknown reset option 'task'. Did you"),
    "options": (
        lambda: running().reset(options={"task": NORTH, "resample_task": True}),
        "Give one of the reset options 'task' and 'resample_task', not both.",
    ),
    "resample": (
        lambda: running().reset(options={"resample_task": "yes"}),
        "The reset option 'resample_task' must be True or False, not 'yes'.",
    ),
    "shape": (lambda: running().step([0.0]), "An action must have the shape (2,), not (1,)."),
    "vector shape": (lambda: running_vector().step(GO_EAST), "An action must have the shape (2, 2), not (2,)."),
    "ragged": (lambda: running().step([[0.0], 1.0]), "An action must be numbers of shape (2,), not a list."),
    "word": (lambda: running().step("east"), "An action must be numbers of shape (2,), not a str."),
    "none": (lambda: running().step(None), "An action must be numbers of shape (2,), not a NoneType."),
    "nan": (lambda: running().step([0.0, np.nan]), "An action must be finite numbers, and this one is not."),
    "infinity": (lambda: running().step([0.0, 1e300]), "An action must be finite numbers, and this one is not."),
    "no reset": (lambda: TaskEnv("point").step(GO_EAST), "No episode is running; call reset() before step()."),
    "vector no reset": (
        lambda: TaskVectorEnv("point").step([GO_EAST]),
        "No episode is running; call reset() before step().",
    ),
    "ended": (after_the_end, "No episode is running; call reset() before step()."),
    "render": (lambda: running().render(), "Make the environment with render_mode='rgb_array' to render it."),
    "render early": (lambda: TaskEnv("point", render_mode="rgb_array").render(), "There is nothing to render yet;"),
    "sb3 action": (lambda: make_sb3("point", 1).step(np.zeros(2)), "An action must have the shape (1, 2), not (2,)."),
}


@pytest.mark.parametrize(("call", "said"), WRONG.values(), ids=WRONG)
def test_a_wrong_input_is_answered_in_one_sentence(call, said):
    with pytest.raises(envs.InputError) as caught:
        call()
    message = str(caught.value)
    assert message.startswith(said) and message.endswith(".") and "\n" not in message


@pytest.mark.parametrize("action", [2, np.int32(2), np.array(2)])
def test_a_discrete_action_is_a_whole_number(action):
    checked = check_action(spaces.Discrete(3), action)
    assert checked.dtype == np.int64 and checked.shape == () and checked == 2
    for wrong, said in {
        3: "from 0 to 2",
        -1: "from 0 to 2",
        1.0: "from 0 to 2",
        (1,): r"the shape \(\), not \(1,\)",
    }.items():
        with pytest.raises(envs.InputError, match=said):
            check_action(spaces.Discrete(3), wrong)
    assert check_action(spaces.Discrete(3), [0, 2], 2).tolist() == [0, 2]


def test_box_actions_beyond_the_bounds_are_clipped():
    env = running(task=NORTH)
    assert env.step(10 * GO_EAST)[0].tolist() == pytest.approx([0.1, 0.0])
