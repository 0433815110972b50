"""Policies from and to Stable-Baselines3.

model = policy_to_sb3(policy, params, make_sb3("point", 8, tasks=[task] * 8))  # a start, for PPO to go on with
policy = from_sb3(model)                                                       # a model's policy, for our inner loops
"""

from __future__ import annotations

import math
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn

from envs.core import Env
from envs.errors import require
from envs.kinds import ObservationSpace, is_categorical, is_image
from metarl.algorithms.sb3_file import ACTIVATIONS as SB3_ACTIVATIONS
from metarl.algorithms.sb3_file import ModelPolicy, check_architecture, check_raw, line, model_policy
from metarl.policies.encoders import encoder_of
from metarl.policies.mlp import Head, MLPConfig, MLPPolicy

try:
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import CallbackList
    from stable_baselines3.common.logger import Logger
    from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
    from stable_baselines3.common.policies import ActorCriticPolicy
    from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, MlpExtractor
    from stable_baselines3.common.vec_env import VecEnv
except ImportError as error:
    raise ImportError("Stable-Baselines3 is missing here; install metarl-toolkit[sb3].") from error

ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU}


class EncodedFeatures(BaseFeaturesExtractor):
    """The encoder that all methods share: of categories, flat images, or images whose channels SB3 has put first."""

    def __init__(self, observation_space: spaces.Space, observed: ObservationSpace) -> None:
        encoder: Any = encoder_of(observed)
        super().__init__(observation_space, encoder.num_features)
        self.encoder, self.shape = encoder, observed.shape

    def forward(self, obs: Tensor) -> Tensor:
        if obs.dim() == 4 and obs.shape[1:] != self.shape:
            obs = obs.permute(0, 2, 3, 1)
        return self.encoder(obs.flatten(1))


def make_ppo(env: Any, policy: MLPConfig, observed: spaces.Space | None = None, **options: Any) -> PPO:
    """SB3's PPO on `env` with fresh networks for policy and value, both of these hidden layers.

    Both begin with an encoder where observations, of the space `observed` or that of `env`, are images or categories.
    """
    architecture: dict[str, Any] = {
        "net_arch": list(policy.hidden_sizes),
        "activation_fn": ACTIVATIONS[policy.activation],
        "log_std_init": math.log(policy.init_std),
    }
    observed = observed or env.observation_space
    if is_image(observed) or is_categorical(observed):
        extractor = {"features_extractor_class": EncodedFeatures, "features_extractor_kwargs": {"observed": observed}}
        architecture |= extractor
        architecture |= {"normalize_images": False}  # the encoder scales them
    return PPO("MlpPolicy", env, policy_kwargs=architecture, **options)


def training_lane(env: Env) -> VecEnv:
    """An SB3 environment of one lane on tasks of the split train."""
    from envs.adapters.sb3 import TaskVecEnv

    return TaskVecEnv(env, 1)


def silence(model: PPO) -> None:
    """Let a model log nowhere: by default SB3 makes a folder for each."""
    model.set_logger(Logger(None, []))


def collect_round(model: PPO) -> None:
    """Fill the model's rollout buffer, from the starts of fresh episodes on. `model.train()` learns from it."""
    silence(model)
    model.learn(0)  # resets the environments and prepares what `collect_rollouts` needs
    callback = CallbackList([])
    callback.init_callback(model)
    assert model.env is not None
    model.collect_rollouts(model.env, callback, model.rollout_buffer, model.n_steps)


def policy_to_sb3(policy: MLPPolicy, params: Tensor, env: Any, **options: Any) -> PPO:
    """SB3's PPO on `env`, initialized with a policy's parameters [P], such as those after some steps on a task.

    It has the same outputs for the same observation; the value network is fresh.

    Args:
        **options: of `PPO`.

    Raises:
        InputError: for an environment of other spaces.
    """
    require(
        params.shape == (policy.num_parameters,),
        f"One set of {policy.num_parameters} parameters is needed here, not {tuple(params.shape)}.",
    )
    head, size = Head(env.action_space), math.prod(env.observation_space.shape)
    fits = (size, head.num_outputs, head.num_free) == (policy.sizes[0], policy.head.num_outputs, policy.head.num_free)
    require(
        fits,
        f"The policy reads {policy.sizes[0]} numbers and has {policy.head.num_outputs} outputs, which does "
        f"not fit an environment with {size} numbers and the actions {line(env.action_space)}.",
    )
    model = make_ppo(env, policy.config, **options)
    layers, free = policy.unflatten(params.detach().unsqueeze(0))
    with torch.no_grad():
        for linear, layer in zip(_linears(model.policy), layers, strict=True):
            linear.weight.copy_(layer[0, :, :-1])
            linear.bias.copy_(layer[0, :, -1])
        if policy.head.num_free:
            model.policy.log_std.copy_(free[0])
    return model


def from_sb3(model: Any) -> ModelPolicy:
    """The policy of an SB3 on-policy model (PPO, A2C) as an `MLPPolicy` that starts with its parameters.

    It can be meta-trained, as in `MAML(config, env, from_sb3(model), generator)`, or adapted by `sgd_adapt`. Policies
    here read raw observations; whether a wrapper changed those of the model cannot be detected.

    Args:
        model: an `OnPolicyAlgorithm`, or its policy.

    Raises:
        InputError: for a model that is not a plain MLP on vectors with tanh or ReLU, or needs normalized observations.
    """
    policy = model.policy if isinstance(model, OnPolicyAlgorithm) else model
    _check_kind(policy)
    if isinstance(model, OnPolicyAlgorithm):
        _check_raw(model)
    activation = SB3_ACTIVATIONS[_path(policy.activation_fn)]
    layers = [(linear.weight, linear.bias) for linear in _linears(policy)]
    log_std = policy.log_std if isinstance(policy.action_space, spaces.Box) else None
    return model_policy(policy.observation_space, policy.action_space, activation, layers, log_std)


def _check_kind(policy: Any) -> None:
    """Raise `InputError` unless `policy` is SB3's plain MLP."""
    name = type(policy).__name__
    require(
        type(policy) is ActorCriticPolicy, f"Only an MlpPolicy of PPO or A2C can be taken over, and this is {name}."
    )
    check_architecture(policy.use_sde, _path(type(policy.pi_features_extractor)), _path(policy.activation_fn))
    networks = type(policy.mlp_extractor)
    require(
        networks is MlpExtractor,
        f"Only SB3's own fully connected layers can be taken over, and these are {networks.__name__}.",
    )


def _path(of: type) -> str:
    return f"{of.__module__}.{of.__qualname__}"


def _check_raw(model: OnPolicyAlgorithm) -> None:
    """Raise `InputError` when the model's observations went through VecNormalize, as far as that can be detected.

    A saved model does not keep the wrapper, but the last observation before it.
    """
    wrapper = model.get_vec_normalize_env()
    normalized = model._last_original_obs is not None if wrapper is None else wrapper.norm_obs
    check_raw(normalized, "may have been" if wrapper is None else "was")  # a saved model does not tell norm_obs


def _linears(policy: ActorCriticPolicy) -> list[nn.Linear]:
    """The layers from observation to action."""
    hidden = [module for module in policy.mlp_extractor.policy_net if isinstance(module, nn.Linear)]
    return [*hidden, policy.action_net]  # type: ignore[list-item]
