"""Reference policies of tabular MDPs: exact planning, which knows the task, and PSRL, which does not.

PSRL, posterior sampling: Osband, Russo & Van Roy 2013. Both keep a policy by time and state as their memory.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from envs.core import Reference, Transition
from envs.structs import Struct
from envs.tabular.dirichlet import sample_dirichlet
from envs.tabular.task import State, TabularConfig, Task

PLAN_CELLS = 2_000_000
"""PSRL samples and solves MDPs in groups of lanes with about this many (s, a, s') in all, to bound memory."""


def make_references(config: TabularConfig) -> dict[str, Reference]:
    """All but `random`, by name. `PSRL` is the published one, `PSRL, true prior` knows the task distribution."""
    planner, published, exact = ValueIteration(config), PSRL(config, 0.0), PSRL(config, 1.0)
    return {
        "value iteration": Reference(follow_plan, planner.start, planner.observe),
        "PSRL": Reference(follow_plan, published.start, published.observe),
        "PSRL, true prior": Reference(follow_plan, exact.start, exact.observe),
    }


@dataclass(frozen=True, eq=False)
class Plan(Struct):
    """Memory of value iteration."""

    policy: Tensor  # [N, E, T, S] int64, the action by time and state
    time: Tensor  # [N, E] int64, steps since the episode began


@dataclass(frozen=True, eq=False)
class Posterior(Plan):
    """Memory of PSRL: the policy of this episode, and what was seen since the trial began."""

    counts: Tensor  # [N, E, S, A, S] int32, transitions seen
    reward_sum: Tensor  # [N, E, S, A], of the rewards seen
    seed: Tensor  # [N, E] int64, of the next draw from the posterior


def follow_plan(task: Task, state: State, memory: Plan, generator: Generator) -> Tensor:
    """The planned action [N, E] for each lane's time and state."""
    n, e = (torch.arange(count, device=state.index.device) for count in state.index.shape)
    return memory.policy[n[:, None], e, memory.time, state.index]


@dataclass(frozen=True)
class ValueIteration:
    """Acts optimally in the true MDP, which it knows: an upper bound on the expected return."""

    config: TabularConfig

    def start(self, task: Task, num_envs: int, generator: Generator) -> Plan:
        policy, _ = backward_induction(task.transition, task.reward_mean, self.config.horizon)
        time = policy.new_zeros(len(task), num_envs)
        return Plan(policy[:, None].expand(-1, num_envs, -1, -1), time)

    def observe(self, task: Task, memory: Plan, transition: Transition[State]) -> Plan:
        return replace(memory, time=(memory.time + 1) % self.config.horizon)


@dataclass(frozen=True)
class PSRL:
    """At the start of each episode, draws an MDP from the posterior; acts optimally in it until the episode ends.

    Its prior is the train distribution except for `prior_mean`, the mean of the mean rewards. The published figures
    for it (Duan et al. 2016, table 2) are those of a prior N(0, 1), although mean rewards are N(1, 1): with the
    true prior, every action that was not tried yet looks good, and few episodes do not pay for so much exploration.
    """

    config: TabularConfig
    prior_mean: float

    def start(self, task: Task, num_envs: int, generator: Generator) -> Posterior:
        """The prior, and the policy of the first episode."""
        s, a, device = self.config.num_states, self.config.num_actions, task.transition.device
        lanes = (len(task), num_envs)
        time = torch.zeros(lanes, dtype=torch.int64, device=device)
        blank = Posterior(
            policy=time.new_zeros(*lanes, self.config.horizon, s),
            time=time,
            counts=torch.zeros(*lanes, s, a, s, dtype=torch.int32, device=device),
            reward_sum=torch.zeros(*lanes, s, a, device=device),
            seed=torch.randint(2**62, lanes, generator=generator, device=device),
        )
        return self._plan_anew(blank, time == 0)

    def observe(self, task: Task, memory: Posterior, transition: Transition[State]) -> Posterior:
        """Count the transition; at the end of an episode, draw and solve an MDP for the next."""
        s, a = self.config.num_states, self.config.num_actions
        cell = (transition.state.index * a + transition.action)[..., None]  # [N, E, 1]
        seen = cell * s + transition.next_state.index[..., None]
        counts = memory.counts.flatten(2).scatter_add(2, seen, torch.ones_like(seen, dtype=memory.counts.dtype))
        reward_sum = memory.reward_sum.flatten(2).scatter_add(2, cell, transition.reward[..., None])
        memory = replace(
            memory,
            time=(memory.time + 1) % self.config.horizon,
            counts=counts.view_as(memory.counts),
            reward_sum=reward_sum.view_as(memory.reward_sum),
        )
        begins = memory.time == 0
        return self._plan_anew(memory, begins) if begins.any() else memory

    def _plan_anew(self, memory: Posterior, lanes: Tensor) -> Posterior:
        """Draw an MDP for each of `lanes` [N, E] bool and solve it.

        A memory is a value and holds a seed instead of a generator; that of the first lane serves the whole batch.
        """
        counts, reward_sum = memory.counts[lanes], memory.reward_sum[lanes]  # [L, S, A, S], [L, S, A]
        generator = Generator(counts.device).manual_seed(int(memory.seed[lanes][0]))
        groups = max(1, counts.numel() // PLAN_CELLS)
        plans = [
            backward_induction(*self.sample_posterior(c, r, generator), self.config.horizon)[0]
            for c, r in zip(counts.tensor_split(groups), reward_sum.tensor_split(groups), strict=True)
        ]
        policy, seed = memory.policy.clone(), memory.seed.clone()
        policy[lanes] = torch.cat(plans)
        seed[lanes] = torch.randint(2**62, (len(counts),), generator=generator, device=counts.device)
        return replace(memory, policy=policy, seed=seed)

    def sample_posterior(self, counts: Tensor, reward_sum: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """One MDP from the posterior of each lane.

        Transition rows are Dirichlet(concentration + counts). A mean reward with prior N(m, 1), seen n times with sum
        R under noise of variance v, is normal with mean (v m + R) / (v + n) and variance v / (v + n).

        Args:
            counts: [L, S, A, S] transitions seen.
            reward_sum: [L, S, A].

        Returns:
            transition [L, S, A, S] and reward_mean [L, S, A].
        """
        noise = max(self.config.reward_noise**2, 1e-6)  # without noise, one reward tells its mean
        total = noise + counts.sum(-1)
        draw = torch.randn(reward_sum.shape, generator=generator, device=counts.device)
        reward_mean = (noise * self.prior_mean + reward_sum) / total + draw * (noise / total).sqrt()
        return sample_dirichlet(counts + self.config.concentration, generator), reward_mean


def backward_induction(transition: Tensor, reward_mean: Tensor, horizon: int) -> tuple[Tensor, Tensor]:
    """Optimal time-dependent policies of finite-horizon, undiscounted MDPs (Bellman 1957).

    Args:
        transition: [L, S, A, S].
        reward_mean: [L, S, A].
        horizon: steps in an episode, T.

    Returns:
        policy [L, T, S] int64, and value [L, S]: the expected return of a whole episode from each state.
    """
    value = torch.zeros_like(reward_mean[..., 0])
    actions = []
    for _ in range(horizon):
        later = torch.bmm(transition.flatten(1, 2), value[..., None]).view_as(reward_mean)
        value, action = (reward_mean + later).max(-1)
        actions.append(action)
    return torch.stack(actions[::-1], 1), value
