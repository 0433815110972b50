"""The policy in a file that Stable-Baselines3 saved, read without SB3 and without unpickling anything.

Such a file is a zip. Its `data` is JSON, in which SB3 puts whatever JSON cannot hold as a pickle, with the attributes
beside it as text. Pickles can run arbitrary code, so they are not opened: spaces and layers come from the text,
parameters from `policy.pth`, of which torch reads only tensors.
"""

from __future__ import annotations

import io
import json
import re
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Generator, Tensor

from envs.errors import InputError, require
from metarl.policies.mlp import Activation, Head, MLPConfig, MLPPolicy, make_policy

POLICIES = "stable_baselines3.common.policies"
FLATTEN = "stable_baselines3.common.torch_layers.FlattenExtractor"
ACTIVATIONS: dict[str, Activation] = {
    "torch.nn.modules.activation.Tanh": "tanh",
    "torch.nn.modules.activation.ReLU": "relu",
}
TENSORS = re.compile(r"log_std|(mlp_extractor\.(policy|value)_net\.\d+|action_net|value_net)\.(weight|bias)")


class ModelPolicy(MLPPolicy):
    """An `MLPPolicy` whose fresh parameters are those of a model: `init` returns `start` [P]."""

    def __init__(
        self, observation_space: spaces.Box, action_space: spaces.Space, config: MLPConfig, start: Tensor
    ) -> None:
        super().__init__(observation_space, action_space, config)
        self.observation_space, self.action_space, self.start = observation_space, action_space, start

    def init(self, generator: Generator) -> Tensor:
        """The model's parameters, whatever the generator."""
        return self.start.to(generator.device, copy=True)


def model_policy(
    observation_space: Any,
    action_space: Any,
    activation: Activation,
    layers: Sequence[tuple[Tensor, Tensor]],
    log_std: Tensor | None,
) -> ModelPolicy:
    """A policy that starts with copies of these tensors.

    Args:
        layers: weight [out, in] and bias [out] of each, from observation to action.
        log_std: of continuous actions [A].

    Raises:
        InputError: for spaces that our policies do not have.
        ValueError: for layers that do not lead from one to the other.
    """
    free = torch.zeros(0) if log_std is None else log_std.detach().cpu().flatten()
    init_std = float(free.mean().exp()) if len(free) else 1.0
    config = MLPConfig(tuple(len(bias) for _, bias in layers[:-1]), activation, init_std)
    shapes = make_policy(observation_space, action_space, config).shapes  # which refuses other spaces
    flat = [torch.cat([weight.detach(), bias.detach()[:, None]], 1).cpu() for weight, bias in layers]
    if [tuple(layer.shape) for layer in flat] != shapes or len(free) != Head(action_space).num_free:
        raise ValueError("The layers do not fit the spaces.")
    return ModelPolicy(observation_space, action_space, config, torch.cat([*(x.flatten() for x in flat), free]))


def load_sb3(path: str | Path) -> ModelPolicy:
    """`from_sb3` of a file that `model.save` wrote. No pickle in it is opened, so none of its code can run.

    Raises:
        InputError: when there is no such file, or `from_sb3` does not take the model.
    """
    require(Path(path).is_file(), f"There is no file {path}; name a .zip that an SB3 model wrote with save().")
    try:
        with zipfile.ZipFile(path) as archive, warnings.catch_warnings(action="ignore"):
            data = json.loads(archive.read("data"))
            tensors = torch.load(io.BytesIO(archive.read("policy.pth")), map_location="cpu", weights_only=True)
        kind, options = data["policy_class"]["__module__"], data["policy_kwargs"] or {}
        if kind.startswith("stable_baselines3.") and kind != POLICIES:  # of DQN or SAC, say
            raise ValueError
        require(
            kind == POLICIES,
            f"Only an MlpPolicy of PPO or A2C can be taken over, and {path} holds a policy of the module {kind}.",
        )
        activation = _class_name(options.get("activation_fn", "torch.nn.modules.activation.Tanh"))
        check_architecture(data["use_sde"], _class_name(options.get("features_extractor_class", FLATTEN)), activation)
        check_raw(data["_last_original_obs"] is not None, "may have been")  # norm_obs is not told
        observations, actions = _space(data["observation_space"]), _space(data["action_space"])
        layers, log_std = _layers(tensors)
        return model_policy(observations, actions, ACTIVATIONS[activation], layers, log_std)
    except InputError:
        raise
    except Exception:  # a foreign or damaged file can make the readers of zip, JSON and tensors raise almost anything
        raise InputError(
            f"{path} is not a model of an on-policy algorithm that SB3 saved, such as PPO or A2C."
        ) from None


