"""Models of Stable-Baselines3: on our environments, on any, and those that have no counterpart here."""

from __future__ import annotations

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecNormalize
from torch import Generator, nn

from envs.adapters.sb3 import make_sb3
from metarl.policies.distributions import DiagGaussian
from metarl.policies.mlp import StepInput

SMALL = {"n_steps": 8, "batch_size": 16, "device": "cpu"}


def lanes(family="point", num_envs=2, **fields):
    fields = {"horizon": 5, **fields} if family == "point" else fields
    return make_sb3(family, num_envs, seed=0, **fields)


def some_obs(env, count=50):
    """[B, O] of the size that episodes meet."""
    return torch.randn(count, *env.observation_space.shape, generator=Generator().manual_seed(0))


def ours(policy, params, obs):
    """Our outputs for obs [B, O]: (mean [B, A], log_std [A]), or log-probabilities [B, A]."""
    none = torch.zeros(0)
    distribution, _ = policy.bind(params.unsqueeze(0))(StepInput(obs[None, :, None], none, none, none, none), None)
    if isinstance(distribution, DiagGaussian):
        return distribution.mean[0, :, 0], distribution.log_std.flatten()
    return (distribution.log_probs[0, :, 0],)


def theirs(model, obs):
    with torch.no_grad():
        distribution = model.policy.get_distribution(obs).distribution
    if isinstance(distribution, torch.distributions.Normal):
        return distribution.mean, distribution.stddev[0].log()
    return (distribution.logits,)


def assert_same(a, b, tolerance=1e-6):
    for x, y in zip(a, b, strict=True):
        torch.testing.assert_close(x, y, rtol=tolerance, atol=tolerance)


# --- What has no counterpart -------------------------------------------------------------------------------------


class Extractor(BaseFeaturesExtractor):
    def __init__(self, observation_space):
        super().__init__(observation_space, 3)
        self.linear = nn.Linear(2, 3)

    def forward(self, obs):
        return self.linear(obs)


class OwnPolicy(ActorCriticPolicy):
    pass


class Anything(gymnasium.Env):
    """Random observations of any space."""

    def __init__(self, observation_space, action_space):
        self.observation_space, self.action_space = observation_space, action_space

    def reset(self, *, seed=None, options=None):
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, True, {}


VECTOR, IMAGE, ARM = spaces.Box(-1, 1, (3,)), spaces.Box(0, 255, (36, 36, 3), np.uint8), spaces.Discrete(2)


UNSUPPORTED = {
    "gSDE": (lambda: PPO("MlpPolicy", lanes(), use_sde=True, **SMALL), "state-dependent exploration (gSDE)"),
    "squashed": (
        lambda: PPO("MlpPolicy", lanes(), use_sde=True, policy_kwargs={"squash_output": True}, **SMALL),
        "state-dependent exploration (gSDE)",
    ),
    "an activation": (lambda: PPO("MlpPolicy", lanes(), policy_kwargs={"activation_fn": nn.ELU}, **SMALL), "not ELU."),
    "an extractor": (
        lambda: PPO("MlpPolicy", lanes(), policy_kwargs={"features_extractor_class": Extractor}, **SMALL),
        "Only a policy that reads its observations as they are can be taken over, and this one has Extractor.",
    ),
    "images": (lambda: PPO("CnnPolicy", Anything(IMAGE, ARM), **SMALL), "and this is ActorCriticCnnPolicy."),
    "a dict": (
        lambda: PPO("MultiInputPolicy", Anything(spaces.Dict(a=VECTOR), ARM), **SMALL),
        "Only an MlpPolicy of PPO or A2C can be taken over, and this is MultiInputActorCriticPolicy.",
    ),
    "a policy of one's own": (lambda: PPO(OwnPolicy, lanes(), **SMALL), "and this is OwnPolicy."),
    "several choices": (
        lambda: PPO("MlpPolicy", Anything(VECTOR, spaces.MultiBinary(2)), **SMALL),
        "A policy needs a Discrete, MultiDiscrete or one-dimensional Box action space, not MultiBinary(2).",
    ),
    "a matrix of actions": (
        lambda: PPO("MlpPolicy", Anything(VECTOR, spaces.Box(-1, 1, (2, 2))), **SMALL),
        "one-dimensional Box action space",
    ),
    "numbered states": (
        lambda: PPO("MlpPolicy", Anything(spaces.Discrete(4), ARM), **SMALL),
        "A policy needs a one-dimensional Box observation space, not Discrete(4).",
    ),
    "a matrix": (lambda: PPO("MlpPolicy", Anything(spaces.Box(-1, 1, (2, 2)), ARM), **SMALL), "one-dimensional Box"),
    "normalized": (lambda: PPO("MlpPolicy", VecNormalize(lanes()), **SMALL), "VecNormalize"),
    "SAC": (lambda: SAC("MlpPolicy", lanes(), buffer_size=10, device="cpu"), "and this is SAC."),
    "DQN": (lambda: DQN("MlpPolicy", lanes("gridworld"), buffer_size=10, device="cpu"), "and this is DQN."),
    "not a model": (lambda: 3, "and this is int."),
}
