"""Random streams of the lanes, seen through a family whose dynamics are noisy."""

import numpy as np
import torch
from torch import Generator

from envs.adapters.lanes import Lanes, stream_seeds
from envs.core import StepResult
from envs.point import Point, PointConfig, State, Task

TASK = {"goal": [0.3, 0.1]}


class Windy(Point):
    """Point with a random start and a random push at each step."""

    def __init__(self) -> None:
        super().__init__(PointConfig(horizon=4), torch.device("cpu"))

    def reset(self, task: Task, num_envs: int, generator: Generator) -> tuple[State, torch.Tensor]:
        position = 0.1 * torch.randn(len(task.goal), num_envs, 2, generator=generator)
        return State(position), position

    def step(self, task: Task, state: State, action: torch.Tensor, generator: Generator) -> StepResult[State]:
        push = 0.01 * torch.randn(state.position.shape, generator=generator)
        return super().step(task, State(state.position + push), action, generator)


def observed(lanes: Lanes, steps: int = 6, **reset) -> np.ndarray:
    """Observations [steps + 1, N, 2] of `steps` steps from a reset, with autoreset."""
    rows = [lanes.reset(**reset)]
    for _ in range(steps):
        obs, _, terminated, truncated = lanes.step(np.zeros((lanes.num_envs, 2), np.float32))
        ended = terminated | truncated
        rows.append(lanes.begin(ended) if ended.any() else obs)
    return np.stack(rows)


def test_noise_is_that_of_the_torch_interface_with_the_dynamics_seed():
    env, generator = Windy(), Generator().manual_seed(stream_seeds(7)[1])
    task = env.task_from_dicts([TASK] * 3)
    state, obs = env.reset(task, 1, generator)
    expected = [obs[:, 0].numpy()]
    for _ in range(3):
        result = env.step(task, state, torch.zeros(3, 1, 2), generator)
        state = result.state
        expected.append(result.obs[:, 0].numpy())
    np.testing.assert_array_equal(observed(Lanes(env, 3, [TASK] * 3), 3, seed=7), expected)


def test_a_seed_repeats_everything_and_other_seeds_do_not():
    lanes = Lanes(Windy(), 2)
    first, tasks = observed(lanes, seed=1), lanes.tasks
    assert not np.array_equal(observed(lanes), first), "a reset without a seed goes on with the streams"
    assert np.array_equal(observed(lanes, seed=1), first) and lanes.tasks == tasks
    assert not np.array_equal(observed(lanes, seed=2), first)
    assert not np.array_equal(observed(Lanes(Windy(), 2)), observed(Lanes(Windy(), 2))), "unseeded: fresh randomness"


def test_noise_is_the_same_whether_a_task_was_given_or_drawn():
    drawn = Lanes(Windy(), 2)
    first = observed(drawn, seed=3)
    given = Lanes(Windy(), 2, drawn.tasks)
    assert np.array_equal(observed(given, seed=3), first)


def test_lanes_and_episodes_have_noise_of_their_own():
    obs = observed(Lanes(Windy(), 3, [TASK] * 3), steps=9, seed=0)
    assert len(np.unique(obs[[0, 4, 8]].reshape(-1, 2), axis=0)) == 9, "3 starts in each of 3 lanes"


def test_tasks_and_noise_do_not_share_random_numbers():
    seeds = [seed for i in range(1000) for seed in stream_seeds(i)]
    assert len({*seeds, *range(1000)}) == 3000, "nor do they share them with sample_tasks(seed=i)"


def test_other_lanes_go_on_undisturbed_when_one_begins_anew():
    lanes = Lanes(Windy(), 3, [TASK] * 3)
    lanes.reset(seed=0)
    before, *_ = lanes.step(np.zeros((3, 2), np.float32))
    after = lanes.begin(np.array([False, True, False]))
    assert (before == after).all(1).tolist() == [True, False, True] and lanes.t.tolist() == [1, 0, 1]
    np.testing.assert_array_equal(lanes.state.position[:, 0], after)
