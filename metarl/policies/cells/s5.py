"""Layers of diagonal state spaces, in parallel over a trial (S5: Smith et al. 2023; in meta-RL: Lu et al. 2023).

dh/dt = Λ h + B u with diagonal, complex Λ, of which a step of length Δ makes h' = a h + b B u with a = exp(ΔΛ) and
b = (a - 1) / Λ (zero-order hold). No nonlinearity lies between steps, so all states of a trial follow from one prefix
scan. Lu et al. reset the state between episodes of different tasks; here a trial is one task and one sequence.

A complex vector of P numbers is a real one [..., 2 P]: real parts, then imaginary ones.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from metarl.backend.products import Linear
from metarl.policies.cells.cell import Cell

STEPS = 1e-3, 1e-1
"""Bounds of Δ at first: a state then remembers from tens to thousands of steps."""


class S5(Cell):
    """A stack of layers; P is half of `size`."""

    def __init__(self, size: int, num_steps: int, num_layers: int = 2) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(size, max(1, size // 2)) for _ in range(num_layers))
        self.norm = nn.LayerNorm(size)

    def start(self, num_lanes: int) -> Tensor:
        """[B, L, 2 P]."""
        blank, size = self.norm.weight, 2 * max(1, len(self.norm.weight) // 2)
        return blank.new_zeros(num_lanes, len(self.layers), size)

    def step(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        states = []
        for layer, state in zip(self.layers, memory.unbind(1), strict=True):
            assert isinstance(layer, Layer)
            a, driven = layer.drive(x)
            states.append(product(a, state) + driven)
            x = layer(x, states[-1])
        return self.norm(x), torch.stack(states, 1)

    def sequence(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            assert isinstance(layer, Layer)
            x = layer(x, scan(*layer.drive(x)))
        return self.norm(x)


class Layer(nn.Module):
    """What reads its state is gated and added to the residual stream."""

    def __init__(self, size: int, num_states: int) -> None:
        super().__init__()
        low, high = map(math.log, STEPS)
        self.log_step = nn.Parameter(low + (high - low) * torch.rand(num_states))
        self.log_decay = nn.Parameter(torch.full((num_states,), math.log(0.5)))
        self.frequency = nn.Parameter(
            math.pi * torch.arange(num_states)
        )  # with the decay, S4D-Lin's Λ (Gu et al. 2022)
        self.norm, self.gate = nn.LayerNorm(size), Linear(size, size)
        self.write, self.read = (
            Linear(*sizes, bias=False) for sizes in ((size, 2 * num_states), (2 * num_states, size))
        )
        for layer in (self.write, self.read):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
        self.skip = nn.Parameter(torch.randn(size))

    def drive(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """a [2 P], and what the steps x [..., D] add to the state, [..., 2 P]."""
        step, decay, frequency = self.log_step.exp(), self.log_decay.exp(), self.frequency
        size, angle = torch.exp(-step * decay), step * frequency
        a = torch.cat([size * angle.cos(), size * angle.sin()])
        inverse = torch.cat([-decay, -frequency]) / (decay.square() + frequency.square()).repeat(2)  # 1 / Λ
        one = functional.pad(torch.ones_like(decay), (0, len(decay)))
        return a, product(product(a - one, inverse), self.write(self.norm(x)))

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        y = functional.gelu(self.read(state) + self.skip * self.norm(x))
        return x + y * self.gate(y).sigmoid()


def product(a: Tensor, x: Tensor) -> Tensor:
    """Of complex vectors [2 P] and [..., 2 P]."""
    (a_re, a_im), (re, im) = a.chunk(2, -1), x.chunk(2, -1)
    return torch.cat([a_re * re - a_im * im, a_re * im + a_im * re], -1)


def scan(a: Tensor, driven: Tensor) -> Tensor:
    """States h_t = a h_{t-1} + driven_t from 0: [2 P], [B, T, 2 P] -> [B, T, 2 P], in log T passes over all steps.

    After a pass of length n, a place holds the sum over its latest 2 n steps (Hillis & Steele 1986).
    """
    length = 1
    while length < driven.shape[1]:
        driven = driven + functional.pad(product(a, driven[:, :-length]), (0, 0, length, 0))
        a, length = product(a, a), 2 * length
    return driven
