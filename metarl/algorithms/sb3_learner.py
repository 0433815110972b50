"""A PPO of Stable-Baselines3 on tasks of a family: rounds of episodes as trajectories, and its updates in between."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Generator, Tensor

from envs.contract import check_step, family_name
from envs.core import Env, StepResult
from envs.errors import require
from envs.flat_images import flat_images
from envs.proxy import Proxy
from envs.structs import Struct
from metarl.backend.errors import NonFiniteError
from metarl.learning.rollout import Trajectory, small_tensors_on_one_thread
from metarl.policies.mlp import MLPConfig

LEAST_MINIBATCH = 64


@contextmanager
def global_streams(generator: Generator) -> Iterator[None]:
    """Within this context torch's and numpy's global random streams, from which SB3 draws, come from `generator`.

    Afterwards they are restored.
    """
    seed, device = draw_seed(generator), generator.device
    before = np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(before)  # noqa: NPY002


def minibatch_size(steps: int, minibatches: int) -> int:
    """Steps of a minibatch where a pass over `steps` has `minibatches`, none of fewer than `LEAST_MINIBATCH` steps.

    Raises `InputError` for a single step, of which PPO cannot learn.
    """
    require(steps > 1, "PPO needs at least two steps to learn from.")
    return min(steps, max(LEAST_MINIBATCH, -(-steps // minibatches)))


def draw_seed(generator: Generator) -> int:
    return int(torch.randint(2**32, (), generator=generator, device=generator.device))


class Recorder(Proxy):
    """Scales rewards, and records the original ones and the states of the current round, which SB3 does not keep."""

    def __init__(self, env: Env, reward_scale: float, keep_states: bool) -> None:
        super().__init__(env)
        self.reward_scale, self.keep_states = reward_scale, keep_states
        self.rewards: list[Tensor] = []  # [L, 1] of each step; L lanes
        self.states: list[Any] = []  # [L, 1, ...] before the first step and after each

    def step(self, task: Struct, state: Any, action: Tensor, generator: Generator) -> StepResult:
        result = self.env.step(task, state, action, generator)
        if not self.rewards:
            check_step(self.env, result, state, *action.shape[:2])
        if self.keep_states:
            self.states += [result.state] if self.rewards else [state, result.state]
        self.rewards.append(result.reward)
        return StepResult(result.state, result.obs, result.reward * self.reward_scale, result.terminated)


class SB3Learner:
    """A PPO of SB3 in `num_envs` lanes on each of N tasks: a round of episodes, `train`, a round of episodes, ..."""

    def __init__(
        self,
        policy: MLPConfig,
        env: Env,
        task: Struct,
        num_envs: int,
        seed: int,
        minibatches: int,
        reward_scale: float = 1.0,
        keep_states: bool = False,
        **options: Any,
    ) -> None:
        """
        Args:
            minibatches: in a pass, but none of fewer than 64 steps.
            reward_scale: PPO learns from rewards multiplied by this; trajectories hold them as they are.
            keep_states: keep the environment's states in trajectories, for a video.
            options: of SB3's PPO.
        """
        from envs.adapters.sb3 import TaskVecEnv
        from metarl.algorithms.sb3_convert import make_ppo

        self.policy, self.shape = policy, (len(task), num_envs)
        lanes = len(task) * num_envs
        self.recorder = Recorder(flat_images(env), reward_scale, keep_states)
        vec_env = TaskVecEnv(self.recorder, lanes, seed=seed)
        self.lanes = vec_env.lanes
        self.lanes.assign(task.map(lambda x: x.repeat_interleave(num_envs, 0)))
        batch = minibatch_size(lanes * env.horizon, minibatches)
        with warnings.catch_warnings(action="ignore"):  # of a smaller last minibatch, and of running on a GPU
            options |= {"device": env.device, "n_steps": env.horizon, "batch_size": batch}
            self.model = make_ppo(vec_env, policy, env.observation_space, **options)

    def collect(self) -> Trajectory:
        """An episode of each lane.

        A lane whose episode terminates early continues with another one until the horizon. PPO learns from it, too; in
        the trajectory it is padding.
        """
        from metarl.algorithms.sb3_convert import collect_round

        self.recorder.rewards, self.recorder.states = [], []
        with small_tensors_on_one_thread(math.prod(self.shape)):
            try:
                collect_round(self.model)
            except ValueError:  # of torch's distributions, or of the adapter that is given their actions
                if bool(self.lanes.obs.isfinite().all()):
                    raise
                where = f"{family_name(self.recorder)}.reset() and step()"
                raise NonFiniteError(f"{where} must return finite numbers as obs, and they did not.") from None
        buffer, device = self.model.rollout_buffer, self.recorder.device

        def sorted_by_task(x: Any) -> Tensor:
            """[T, L, ...] -> [N, T, E, ...]"""
            return torch.as_tensor(x, device=device).unflatten(1, self.shape).transpose(0, 1)

        action = sorted_by_task(buffer.actions)
        if isinstance(self.recorder.action_space, spaces.Discrete):
            action = action.squeeze(-1)
        if isinstance(self.recorder.action_space, spaces.MultiDiscrete):
            action = action.long()
        started = sorted_by_task(buffer.episode_starts).cumsum(1)  # episodes so far, the running one included
        mask = (started == 1).float()
        reward = torch.where(mask > 0, sorted_by_task(torch.stack(self.recorder.rewards).squeeze(-1)), 0.0)
        first = torch.zeros_like(mask, dtype=torch.bool)
        first[:, 0] = True
        states = None
        if self.recorder.states:  # [L, 1, ...] each
            lanes = Struct.stack([state.map(lambda x: x.squeeze(1)) for state in self.recorder.states], 1)
            states = lanes.map(lambda x: x.unflatten(0, self.shape).transpose(1, 2).unsqueeze(1))
        return Trajectory(sorted_by_task(buffer.observations), action, reward, mask, first, states)

    def train(self) -> dict[str, float]:
        """PPO's update on the latest round. Returns metrics, NaN among them when it leaves no policy to act by."""
        try:
            self.model.train()
        except ValueError as error:
            if not str(error).startswith("Expected parameter"):  # of a distribution: torch's word for NaN and infinity
                raise
            return {"value_loss": math.nan}
        if not self.sound:
            return {"value_loss": math.nan}
        logged = {key.removeprefix("train/"): float(x) for key, x in self.model.logger.name_to_value.items()}
        metrics = {"value_loss": logged["value_loss"], "entropy": -logged["entropy_loss"], "kl": logged["approx_kl"]}
        explained = logged["explained_variance"]  # NaN where all returns are equal
        return metrics if math.isnan(explained) else {**metrics, "value_explained": explained}

    @property
    def sound(self) -> bool:
        """Are all parameters and standard deviations of actions finite, and the latter positive?"""
        policy = self.model.policy
        tensors: list[Tensor] = list(policy.parameters())
        if isinstance(policy.action_space, spaces.Box):
            tensors += [policy.log_std.exp(), policy.log_std.exp().log()]
        return all(bool(x.isfinite().all()) for x in tensors)
