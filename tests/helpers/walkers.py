"""A Gymnasium environment with a random start, and what such environments do wrong. Imports no torch."""

from __future__ import annotations

import os
import signal
from typing import ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces


class Walk(gymnasium.Env):
    """Walk on a line from a random place. Its speed is the task; it terminates where |x| > 3."""

    metadata: ClassVar[dict] = {"render_modes": ["rgb_array"]}
    observation_space = spaces.Box(-20, 20, (2,), np.float32)
    action_space = spaces.Discrete(3)
    speed = 1.0
    render_mode = None

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.t = self.np_random.uniform(-1, 1), 0
        return self.seen(), {}

    def step(self, action):
        self.t += 1
        self.x += self.speed * (action - 1) + 0.01 * self.np_random.normal()
        return self.seen(), -abs(self.x), abs(self.x) > 3, False, {"t": self.t}

    def seen(self):
        return np.array([self.x, self.t], np.float32)

    def render(self):
        return np.full((20, 40, 3), 10 * self.t, np.uint8)


def apply(env, task):
    env.unwrapped.speed = task["speed"]


class Faulty(Walk):
    """Does something wrong in its second step."""

    def step(self, action):
        if self.t == 1:
            return self.fault()
        return super().step(action)

    def fault(self):
        raise RuntimeError("the motor\nis hot")


def returns(obs=None, reward=0.0, terminated=False, truncated=False):
    """A Walk whose second step returns something else; `obs` is a function of the right one."""

    class Returns(Faulty):
        def fault(self):
            return self.seen() if obs is None else obs(self.seen()), reward, terminated, truncated, {}

    return Returns


class Dies(Faulty):
    def fault(self):
        os.kill(os.getpid(), signal.SIGKILL)


class Exits(Faulty):
    def fault(self):
        os._exit(3)


class Grows(Walk):
    """Its observation space depends on the task."""

    def reset(self, *, seed=None, options=None):
        self.observation_space = spaces.Box(-20, 20, (2 if self.speed < 0 else 3,), np.float32)
        return super().reset(seed=seed)
