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

from metarl.backend.products import bmm
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
            y = policy.activation(bmm(layer, self.x[-1], out=x[:, :-1]), inplace=True)
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
            e.insert(0, bmm(layer[..., :-1].mT, d[0]))
            d.insert(0, e[0] * slope)
        grad = [bmm(error, x.mT).flatten(1) for error, x in zip(d, self.x, strict=True)]
        return torch.cat([*grad, *head[1:]], -1), d, e

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
        grad, d, e = self._backward([g.detach() for g in head])
        curve = [e * self.policy.activation_curve(x[:, :-1]) for e, x in zip(e, self.x[1:], strict=True)]
        mixed = self._mixed(d[1]) if many and self._tables_pay(1) else None

        def product(vector: Tensor) -> Tensor:
            tangents, free_dot = self.policy.unflatten(vector)
            x_dot: list[Tensor] = []
            for k, tangent in enumerate(tangents):
                slope = self.slope[k] if k < len(self.slope) else None
                if k == 0:
                    x_dot.append(bmm(tangent, self.x[k], times=slope))
                else:
                    x_dot.append(bmm(self.layers[k][..., :-1], x_dot[-1], bmm(tangent, self.x[k]), slope))
            d_dot, result = self._second(head, x_dot.pop(), free_dot)
            for k in range(len(tangents) - 1, -1, -1):
                grad_dot = _outer(d_dot, self.x[k])
                if mixed is not None and k == 1:
                    grad_dot[..., :-1] += torch.einsum("nikj,nji->nkj", mixed, tangents[0])
                elif mixed is not None and k == 0:
                    grad_dot = grad_dot + torch.einsum("nikj,nkj->nji", mixed, tangents[1][..., :-1])
                elif k > 0:
                    grad_dot[..., :-1] += bmm(d[k], x_dot[k - 1].mT)
                if k > 0:
                    e_dot = None if mixed is not None and k == 1 else bmm(tangents[k][..., :-1].mT, d[k])
                    d_dot = bmm(self.layers[k][..., :-1].mT, d_dot, e_dot, self.slope[k - 1])
                    d_dot.addcmul_(curve[k - 1], x_dot[k - 1])
                result.insert(0, grad_dot.flatten(1))
            return torch.cat(result, -1)

        return grad, product

    def _tables_pay(self, tables_per_input: int) -> bool:
        _, num_inputs, samples = self.x[0].shape
        return len(self.layers) > 1 and num_inputs * tables_per_input <= MOST_TABLES and samples >= FEWEST_SAMPLES

    def _mixed(self, d: Tensor) -> Tensor:
        """Second derivatives [N, O + 1, H2, H1] in the first two layers' weights that pass through one unit of each.

        They are sums over samples of d s x, with d the error at the second layer, s the slope of the first and x an
        input. Products with them replace two that are as wide as the layers for each sample.
        """
        inputs = self.x[0].unbind(1)
        return torch.stack([bmm(d, (self.slope[0] * x.unsqueeze(1)).mT) for x in inputs], 1)

    def gauss_newton(self, objective: Objective) -> Product:
        head = self._head(objective)
        num_outputs = self.layers[-1].shape[1]
        jacobian = self._first_layer_jacobian() if self._tables_pay(num_outputs) else None

        start = 0 if jacobian is None else 1  # of the layers that are swept
        x = self.x[0].unsqueeze(2)  # [N, O + 1, 1, B]

        def product(vector: Tensor) -> Tensor:
            tangents, free_dot = self.policy.unflatten(vector)
            x_dot: Tensor | None = None
            for k in range(start, len(tangents)):
                slope = self.slope[k] if k < len(self.slope) else None
                if x_dot is None:
                    x_dot = bmm(tangents[k], self.x[k], times=slope)
                else:
                    x_dot = bmm(self.layers[k][..., :-1], x_dot, bmm(tangents[k], self.x[k]), slope)
            assert x_dot is not None
            if jacobian is not None:
                by_input = torch.bmm(tangents[0].mT, jacobian).unflatten(-1, (num_outputs, -1))
                x_dot += (by_input * x).sum(1)
            d_dot, result = self._second(head, x_dot, free_dot)
            errors = d_dot
            for k in range(len(tangents) - 1, start - 1, -1):
                result.insert(0, _outer(d_dot, self.x[k]).flatten(1))
                if k > start:
                    d_dot = bmm(self.layers[k][..., :-1].mT, d_dot, times=self.slope[k - 1])
            if jacobian is not None:
                result.insert(0, _outer(jacobian, (x * errors.unsqueeze(1)).flatten(2)).flatten(1))
            return torch.cat(result, -1)

        return product

    def _first_layer_jacobian(self) -> Tensor:
        """Derivatives [N, H, A B] of every output by the first layer's pre-activations."""
        d = self.layers[-1][..., :-1].mT.unsqueeze(-1) * self.slope[-1].unsqueeze(2)  # [N, H, A, B]
        for layer, slope in zip(self.layers[-2:0:-1], self.slope[-2::-1], strict=True):
            d = torch.bmm(layer[..., :-1].mT, d.flatten(2)).view(len(d), -1, *d.shape[2:]) * slope.unsqueeze(2)
        return d.flatten(2)


def _outer(d: Tensor, x: Tensor) -> Tensor:
    """Sums over samples of d [N, H, B] times x [N, O, B]: [N, H, O]. The narrower one comes first, which is faster."""
    return bmm(d, x.mT) if x.shape[1] >= d.shape[1] else bmm(x, d.mT).mT


def _with_ones(x: Tensor) -> Tensor:
    return torch.cat([x, torch.ones_like(x[:, :1])], 1)


@singledispatch
def linearize(policy: Policy, params: Tensor, inputs: StepInput) -> Linearization:
    """The policy at `params` [N, P] and `inputs` [N, T, E], ready for derivatives of objectives."""
    return AutogradLinearization(policy, params, inputs)


linearize.register(MLPPolicy, MLPLinearization)
