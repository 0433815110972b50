"""linearize: derivatives of objectives of a policy's action distributions at fixed states and parameters.

`AutogradLinearization` works for any policy; `MLPLinearization` writes the same derivatives out for fully connected
networks (Pearlmutter 1994, the R-operator): activations and errors are computed once, and each Hessian product is
one forward and one backward tangent sweep. Tests check that the two agree; docs/speed.md measures the gain.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import singledispatch

import torch
from torch import Tensor

from metarl.backend.products import bmm
from metarl.learning import sweeps
from metarl.policies.distributions import Distribution
from metarl.policies.mlp import MLPPolicy, Policy, StepInput

Objective = Callable[[Distribution], Tensor]
"""A loss as a function of the action distributions at fixed states: `distribution [N, T, E] -> [N]`."""

MOST_TABLES, FEWEST_SAMPLES = 20, 1000
"""Products use tables of derivatives where these are at most so many, and where each task has so many samples."""

Product = Callable[[Tensor], Tensor]
"""A linear map of each task's parameters: `[N, P] -> [N, P]`."""


class Linearization(ABC):
    """A policy at given parameters and inputs.

    Attributes:
        distribution: the action distributions [N, T, E] there; differentiable inside an objective.
    """

    distribution: Distribution

    @abstractmethod
    def gradient(self, objective: Objective) -> Tensor:
        """Gradient of each task's objective at that task's parameters [N, P]."""

    @abstractmethod
    def hessian(self, objective: Objective, many: bool = False) -> tuple[Tensor, Product]:
        """The same gradient, and the product of each task's Hessian with a vector.

        `many` says that so many products follow that tables for them pay.
        """

    @abstractmethod
    def gauss_newton(self, objective: Objective) -> Product:
        """The product of the Hessian with a vector where the objective's gradient with respect to the distribution is
        zero, as for a KL divergence between equal distributions: the Gauss-Newton matrix, here Fisher's."""


class AutogradLinearization(Linearization):
    """Derivatives by automatic differentiation. Tasks are independent, so one backward pass serves them all."""

    @torch.enable_grad()
    def __init__(self, policy: Policy, params: Tensor, inputs: StepInput) -> None:
        self.leaf = params.detach().requires_grad_()
        self.distribution, _ = policy.bind(self.leaf)(inputs, None)

    @torch.enable_grad()
    def gradient(self, objective: Objective) -> Tensor:
        return torch.autograd.grad(objective(self.distribution).sum(), self.leaf, retain_graph=True)[0]

    @torch.enable_grad()
    def hessian(self, objective: Objective, many: bool = False) -> tuple[Tensor, Product]:
        grad = torch.autograd.grad(objective(self.distribution).sum(), self.leaf, create_graph=True)[0]
        return grad.detach(), lambda v: torch.autograd.grad(grad, self.leaf, v, retain_graph=True)[0]

    def gauss_newton(self, objective: Objective) -> Product:
        return self.hessian(objective)[1]