def check_architecture(use_sde: bool, extractor: str, activation: str) -> None:
    """Raise `InputError` for what an `MLPPolicy` cannot do. The last two are class names with their modules."""
    require(
        not use_sde,
        "A policy with state-dependent exploration (gSDE) has no counterpart here; train it with use_sde=False.",
    )
    require(
        extractor == FLATTEN,
        "Only a policy that reads its observations as they are can be taken over, "
        f"and this one has {extractor.split('.')[-1]}.",
    )
    known = activation in ACTIVATIONS
    require(known, f"Only tanh and ReLU have counterparts here, not {activation.split('.')[-1]}.")


def check_raw(normalized: bool, was: str = "was") -> None:
    """Raise `InputError` for a model whose observations went through VecNormalize."""
    require(
        not normalized,
        f"The model {was} trained on observations that VecNormalize changed, and here they "
        "come raw; train it without that wrapper.",
    )


def _class_name(text: str) -> str:
    return text.removeprefix("<class '").removesuffix("'>")


def _space(fields: dict[str, Any]) -> spaces.Space:
    """A Box or Discrete from its attributes as text. Raises `InputError` for other kinds."""
    kind = _class_name(fields[":type:"])
    if kind == "gymnasium.spaces.discrete.Discrete":
        return spaces.Discrete(int(fields["n"]), start=int(fields["start"]))
    if kind != "gymnasium.spaces.box.Box":
        raise InputError(f"Only vectors in and a Box or Discrete out can be taken over, not {kind.split('.')[-1]}.")
    shape = tuple(map(int, fields["_shape"]))
    low, high = (_bound(fields, name, shape) for name in ("low", "high"))
    return spaces.Box(low, high, shape, np.float32)


def _bound(fields: dict[str, Any], name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A bound as numpy prints it, such as `[-1. -1.]`; of a long one, of which numpy leaves a part out, infinity."""
    words = re.sub(r"[\[\]]", " ", fields[name]).split()
    if "..." in words:
        return np.full(shape, -np.inf if name == "low" else np.inf, np.float32)
    return np.array(words, np.float32).reshape(shape)


def _layers(tensors: dict[str, Tensor]) -> tuple[list[tuple[Tensor, Tensor]], Tensor | None]:
    """Weight and bias of each layer from observation to action, and the free parameters.

    Raises:
        InputError: for other layers than those of SB3's MLP, and for numbers that are not finite.
    """
    for name, tensor in tensors.items():
        known, module = TENSORS.fullmatch(name) is not None, name.split(".")[0]
        require(known, f"Only an MlpPolicy of PPO or A2C can be taken over, and this model has {module}.")
        require(bool(tensor.isfinite().all()), f"The model's {name} holds numbers that are not finite.")
    hidden = sorted(int(name.split(".")[2]) for name in tensors if re.fullmatch(r".*policy_net.*weight", name))
    names = [*(f"mlp_extractor.policy_net.{k}" for k in hidden), "action_net"]
    return [(tensors[f"{name}.weight"], tensors[f"{name}.bias"]) for name in names], tensors.get("log_std")


def check_spaces(learned: Any, env: Any, name: str) -> None:
    """Raise `InputError` unless `env` has observations of the shape and the actions of what was learned on.

    Bounds of observations do not count, since nothing here scales by them.
    """
    there, here = learned.observation_space.shape, env.observation_space.shape
    require(
        isinstance(env.observation_space, spaces.Box) and there == here,
        f"{name} reads observations of the shape {there}, and those of the environment are "
        f"{line(env.observation_space)}; choose one with equal spaces.",
    )
    a, b = learned.action_space, env.action_space
    if isinstance(a, spaces.Box) and isinstance(b, spaces.Box):
        equal = a.shape == b.shape and np.allclose(a.low, b.low) and np.allclose(a.high, b.high)
    else:
        equal = a == b
    require(equal, f"{name} has the actions {line(a)}, and the environment {line(b)}; choose one with equal spaces.")


def line(space: spaces.Space) -> str:
    return " ".join(str(space).split())
