"""Policies: networks whose parameters may differ from task to task.

Parameters are one flat vector: `[P]`, or `[N, P]` with a row for each task. Adaptation, conjugate gradients,
Reptile's interpolation and a checkpoint are then plain tensor arithmetic. `policy.bind(params)` gives the policy
as a function of its inputs.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

import torch
from annotated_types import Ge, Le
from gymnasium import spaces
from torch import Generator, Tensor, nn

from envs.errors import InputError, require
from envs.fields import Checked, NonNegativeInt, PositiveFloat
from envs.kinds import ObservationSpace, counts, in_words
from envs.structs import Struct
from metarl.policies.distributions import Categorical, DiagGaussian, Distribution, MultiCategorical


@dataclass(frozen=True, eq=False)
class StepInput(Struct):
    """What a policy sees at a step. A feed-forward policy reads `obs` alone."""

    obs: Tensor  # [N, ..., O]; images flattened, uint8; categories int64
    prev_action: Tensor  # [N, ..., A], or [N, ...] of a Discrete; zeros at the start of a trial, after padding
    prev_reward: Tensor  # [N, ...]
    first: Tensor  # [N, ...] bool: does an episode start here?
    mask: Tensor  # [N, ...] float: 1 while the episode runs, 0 for the padding after its termination


Network = Callable[[StepInput, Any], tuple[Distribution, Any]]
"""A policy with its parameters bound: `(inputs, memory) -> (distribution, memory)`."""


class StepNetwork(Protocol):
    """What acts through a trial of a fixed length, with a memory."""

    horizon: int  # of an episode
    num_steps: int  # of a trial

    def start(self, num_lanes: int) -> Any: ...
    def step(self, inputs: StepInput, memory: Any) -> tuple[Any, Any]: ...
    def distribution(self, outputs: Any) -> Distribution: ...
    def check_length(self, num_steps: int) -> None: ...


class Policy(ABC):
    """Shape of a network and of its parameter vector. Holds no parameters.

    Attributes:
        num_parameters: P.
        tensor_sizes: numbers in each tensor of the network, in the order of the vector; they add up to P.
        parts: where some parameters lie: "head", the output layer and what follows it, "context".
    """

    num_parameters: int
    tensor_sizes: list[int]
    parts: Mapping[str, slice] = {}

    def part(self, name: str) -> slice:
        """Where the parameters of a part lie, "all" for every one. Raises `InputError` for one that is not there."""
        hint = "; set context_size to its size" if name == "context" else ""
        require(name == "all" or name in self.parts, f"This policy has no {name} to adapt{hint}.")
        return self.parts.get(name, slice(None))

    @abstractmethod
    def init(self, generator: Generator) -> Tensor:
        """Fresh parameters [P], float32."""

    @abstractmethod
    def bind(self, params: Tensor) -> Network:
        """The policy with `params` [N, P]: a row for each task. Differentiable in `params`."""


class Head:
    """Turns network outputs and free parameters into an action distribution for an action space.

    Attributes:
        counts: values of each number of a discrete action; empty where actions are continuous.
    """

    def __init__(self, action_space: spaces.Space, init_std: float = 1.0) -> None:
        self.init_std, self.counts = init_std, counts(action_space)
        self.several = isinstance(action_space, spaces.MultiDiscrete)
        if self.counts and len(action_space.shape or ()) <= 1:
            self.num_outputs, self.num_free = sum(self.counts), 0
        elif isinstance(action_space, spaces.Box) and len(action_space.shape) == 1:
            self.num_outputs = self.num_free = action_space.shape[0]
        else:
            right = "a Discrete, MultiDiscrete or one-dimensional Box action space"
            raise InputError(f"A policy needs {right}, not {in_words(action_space)}.")

    def init(self) -> Tensor:
        """The free parameters: log standard deviations, [A] or empty."""
        return torch.full((self.num_free,), math.log(self.init_std))

    def __call__(self, outputs: Tensor, free: Tensor) -> Distribution:
        """outputs [N, ..., A], free [N, num_free]."""
        if self.several:
            return MultiCategorical.from_logits(outputs.split(self.counts, -1))
        if self.counts:
            return Categorical.from_logits(outputs)
        return DiagGaussian(outputs, free.view(len(free), *[1] * (outputs.dim() - 2), -1))


MOST_UNITS = 16_384
"""Most units of a layer: far more than helps, and the weights between two such layers take 1 GB."""
NumUnits = Annotated[int, Ge(1), Le(MOST_UNITS)]
Activation = Literal["tanh", "relu"]
ONE = torch.tensor(1.0)


@dataclass(frozen=True)
class MLPConfig(Checked):
    """A fully connected policy."""

    hidden_sizes: tuple[NumUnits, ...] = (64, 64)
    """Units in each hidden layer."""
    activation: Activation = "tanh"
    """What follows each hidden layer: tanh or relu."""
    init_std: PositiveFloat = 1.0
    """Initial standard deviation of continuous actions, in units of the action space."""
    context_size: NonNegativeInt = 0
    """Numbers of a context vector beside the observation, for inner steps that move it alone (CAVIA)."""


class MLPPolicy(Policy):
    """obs -> hidden layers -> action distribution, for all tasks in one batched matrix product per layer.

    Activations are feature-major, [N, H, B] with samples last, which is faster on the CPU (docs/speed.md).
    """

    def __init__(self, observation_space: ObservationSpace, action_space: spaces.Space, config: MLPConfig) -> None:
        self.config = config
        self.head = Head(action_space, config.init_std)
        self.sizes = [math.prod(observation_space.shape), *config.hidden_sizes, self.head.num_outputs]
        self.shapes = [(o, i + 1) for i, o in zip(self.sizes[:-1], self.sizes[1:], strict=True)]
        free = [self.head.num_free] if self.head.num_free else []
        self.tensor_sizes = [o * i for o, i in self.shapes] + free
        self.num_parameters = sum(self.tensor_sizes)
        self.parts = {"head": slice(sum(self.tensor_sizes[: len(config.hidden_sizes)]), self.num_parameters)}

    def init(self, generator: Generator) -> Tensor:
        """Uniform Glorot weights, zero biases, as in the published MAML code."""
        layers = [torch.zeros(shape, device=generator.device) for shape in self.shapes]
        for layer in layers:
            nn.init.xavier_uniform_(layer[:, :-1], generator=generator)
        return torch.cat([*(layer.flatten() for layer in layers), self.head.init().to(generator.device)])

    def unflatten(self, params: Tensor) -> tuple[list[Tensor], Tensor]:
        """params [N, P] -> views: layers [N, out, in + 1] with the bias in the last column, and free [N, num_free]."""
        *layers, free = params.split([o * i for o, i in self.shapes] + [self.head.num_free], -1)
        return [flat.view(-1, o, i) for flat, (o, i) in zip(layers, self.shapes, strict=True)], free

    def activation(self, x: Tensor, inplace: bool = False) -> Tensor:
        if self.config.activation == "relu":
            return x.relu_() if inplace else x.relu()
        if not x.is_cpu:
            return x.tanh_() if inplace else x.tanh()
        # tanh x = 2 σ(2x) - 1 to 2e-7: PyTorch's tanh takes twice as long as this on the CPU. In place without numbers
        # of Python, each of which would become a tensor first.
        if not inplace:
            return torch.sigmoid(2 * x) * 2 - 1
        x.add_(x).sigmoid_()
        return x.add_(x).sub_(ONE)

    def bind(self, params: Tensor) -> Network:
        layers, free = self.unflatten(params)
        split = [(layer[..., :-1], layer[..., -1:]) for layer in layers]

        def network(inputs: StepInput, memory: Any = None) -> tuple[Distribution, Any]:
            obs = inputs.obs
            x = obs.flatten(1, -2).transpose(1, 2)  # [N, O, B]
            for weight, bias in split[:-1]:
                x = torch.baddbmm(bias, weight, x)
                x = self.activation(x, inplace=not x.requires_grad)
            weight, bias = split[-1]
            outputs = torch.baddbmm(bias, weight, x).transpose(1, 2)  # [N, B, A]
            return self.head(outputs.reshape(*obs.shape[:-1], -1), free), memory

        return network


class ModulePolicy(Policy):
    """Any `torch.nn.Module` from obs [B, O] to outputs [B, A] as a policy, vmapped over tasks.

    Slower than `MLPPolicy`, but with any architecture.
    """

    def __init__(self, module: nn.Module, action_space: spaces.Space, init_std: float = 1.0) -> None:
        self.module, self.head = module, Head(action_space, init_std)
        self.names = [name for name, _ in module.named_parameters()]
        self.shapes = [p.shape for p in module.parameters()]
        self.sizes = [p.numel() for p in module.parameters()]
        self.tensor_sizes = self.sizes + ([self.head.num_free] if self.head.num_free else [])
        self.num_parameters = sum(self.tensor_sizes)

    def init(self, generator: Generator) -> Tensor:
        """The module's current values, drawn by its constructor; the generator is not used."""
        values = torch.nn.utils.parameters_to_vector(self.module.parameters()).detach()
        return torch.cat([values, self.head.init().to(values.device)]).to(generator.device)

    def bind(self, params: Tensor) -> Network:
        def single(vector: Tensor, obs: Tensor) -> Tensor:
            tensors = zip(self.names, vector.split(self.sizes), self.shapes, strict=True)
            return torch.func.functional_call(self.module, {n: t.view(s) for n, t, s in tensors}, (obs,))

        weights, free = params.split([sum(self.sizes), self.head.num_free], -1)

        def network(inputs: StepInput, memory: Any = None) -> tuple[Distribution, Any]:
            obs = inputs.obs
            outputs = torch.func.vmap(single)(weights, obs.flatten(1, -2))
            return self.head(outputs.reshape(*obs.shape[:-1], -1), free), memory

        return network


def make_policy(observation_space: spaces.Space, action_space: spaces.Space, config: MLPConfig) -> MLPPolicy:
    """The MLP for these spaces. Raises `InputError` unless observations are vectors and actions vectors or discrete."""
    if not isinstance(observation_space, spaces.Box) or len(observation_space.shape) != 1:
        raise InputError(f"A policy needs a one-dimensional Box observation space, not {in_words(observation_space)}.")
    return MLPPolicy(observation_space, action_space, config)