class MLPLinearization(Linearization):
    """Derivatives of an MLP. Activations x[k] are [N, H + 1, B]: features, and a row of ones that carries the bias.

    In hidden layers they lie below H rows for their tangents, so that one product adds up what a change of the inputs
    and one of the weights contribute.
    """

    def __init__(self, policy: MLPPolicy, params: Tensor, inputs: StepInput) -> None:
        self.policy = policy
        obs = inputs.obs
        self.layers, free = policy.unflatten(params.detach())
        self.x = [_with_ones(obs.flatten(1, -2).mT)]
        n, _, samples = self.x[0].shape
        self.x_and_dot = [self.x[0]]
        self.slope: list[Tensor] = []
        for units in (layer.shape[1] for layer in self.layers[:-1]):
            both = obs.new_empty(n, 2 * units + 1, samples, dtype=params.dtype)
            both[:, -1].fill_(1)
            self.x_and_dot.append(both)
            self.x.append(both[:, units:])
            self.slope.append(obs.new_empty(n, units, samples, dtype=params.dtype))
        self.x_dot = [both[:, : s.shape[1]] for both, s in zip(self.x_and_dot[1:], self.slope, strict=True)]
        self.back = [layer[..., :-1] for layer in self.layers[1:]]
        sweeps.activations(self.layers, self.x, self.slope, policy.config.activation)
        # The graph of autograd starts here: it holds the small output layer and the objective alone.
        outputs = torch.bmm(self.layers[-1], self.x[-1]).requires_grad_()
        self.leaves = [leaf for leaf in (outputs, free.detach().requires_grad_()) if leaf.numel()]
        with torch.enable_grad():
            per_step = outputs.mT.reshape(*obs.shape[:-1], -1)
            self.distribution = policy.head(per_step, self.leaves[1] if len(self.leaves) > 1 else free)

    def gradient(self, objective: Objective) -> Tensor:
        with torch.enable_grad():
            head = torch.autograd.grad(objective(self.distribution).sum(), self.leaves, retain_graph=True)
        grads = sweeps.errors(head[0].contiguous(), self.back, self.x, self.slope)
        return self._joined(grads, head[1:])

    @staticmethod
    def _joined(layers: Iterable[Tensor], free: Iterable[Tensor]) -> Tensor:
        """[N, P] of what belongs to each layer and to free parameters."""
        return torch.cat([*(x.flatten(1) for x in layers), *free], -1)

    def _head(self, objective: Objective) -> list[Tensor]:
        """The objective's gradient at outputs and free parameters, itself differentiable."""
        with torch.enable_grad():
            return list(torch.autograd.grad(objective(self.distribution).sum(), self.leaves, create_graph=True))

    def _second(self, head: list[Tensor], outputs_dot: Tensor, free_dot: Tensor) -> tuple[Tensor, list[Tensor]]:
        """How `head` changes with the outputs and the free parameters."""
        direction = [outputs_dot, free_dot][: len(self.leaves)]
        changed, *free = torch.autograd.grad(head, self.leaves, direction, retain_graph=True)
        return changed.contiguous(), free

    def hessian(self, objective: Objective, many: bool = False) -> tuple[Tensor, Product]:
        head = self._head(objective)
        d = head[0].detach().contiguous()
        below, curve = ([torch.empty_like(slope) for slope in self.slope] for _ in range(2))
        if self.policy.config.activation == "relu":
            curve = []
        grads = sweeps.curves(d, self.back, self.x, self.slope, below, curve)
        grad = self._joined(grads, [g.detach() for g in head[1:]])
        above = [*below[1:], d] if below else []
        mixed = self._mixed(above[0]) if many and self._tables_pay() else None
        if mixed is not None:
            above[0] = above[0][:, :0]

        def product(vector: Tensor) -> Tensor:
            tangents, _ = self.policy.unflatten(vector)
            d_dot, free = self._second(head, *self._tangents(vector))
            down = [
                torch.cat([w, t[..., :-1]], 1) if a.shape[1] else w
                for w, t, a in zip(self.back, tangents[1:], above, strict=True)
            ]
            grads = sweeps.errors(d_dot, down, self.x, self.slope, above, self.x_dot, curve)
            if mixed is not None:
                grads[1][..., :-1] += torch.einsum("nikj,nji->nkj", mixed, tangents[0])
                grads[0] = grads[0] + torch.einsum("nikj,nkj->nji", mixed, tangents[1][..., :-1])
            return self._joined(grads, free)

        return grad, product

    def _tangents(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        """How outputs [N, A, B] and free parameters move with the parameters; leaves `x_dot` behind."""
        tangents, free_dot = self.policy.unflatten(vector)
        beside = [torch.cat(pair, -1) for pair in zip(self.back, tangents[1:], strict=True)]
        return sweeps.tangents([tangents[0], *beside], self.x_and_dot, self.slope, self.x_dot), free_dot

    def _tables_pay(self) -> bool:
        _, num_inputs, samples = self.x[0].shape
        return len(self.layers) > 1 and num_inputs <= MOST_TABLES and samples >= FEWEST_SAMPLES

    def _mixed(self, d: Tensor) -> Tensor:
        """Second derivatives [N, O + 1, H2, H1] in the first two layers' weights that pass through one unit of each.

        They are sums over samples of d s x, with d the error at the second layer, s the slope of the first and x an
        input. Products with them replace two that are as wide as the layers for each sample.
        """
        inputs = self.x[0].unbind(1)
        return torch.stack([bmm(d, (self.slope[0] * x.unsqueeze(1)).mT) for x in inputs], 1)

    def gauss_newton(self, objective: Objective) -> Product:
        head = self._head(objective)

        def product(vector: Tensor) -> Tensor:
            d_dot, free = self._second(head, *self._tangents(vector))
            return self._joined(sweeps.errors(d_dot, self.back, self.x, self.slope), free)

        return product


def _with_ones(x: Tensor) -> Tensor:
    return torch.cat([x, torch.ones_like(x[:, :1])], 1)


@singledispatch
def linearize(policy: Policy, params: Tensor, inputs: StepInput) -> Linearization:
    """The policy at `params` [N, P] and `inputs` [N, T, E], ready for derivatives of objectives."""
    return AutogradLinearization(policy, params, inputs)


linearize.register(MLPPolicy, MLPLinearization)
