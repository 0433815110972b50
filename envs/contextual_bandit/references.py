"""Reference policies of the contextual bandit: one is told the best arms, one remembers all that it has seen."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from envs.contextual_bandit.task import ContextualBanditConfig, State, Task
from envs.core import Reference, Transition
from envs.structs import Struct

NEVER = 1e-9
"""Stands for a probability of 0 in a likelihood, so that its logarithm is finite."""


@dataclass(frozen=True, eq=False)
class Posterior(Struct):
    """Memory of the exact posterior."""

    log_odds: Tensor  # [N, E, C * K] of each arm to be the best of its context, up to a constant of the context


def make_references(config: ContextualBanditConfig) -> dict[str, Reference]:
    """References by name, without `random`."""
    likelihoods = (config.p_best, config.p_other, 1 - config.p_best, 1 - config.p_other)
    best, other, best_fails, other_fails = (math.log(max(p, NEVER)) for p in likelihoods)
    paid, failed = best - other, best_fails - other_fails

    def start(task: Task, num_envs: int, generator: Generator) -> Posterior:
        entries = config.num_contexts * config.num_arms
        return Posterior(torch.zeros(len(task.best), num_envs, entries, device=task.best.device))

    def act(task: Task, state: State, memory: Posterior, generator: Generator) -> Tensor:
        """The arm that is most probably the best here.

        This maximizes the next reward; for rewards of 0 and 1 without chance it also maximizes the expected return,
        since arms that were not tried are alike, and each visit tries one that is left. Ties go to the lowest index.
        """
        odds = memory.log_odds.unflatten(2, (config.num_contexts, config.num_arms))
        here = state.context[..., None, None].expand(-1, -1, 1, config.num_arms)
        return odds.gather(2, here).squeeze(2).argmax(-1)

    def observe(task: Task, memory: Posterior, transition: Transition[State]) -> Posterior:
        entry = transition.state.context * config.num_arms + transition.action
        evidence = torch.where(transition.reward > 0, paid, failed).to(memory.log_odds.dtype)
        return Posterior(memory.log_odds.scatter_add(2, entry[..., None], evidence[..., None]))

    def told(task: Task, state: State, memory: None, generator: Generator) -> Tensor:
        return task.best.gather(1, state.context)

    return {"exact posterior": Reference(act, start, observe), "told the best arms": Reference(told)}


def ideal_return(num_contexts: int, num_arms: int, num_steps: int) -> float:
    """The largest expected return without being told, where the best arm always pays 1 and the others 0.

    On its v-th visit to a context, a policy that tries the arms one after the other has found the best with
    probability min(v / K, 1). The earlier visits of the context in step t are binomial, with t - 1 draws of 1 / C.
    """
    visits = [1.0] + [0.0] * (num_arms - 1)  # probability of 0, 1, ... and of K - 1 or more earlier visits
    total, again = 0.0, 1 / num_contexts
    for _ in range(num_steps):
        total += sum(p * (v + 1) / num_arms for v, p in enumerate(visits))
        moved = [p * again for p in visits[:-1]]
        visits = [p - out + come for p, out, come in zip(visits, [*moved, 0.0], [0.0, *moved], strict=True)]
    return total
