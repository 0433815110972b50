"""linearize: derivatives of objectives of a policy's action distributions at fixed states and parameters.

`AutogradLinearization` works for any policy; `MLPLinearization` writes the same derivatives out for fully connected
networks (Pearlmutter 1994, the R-operator): activations and errors are computed once, and each Hessian product is
one forward and one backward tangent sweep. Tests check that the two agree; docs/speed.md measures the gain.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import singledispatch

import torch
from torch import Tensor

from metarl.policies.distributions import Distribution
from metarl.policies.mlp import MLPPolicy, Policy, StepInput

Objective = Callable[[Distribution], Tensor]
"""A loss as a function of the action distributions at fixed states: `distribution [N, T, E] -> [N]`."""

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
    def hessian(self, objective: Objective, stationary: bool = False) -> tuple[Tensor, Product]:
        """The same gradient, and the product of each task's Hessian with a vector.

        `stationary` asserts that the objective's gradient with respect to the distribution is zero here, as for a KL
        divergence between equal distributions; the Hessian is then the cheaper Gauss-Newton matrix.
        """


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
    def hessian(self, objective: Objective, stationary: bool = False) -> tuple[Tensor, Product]:
        grad = torch.autograd.grad(objective(self.distribution).sum(), self.leaf, create_graph=True)[0]
        return grad.detach(), lambda v: torch.autograd.grad(grad, self.leaf, v, retain_graph=True)[0]


class MLPLinearization(Linearization):
    """Derivatives of an MLP. Activations x[k] are [N, H + 1, B]: features, and a row of ones that carries the bias."""

    def __init__(self, policy: MLPPolicy, params: Tensor, inputs: StepInput) -> None:
        self.policy = policy
        obs = inputs.obs
        self.layers, free = policy.unflatten(params.detach())
        self.x = [_with_ones(obs.flatten(1, -2).mT)]
        self.slope: list[Tensor] = []
        for layer in self.layers[:-1]:
            n, units, _ = layer.shape
            x = obs.new_empty(n, units + 1, self.x[-1].shape[-1])
            x[:, -1].fill_(1)
            y = policy.activation(torch.bmm(layer, self.x[-1], out=x[:, :-1]), inplace=True)
            self.x.append(x)
            self.slope.append(policy.activation_slope(y))
        # The graph of autograd starts here: it holds the small output layer and the objective alone.
        outputs = torch.bmm(self.layers[-1], self.x[-1]).requires_grad_()
        self.leaves = [leaf for leaf in (outputs, free.detach().requires_grad_()) if leaf.numel()]
        with torch.enable_grad():
            per_step = outputs.mT.reshape(*obs.shape[:-1], -1)
            self.distribution = policy.head(per_step, self.leaves[1] if len(self.leaves) > 1 else free)

    def gradient(self, objective: Objective) -> Tensor:
        with torch.enable_grad():
            head = torch.autograd.grad(objective(self.distribution).sum(), self.leaves, retain_graph=True)
        return self._backward(list(head))[0]

    def _backward(self, head: list[Tensor]) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """From the objective's gradient at the outputs: gradient, errors d at pre-activations, e at activations."""
        d, e = [head[0]], list[Tensor]()
        for layer, slope in zip(self.layers[:0:-1], self.slope[::-1], strict=True):
            e.insert(0, layer[..., :-1].mT @ d[0])
            d.insert(0, e[0] * slope)
        grad = [(error @ x.mT).flatten(1) for error, x in zip(d, self.x, strict=True)]
        return torch.cat([*grad, *head[1:]], -1), d, e

    def hessian(self, objective: Objective, stationary: bool = False) -> tuple[Tensor, Product]:
        with torch.enable_grad():
            head = torch.autograd.grad(objective(self.distribution).sum(), self.leaves, create_graph=True)
        grad, d, e = self._backward([g.detach() for g in head])
        curve = (
            []
            if stationary
            else [e * self.policy.activation_curve(x[:, :-1]) for e, x in zip(e, self.x[1:], strict=True)]
        )
        if stationary:
            d.clear()

        def product(vector: Tensor) -> Tensor:
            tangents, free_dot = self.policy.unflatten(vector)
            x_dot: list[Tensor] = []
            for k, tangent in enumerate(tangents):
                z_dot = torch.bmm(tangent, self.x[k])
                if k > 0:
                    z_dot.baddbmm_(self.layers[k][..., :-1], x_dot[-1])
                x_dot.append(z_dot.mul_(self.slope[k]) if k < len(self.slope) else z_dot)
            direction = [x_dot.pop(), free_dot][: len(self.leaves)]
            d_dot, *result = torch.autograd.grad(head, self.leaves, direction, retain_graph=True)
            for k in range(len(tangents) - 1, -1, -1):
                grad_dot = torch.bmm(d_dot, self.x[k].mT)
                if k > 0:
                    if not stationary:
                        grad_dot[..., :-1].baddbmm_(d[k], x_dot[k - 1].mT)
                    e_dot = torch.bmm(self.layers[k][..., :-1].mT, d_dot)
                    if not stationary:
                        e_dot.baddbmm_(tangents[k][..., :-1].mT, d[k])
                    d_dot = e_dot.mul_(self.slope[k - 1])
                    if not stationary:
                        d_dot.addcmul_(curve[k - 1], x_dot[k - 1])
                result.insert(0, grad_dot.flatten(1))
            return torch.cat(result, -1)

        return grad, product


def _with_ones(x: Tensor) -> Tensor:
    return torch.cat([x, torch.ones_like(x[:, :1])], 1)


@singledispatch
def linearize(policy: Policy, params: Tensor, inputs: StepInput) -> Linearization:
    """The policy at `params` [N, P] and `inputs` [N, T, E], ready for derivatives of objectives."""
    return AutogradLinearization(policy, params, inputs)


linearize.register(MLPPolicy, MLPLinearization)
