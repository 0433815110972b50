"""PPO of Stable-Baselines3 on one task, where someone else steps the environment."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Generator

from envs.errors import require
from metarl.algorithms.sb3_learner import SB3Learner, global_streams, minibatch_size
from metarl.algorithms.task_policy import Episode, TaskPolicy
from metarl.backend.errors import NonFiniteError
from metarl.policies.distributions import Categorical, DiagGaussian, Distribution, MultiCategorical
from metarl.policies.mlp import StepInput


class FinetunedPolicy(TaskPolicy):
    """A gradient step is a round of fine-tuning: PPO's passes over the episodes.

    As SB3 does, PPO adds the discounted value of the last observation where a time limit ended an episode.

    Args:
        learner: with the parameters to start from; what it collects itself is not used.
        minibatches: in a pass, but none of fewer than 64 steps.
        generator: SB3's random numbers come from it.
    """

    def __init__(self, learner: SB3Learner, minibatches: int, num_steps: int, generator: Generator) -> None:
        from metarl.algorithms.sb3_convert import silence

        self.learner, self.model, self.minibatches = learner, learner.model, minibatches
        self.num_steps, self.generator, self.module = num_steps, generator, learner.model.policy
        silence(self.model)

    def act(self, inputs: StepInput) -> Distribution:
        policy = self.model.policy
        found: Any = policy.get_distribution(inputs.obs[0]).distribution
        if isinstance(policy.action_space, spaces.MultiDiscrete):
            return MultiCategorical.from_logits([choice.logits.unsqueeze(0) for choice in found])
        if isinstance(policy.action_space, spaces.Discrete):
            return Categorical(found.logits.unsqueeze(0))
        return DiagGaussian(found.mean.unsqueeze(0), policy.log_std.expand_as(found.mean).unsqueeze(0))

    def to_sb3(self, env: Any, **options: Any) -> Any:
        from metarl.algorithms.sb3_convert import make_ppo

        model = make_ppo(env, self.learner.policy, **options)
        model.policy.load_state_dict(self.model.policy.state_dict())
        return model

    def learn(self, episodes: Sequence[Episode]) -> None:
        steps = sum(len(e.reward) for e in episodes)
        batch_size, before = minibatch_size(steps, self.minibatches), self.state_dict()
        self.model.batch_size = batch_size
        self.model.rollout_buffer = self._buffer(episodes, steps)
        with torch.enable_grad(), global_streams(self.generator):
            metrics = self.learner.train()
        if math.isnan(metrics["value_loss"]):
            self.load_state_dict(before)
            raise NonFiniteError("Fine-tuning met parameters that are not finite; a smaller finetune_lr may help.")
        self.steps_taken += 1

    @torch.no_grad()
    def _buffer(self, episodes: Sequence[Episode], steps: int) -> Any:
        """SB3's buffer with the episodes one after another, as it would flatten those of several environments."""
        model, policy = self.model, self.model.policy
        buffer = type(model.rollout_buffer)(
            steps, model.observation_space, model.action_space, model.device, model.gae_lambda, model.gamma
        )
        for e in episodes:
            reward = self.learner.recorder.reward_scale * e.reward.cpu().numpy()
            values, log_probs, _ = policy.evaluate_actions(e.obs, e.action)
            if not e.terminated:
                require(
                    e.final_obs is not None,
                    "PPO needs the last observation of an episode that a time limit ended; give observe() the info of "
                    "the vector environment's step.",
                )
                assert e.final_obs is not None
                reward[-1] += model.gamma * float(policy.predict_values(e.final_obs.unsqueeze(0)))
            for t in range(len(reward)):
                start = np.array([t == 0])
                buffer.add(e.obs[t].cpu().numpy(), e.action[t].cpu().numpy(), reward[t], start, values[t], log_probs[t])
        buffer.compute_returns_and_advantage(last_values=values[-1], dones=np.array([True]))
        return buffer

    def state_dict(self) -> dict[str, Any]:
        return {"parameters": copy.deepcopy(self.model.get_parameters()), "steps_taken": self.steps_taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.set_parameters(copy.deepcopy(state["parameters"]))
        self.steps_taken = int(state["steps_taken"])
