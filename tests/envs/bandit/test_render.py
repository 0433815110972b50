"""Pictures of bandits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from bandits import CPU, bandit, generator

from envs.bandit import BERNOULLI_PRESETS, GAUSSIAN_PRESETS, Bandit, State, Task


class TestRender:
    env = bandit(5, 100)
    task = Task(torch.tensor([0.2, 0.9, 0.5, 0.7, 0.1]))

    def episode(self, *arms: int, won: int = 1) -> State:
        """The states of an episode in which every pull pays `won`."""
        pulls = torch.zeros(len(arms) + 1, 5, dtype=torch.int16)
        for t, arm in enumerate(arms):
            pulls[t + 1 :, arm] += 1
        return State(pulls, pulls * won)

    def image(self, episode: State | None = None, task: Task = task, **options) -> np.ndarray:
        return self.env.render(task, self.episode(0, 1) if episode is None else episode, **options)

    def test_shape_and_determinism(self):
        assert self.image().shape == (480, 480, 3) and self.image().dtype == np.uint8
        assert self.image(size=96).shape == (96, 96, 3)
        assert np.array_equal(self.image(), self.image())

    def test_what_changes_shows_in_the_column_of_its_arm(self):
        def columns(a, b, rows=slice(70, 450)):
            return np.nonzero((a != b)[rows].any((0, 2)))[0]

        moved = columns(self.image(), self.image(task=Task(torch.tensor([0.2, 0.9, 0.5, 0.7, 0.6]))))
        assert moved.size and moved.min() > 380, "the true mean of the last arm"
        paid = columns(self.image(self.episode(0, 1, 4)), self.image(self.episode(0, 1, 4, won=0)), slice(84, 340))
        assert paid.size and paid.min() < 130, "the means seen"
        pulled = columns(self.image(self.episode(0, 0, 1)), self.image(self.episode(0, 0, 0, 1)))
        assert pulled.size and pulled.max() < 130, "one more pull of the first arm"

    def test_the_last_pull_and_earlier_episodes_show(self):
        images = [
            self.image(self.episode(0, 1)),
            self.image(self.episode(1, 0)),
            self.image(self.episode(0, 1), earlier=[self.episode(2, 2, 2)]),
        ]
        for i in range(3):
            assert (images[i] != images[i - 1]).any()

    @pytest.mark.parametrize("config", [*BERNOULLI_PRESETS.values(), *GAUSSIAN_PRESETS.values()])
    def test_every_preset_draws_a_whole_episode(self, config):
        env = Bandit(config, CPU)
        task, draws = env.sample_tasks(1, generator(1)), generator(2)
        state, _ = env.reset(task, 1, draws)
        states = [state]
        for _ in range(10):
            states.append(env.step(task, states[-1], env.random_actions(task, state, None, draws), draws).state)
        assert env.render(task[0], State.stack(states)[:, 0, 0], size=320).std() > 0
