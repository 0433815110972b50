"""A learner: one policy on one task, which acts and adapts there. numpy in and out."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Generator, Tensor

from envs.core import Env
from envs.errors import require
from envs.kinds import ObservationSpace, action_dtype, is_categorical, is_image
from metarl.agent.experience import Experience
from metarl.algorithms.sb3_file import check_spaces
from metarl.backend.files import write_atomically
from metarl.learning.rollout import small_tensors_on_one_thread
from metarl.policies.mlp import StepInput
from metarl.training import checkpoint
from metarl.training.run import Run


class Learner:
    """Made by `Agent.begin`, which explains the arguments. All lanes play the same task, each its own episodes.

    A policy with a memory writes as it observes, and each lane is a trial of its own. A gradient method gathers
    episodes and takes a step when each lane has finished `episodes_per_step / num_envs`, which comes with the last
    `observe` of these episodes; after `num_steps` steps it acts on as it is.
    """

    def __init__(
        self,
        run: Run,
        num_envs: int = 1,
        seed: int = 0,
        episodes_per_step: int | None = None,
        num_steps: int | None = None,
    ) -> None:
        self.run, self.num_envs = run, num_envs
        self.env: Env = run.algorithm.seen(run.env)
        self.generator = Generator(run.device).manual_seed(seed)
        steps = run.algorithm.stages(num_steps).num_steps
        self.policy = run.algorithm.task_policy(run.env, num_envs, steps, self.generator)
        if episodes_per_step is None:
            episodes_per_step = num_envs * math.ceil(run.config.num_envs / num_envs)
        else:
            self._check_gradient_steps(episodes_per_step)
        self.experience = Experience(num_envs, episodes_per_step // num_envs)
        self.prev_action, self.prev_reward = self._blank_action(), torch.zeros(num_envs, device=run.device)
        self.first = torch.ones(num_envs, dtype=torch.bool, device=run.device)
        self.now: tuple[Tensor, Tensor] | None = None  # obs and action, between act and observe

    def act(self, obs: Any, deterministic: bool = False) -> np.ndarray:
        """Choose an action.

        Args:
            obs: [O], or an image [H, W, C] of uint8; with a leading axis [num_envs] of a vector environment.
            deterministic: the most probable action instead of one drawn at random.

        Returns:
            [A] float32 within the bounds of the actions, whole numbers [A] of a MultiDiscrete, or a whole number; with
            a leading axis where `obs` has one.

        Raises:
            InputError: for observations of another shape or numbers that are not finite, before the last step was
                observed, and where a trial is longer than a policy with a memory was made for.
        """
        require(self.now is None, "observe() comes after each act(), and the last action was not observed yet.")
        single = np.ndim(obs) == len(self.env.observation_space.shape) and self.num_envs == 1
        seen = self._observations(obs)
        inputs = StepInput(seen, self.prev_action, self.prev_reward, self.first, torch.ones_like(self.prev_reward))
        with torch.no_grad(), small_tensors_on_one_thread(self.num_envs):
            distribution = self.policy.act(inputs.map(lambda x: x.unsqueeze(0)))
            action = distribution.mode() if deterministic else distribution.sample(self.generator)
        self.now = seen, action[0]
        out, space = action[0].cpu().numpy(), self.env.action_space
        if isinstance(space, spaces.Box):
            out = np.clip(out, space.low, space.high)
        return out[0] if single else out

    def observe(
        self, obs: Any, reward: Any, terminated: Any, truncated: Any, info: Mapping[str, Any] | None = None
    ) -> None:
        """Learn what the last action led to.

        Args:
            obs: what the environment returned: [O], or [num_envs, O] of a vector environment that begins the next
                episode in the same step (`AutoresetMode.SAME_STEP`, as those of `envs` do).
            reward: a number, or [num_envs].
            terminated, truncated: booleans, or [num_envs]. Say `truncated=True` where you end an episode yourself.
            info: of the step of a vector environment; PPO of Stable-Baselines3 reads `final_obs` there.

        Raises:
            InputError: before `act`, and for other shapes or numbers that are not finite.
            NonFiniteError: when a gradient step leaves no policy to act by; the learner stays as it was before it.
        """
        require(self.now is not None, "act() comes before observe(), and there is no action yet to observe.")
        assert self.now is not None
        after, rewards = self._observations(obs), self._per_lane("reward", reward, np.float32)
        ends = self._per_lane("terminated", terminated, bool), self._per_lane("truncated", truncated, bool)
        single = np.ndim(obs) == len(self.env.observation_space.shape)
        final = {0: after[0]} if single else self._final_obs(info or {})
        (seen, action), self.now = self.now, None
        if self._adapts:
            self.experience.begin(self.first)
            self.experience.add(seen, action, rewards)
        self.prev_action, self.prev_reward, self.first = action, rewards, ends[0] | ends[1]
        for lane in torch.nonzero(self.first).flatten().tolist():
            self.experience.end(lane, bool(ends[0][lane]), final.get(lane))
        if self._adapts and self.experience.complete:
            self.adapt()

    def adapt(self) -> None:
        """Take the next gradient step now, on the episodes that are finished; nothing for a policy with a memory.

        Raises:
            InputError: when no episode is finished, and after the last step.
            NonFiniteError: as `observe`.
        """
        if self.policy.num_steps is None:
            return
        require(
            self._adapts,
            f"This learner has taken its {self.policy.num_steps} gradient steps; begin(num_steps=...) allows more.",
        )
        episodes = self.experience.episodes
        require(len(episodes) > 0, "A gradient step learns from finished episodes, and there is none yet.")
        with torch.no_grad(), small_tensors_on_one_thread(len(episodes)):
            self.policy.learn(episodes)
        self.experience.clear()

    def save(self, path: Path | str) -> None:
        """Write the policy as it is now, with its memory or parameters, to a file that `metarl.load` opens.

        The file is whole or absent, and holds all it needs: tensors and text, nothing that is unpickled.
        """
        path = Path(path)
        content = {**self.run.state_dict(), "run": json.dumps(self.run.description), "learner": self.state_dict()}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda part: part.write_bytes(checkpoint.pack(content)))

    def export(self, path: Path | str, lane: int = 0) -> None:
        """Write the policy as it is now as an ONNX graph of one step; docs/export.md says how to run it.

        Inputs are `obs` [1, O]; `prev_action` [1, A] or [1], `prev_reward` [1] and `first` [1] bool, about the step
        before; `mask` [1], 0 in the padding of an episode that ended early; and `memory_0`, .... All but the first may
        be left out where the policy goes on from here. Outputs are the most probable `action`, within the bounds of the
        actions, `log_probs` [1, A] or `mean` and `log_std` [1, A], and the memory as `next_memory_0`, ....

        Args:
            lane: whose memory is taken.

        Raises:
            InputError: where the package onnx is missing, and before the last action was observed.
        """
        from metarl.agent.export import export_step

        require(self.now is None, "observe() comes after each act(), and the last action was not observed yet.")
        require(0 <= lane < self.num_envs, f"lane must be one of the {self.num_envs} from 0 on, not {lane}.")
        previous = self.prev_action, self.prev_reward, self.first
        export_step(self.run, self.env, self.policy, lane, previous, Path(path))

    def to_sb3(self, env: Any = None, **options: Any) -> Any:
        """The policy as it is now, as the start of a `stable_baselines3.PPO`: equal outputs for equal observations.

        SB3's PPO holds an MLP that reads the observation alone: that of the MAML family, of Reptile and of sb3-ppo,
        whose value network comes along. The value network of the others is fresh.

        Args:
            env: what PPO will learn on, such as a `TaskVecEnv` or any Gymnasium or SB3 environment with observations of
                the same shape and the same actions; by default the family's, on tasks of the split train. A policy that
                is told the task wants `TaskVecEnv(envs.informed(...), ...)`.
            **options: of `PPO`, such as `n_steps=100, learning_rate=1e-3`.

        Raises:
            InputError: for a policy with a memory, and for an environment of other spaces.
        """
        if env is None:
            from metarl.algorithms.sb3_convert import training_lane

            env = training_lane(self.env)
        made = hasattr(env, "observation_space") and not isinstance(env, Env)
        require(made, "The environment must be one of Gymnasium or SB3, such as TaskVecEnv(env, num_envs).")
        require("policy_kwargs" not in options, "The policy's size is the run's, so policy_kwargs cannot be given.")
        check_spaces(self.env, env, f"The policy of {self.run.config.env}/{self.run.config.env_preset}")
        return self.policy.to_sb3(env, **options)

    def state_dict(self) -> dict[str, Any]:
        """Everything that acting and observing changed, and what `Agent.begin` was given."""
        return {
            "num_envs": self.num_envs,
            "episodes_per_step": None if self.policy.num_steps is None else self.experience.quota * self.num_envs,
            "num_steps": self.policy.num_steps,
            "policy": self.policy.state_dict(),
            "experience": self.experience.state_dict(),
            "generator": self.generator.get_state(),
            "previous": (self.prev_action, self.prev_reward, self.first),
            "now": self.now,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.policy.load_state_dict(state["policy"])
        self.experience.load_state_dict(state["experience"])
        self.generator.set_state(state["generator"].cpu())
        self.prev_action, self.prev_reward, self.first = state["previous"]
        self.now = state["now"]

    @property
    def _adapts(self) -> bool:
        """Are there gradient steps left?"""
        return self.policy.num_steps is not None and self.policy.steps_taken < self.policy.num_steps

    def _check_gradient_steps(self, episodes_per_step: int) -> None:
        require(
            self.policy.num_steps is not None,
            "A policy with a memory adapts as it observes, so it takes no episodes_per_step; leave it out.",
        )
        require(
            episodes_per_step >= 1 and episodes_per_step % self.num_envs == 0,
            f"episodes_per_step must be a multiple of num_envs, and {episodes_per_step} is not one of {self.num_envs}.",
        )

    def _blank_action(self) -> Tensor:
        space = self.env.action_space
        shape, dtype = space.shape or (), action_dtype(space)
        return torch.zeros(self.num_envs, *shape, dtype=dtype, device=self.run.device)

    def _observations(self, obs: Any) -> Tensor:
        """Checked observations [E, O]; images flattened."""
        space, single = self.env.observation_space, np.ndim(obs) == len(self.env.observation_space.shape)
        array, shape = _observed(space, "obs", obs), space.shape
        found = array.shape
        if single and self.num_envs == 1:
            array = array[None]
        right = f"{shape}" if self.num_envs == 1 else f"{(self.num_envs, *shape)}"
        require(
            array.shape == (self.num_envs, *shape), f"The policy reads observations of the shape {right}, not {found}."
        )
        return torch.as_tensor(array, device=self.run.device).flatten(1)

    def _per_lane(self, name: str, value: Any, dtype: type) -> Tensor:
        """Checked numbers [E]."""
        array = _numbers(name, value, dtype)
        fits = array.shape == (self.num_envs,) or (array.shape == () and self.num_envs == 1)
        require(fits, f"{name} must be one for each of the {self.num_envs} lanes, not of the shape {array.shape}.")
        return torch.as_tensor(array.reshape(self.num_envs), device=self.run.device)

    def _final_obs(self, info: Mapping[str, Any]) -> dict[int, Tensor]:
        """The last observations that a vector environment tells, by lane."""
        found = info.get("final_obs")
        told = [] if found is None else [(lane, obs) for lane, obs in enumerate(found) if obs is not None]
        space = self.env.observation_space
        arrays = {lane: _observed(space, "final_obs", o) for lane, o in told}
        return {lane: torch.as_tensor(array, device=self.run.device).flatten() for lane, array in arrays.items()}


def _observed(space: ObservationSpace, name: str, value: Any) -> np.ndarray:
    """A fresh array of observations, of whatever shape. Raises `InputError`."""
    array = np.array(value)
    if is_categorical(space):
        fits = array.dtype.kind in "iu" and array.shape[-1:] == space.shape and bool((array < space.nvec).all())
        fits = fits and bool((array >= 0).all())
        require(fits, f"{name} must be of categories as in {space}, and these are not.")
        return array.astype(np.int64)
    if not is_image(space):
        return _numbers(name, value, np.float32)
    require(array.dtype == np.uint8, f"{name} must be images of uint8, as the policy's observations are.")
    return array


def _numbers(name: str, value: Any, dtype: type) -> np.ndarray:
    """A fresh array of finite numbers. Raises `InputError`."""
    try:
        with np.errstate(over="ignore"):
            array: np.ndarray = np.asarray(value).astype(dtype)
    except (TypeError, ValueError):  # ragged lists, words
        array = np.array(np.nan)
    require(bool(np.isfinite(array).all()), f"{name} must be finite numbers, and these are not.")
    return array
