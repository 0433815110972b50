"""DPT: supervision on optimal actions, given datasets of other actions (Lee et al. 2023, algorithm 1).

For a task, a behaviour policy makes a dataset of transitions. A transformer reads part of it and a state, and learns to
predict the action that is optimal there, which an oracle tells: the reference of the family that `Env.oracle` names. At
test time the dataset is what was played before in the trial, and actions are drawn from the prediction, which then acts
like posterior sampling.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt, Le
from gymnasium import spaces
from torch import Generator, Tensor

import envs
from envs.core import Env
from envs.errors import InputError, require
from envs.fields import Fraction, NonNegativeFloat, PositiveFloat, PositiveInt
from envs.structs import Struct
from metarl.algorithms.base import Algorithm, AlgorithmConfig, Setup, Stages, check_tensors, load_optimizer
from metarl.algorithms.task_policy import MemoryPolicy
from metarl.algorithms.trials import actor, play_trials, trial_stages
from metarl.backend import distributed
from metarl.backend.distributed import all_sum
from metarl.learning.descent import descend, flat_gradient, lr_at, scaled_down, set_lr
from metarl.learning.rollout import CHUNK_STEPS, Play, Trajectory, rollout
from metarl.policies.in_context import Dataset, InContextConfig, InContextNetwork
from metarl.policies.mlp import StepInput
from metarl.policies.recurrent import Outputs

METRICS = ("loss", "error", "entropy", "gradient_norm")
"""Of a minibatch."""

FIRST_SIZE = 10
"""Transitions of the first datasets, where they grow."""


@dataclass(frozen=True)
class DPTConfig(AlgorithmConfig):
    """Decision-pretrained transformer."""

    num_episodes: PositiveInt = 1
    """Episodes in a trial at test time."""
    context_size: Annotated[int, Ge(1), Le(10_000)] | None = None
    """Transitions of a dataset in training (n), of which a query sees between none and all, and the latest ones of a
    trial that the policy sees; by default as many as a trial has steps, but at most 200."""
    growth: Fraction = 0.0
    """Fraction of the run in which the datasets of training grow, from 10 transitions and by the same factor in each
    meta-iteration; after it they hold context_size. Of long ones alone nothing is learned for a long time."""
    num_queries: Annotated[int, Ge(1), Le(10_000)] = 32
    """States in which an action is to be predicted from parts of one dataset (Q)."""
    behaviour: Literal["uniform", "mixture"] = "uniform"
    """How a dataset's actions are drawn: uniformly; or, where they are discrete, from a mixture of a Dirichlet draw and
    a single action, as of the bandits of Lee et al. 2023."""
    lr: PositiveFloat = 1e-3
    """AdamW's learning rate after the warm-up; it falls linearly to 0 at the last meta-iteration."""
    warmup: Fraction = 0.05
    """Fraction of the run in which the learning rate rises from 0."""
    weight_decay: NonNegativeFloat = 1e-4
    """AdamW's weight decay."""
    minibatches: PositiveInt = 64
    """Gradient steps in a meta-iteration, each on as many of its tasks; while datasets are short, fewer steps on more
    tasks each, so that all steps read about as many transitions."""
    num_trials: PositiveInt = 8
    """Tasks of a meta-iteration on which the policy plays a trial, which only tells how far it is."""
    max_grad_norm: Annotated[float, Gt(0)] = 1.0
    """Gradients are scaled down to this norm."""

    entropy_coef = 0.0  # not an option

    def make(self, setup: Setup) -> DPT:
        if not isinstance(setup.policy, InContextConfig):
            raise InputError(
                f"DPT trains a transformer on datasets, so give it an InContextConfig, not a "
                f"{type(setup.policy).__name__}."
            )
        env = setup.env
        if env.oracle is None:
            known = [id for id, family in envs.FAMILIES.items() if getattr(family.env_class, "oracle", None)]
            raise InputError(
                f"DPT learns from optimal actions, and no reference of {env.name} gives them; choose a family that has "
                f"an oracle: {', '.join(known)}."
            )
        require(
            self.behaviour == "uniform" or isinstance(env.action_space, spaces.Discrete),
            f"behaviour='mixture' is for Discrete actions, not {env.action_space}.",
        )
        network = setup.policy.make(env, self.num_episodes, setup.generator)
        assert isinstance(network, InContextNetwork)
        return DPT(self, network, setup.num_iterations, setup.num_shards)

    @property
    def rounds(self) -> int:
        return self.num_episodes

    def num_played(self, num_tasks: int) -> int:
        return min(num_tasks, self.num_trials)

    @property
    def smaller_steps(self) -> str:
        return f"--lr {self.lr / 2:g}"


@dataclass(frozen=True, eq=False)
class Lessons(Trajectory):
    """Trials of the policy as it is, on some tasks, and a dataset of each task to learn from."""

    data: Dataset | None = None

    @property
    def num_steps(self) -> int:
        assert self.data is not None
        return super().num_steps + self.data.reward.numel()


class DPT(Algorithm):
    """Trains an `InContextNetwork`; what it learns needs no gradient to adapt."""

    name = "DPT"
    network: InContextNetwork

    def __init__(self, config: DPTConfig, network: InContextNetwork, num_iterations: int, num_shards: int = 1) -> None:
        self.config, self.network, self.num_iterations, self.num_shards = config, network, num_iterations, num_shards
        self.optimizer = torch.optim.AdamW(network.parameters(), config.lr, weight_decay=config.weight_decay)
        self.context_size = network.window = config.context_size or min(200, network.num_steps)
        self.updates = 0

    @property
    def params(self) -> Tensor:
        """The network's parameters and its normalizer's statistics, in one vector [P]."""
        return self.network.params

    @property
    def dataset_size(self) -> int:
        """Transitions of a dataset in the meta-iteration to come."""
        size, growing = self.context_size, self.config.growth * self.num_iterations
        if self.updates >= growing:
            return size
        return min(size, round(FIRST_SIZE * (size / FIRST_SIZE) ** (self.updates / growing)))

    def collect(self, env: Env, task: Struct, num_envs: int, generator: Generator) -> list[Trajectory]:
        """A dataset of each task; and trials on a few of them, which nothing is learned from."""
        data = dataset(env, task, self.config, self.dataset_size, generator)
        few = task[: self.config.num_trials]
        trial = rollout(env, actor(self.network, generator), few, num_envs, generator, self.config.num_episodes)
        return [Lessons(**vars(trial), data=data)]

    def update(self, trajectories: list[Trajectory]) -> dict[str, float]:
        """A gradient step on each minibatch of datasets. Returns metrics, means over them."""
        (lessons,) = trajectories
        assert isinstance(lessons, Lessons) and lessons.data is not None
        c, data, n = self.config, lessons.data, self.network
        n.normalizer.update(data.obs, data.reward, torch.ones_like(data.reward))
        set_lr(self.optimizer, lr_at(c.lr, self.updates, self.num_iterations, c.warmup))
        own = self.num_shards // distributed.world_size()
        rows = torch.arange(len(data), device=data.reward.device).view(own, -1)
        share = (data.reward.shape[1] + c.num_queries) / (self.context_size + c.num_queries)
        parts = rows.tensor_split(min(max(1, round(c.minibatches * share)), rows.shape[1]), 1)
        columns = torch.stack([self.step(data[part.flatten()]) for part in parts], 1).tolist()
        self.updates += 1
        return dict(zip(METRICS, map(statistics.fmean, columns), strict=True))

    def step(self, data: Dataset) -> Tensor:
        """One step of AdamW. Returns its metrics, in the order of METRICS."""
        loss, error, entropy = self.loss(data)
        count = data.size.numel() * distributed.world_size()
        parameters = [p for p in self.network.parameters() if p.numel()]
        flat = flat_gradient(loss.sum() / count, parameters)
        norm = flat.norm()
        descend(self.optimizer, parameters, scaled_down(flat, norm, self.config.max_grad_norm))
        sums = torch.stack([x.detach().sum() for x in (loss, error, entropy)])
        return torch.cat([all_sum(sums) / count, norm.unsqueeze(0)])

    def loss(self, data: Dataset) -> tuple[Tensor, Tensor, Tensor]:
        """-log π(a*) of each query [N, Q]; its error, another action or the distance from a*; and entropy."""
        distribution = self.network.predict(data)
        apart = (distribution.mode() - data.optimal).abs().float()
        error = apart.mean(-1) if apart.dim() > 2 else apart.clamp_max(1)
        return -distribution.log_prob(data.optimal), error, distribution.entropy()

    def held(self, env: Env, num_tasks: int) -> tuple[int, str]:
        """The datasets, and of a minibatch what its tokens become in each layer: in all about 16 times their size."""
        c, n, q = self.config, self.context_size, self.config.num_queries
        obs, act = (int(torch.Size(space.shape or ()).numel()) for space in (env.observation_space, env.action_space))
        data = 4 * num_tasks * (n * (2 * obs + act + 1) + q * (obs + act))
        layers = 4 * 16 * len(self.network.layers) * self.network.norm.normalized_shape[0]
        tokens = -(-num_tasks // c.minibatches) * (n + q)
        return (
            data + tokens * layers,
            f"datasets of {n:,} transitions and {q:,} queries in {c.minibatches:,} minibatches",
        )

    def outputs(self, inputs: StepInput) -> Outputs:
        """Of whole trials, a group of them at a time."""
        size = max(1, CHUNK_STEPS // inputs.obs.shape[1] ** 2)
        return Outputs.cat([self.network(inputs[row : row + size]) for row in range(0, len(inputs), size)])

    def stages(self, num_steps: int | None = None) -> Stages:
        """The episodes of a trial."""
        return trial_stages(self.name, self.config.num_episodes, num_steps)

    def play(self, env: Env, num_envs: int, generator: Generator, stages: Stages, greedy: bool = False) -> Play:
        """Trials."""
        return play_trials(env, self.network, num_envs, generator, self.config.num_episodes, greedy)

    def task_policy(self, env: Env, num_envs: int, num_steps: int, generator: Generator) -> MemoryPolicy:
        return MemoryPolicy(self.network, num_envs)

    def compile(self) -> None:
        raise InputError("--compile does not help DPT, whose layers are few and large; leave it out.")

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "updates": self.updates,
            "context_size": self.context_size,  # under another horizon the default is another
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        check_tensors(state["network"], self.network.state_dict())
        self.network.load_state_dict(state["network"])
        load_optimizer(self.optimizer, state["optimizer"])
        self.updates = int(state["updates"])
        self.context_size = self.network.window = int(state.get("context_size", self.context_size))


@torch.no_grad()
def dataset(env: Env, task: Struct, config: DPTConfig, n: int, generator: Generator) -> Dataset:
    """Data of tasks [N] to learn from, `n` transitions of each.

    Transitions start in states that are drawn independently, spread over the family's, as in the code of Lee et al.
    2023; only their sizes in the queries differ from the published ones, which are all from 1 to n for one state.
    """
    q, device = config.num_queries, env.device
    state, obs = env.any_states(task, n, generator)
    uniform = config.behaviour == "uniform"
    action = env.random_actions(task, state, None, generator) if uniform else mixture(env, len(task), n, generator)
    result = env.step(task, state, action, generator)
    asked, query = env.any_states(task, q, generator)
    oracle = env.references()[str(env.oracle)]
    optimal = oracle.act(task, asked, oracle.start(task, q, generator), generator)
    # one draw from each of q equal parts of 0 .. n
    part = torch.arange(q, device=device) + torch.rand(len(task), q, generator=generator, device=device)
    size = (part * (n + 1) / q).long().clamp_max(n)
    # of an episode of H steps one has no next observation
    cut = torch.rand(result.terminated.shape, generator=generator, device=device) < 1 / env.horizon
    known = ~(result.terminated | cut)
    flat = [x.flatten(2) for x in (obs, result.obs, query)]
    return Dataset(flat[0], action, result.reward, flat[1], known, flat[2], size, optimal)


def mixture(env: Env, num_tasks: int, n: int, generator: Generator) -> Tensor:
    """Actions [N, n]. Each task has probabilities (1 - c) p + c e, with p ~ Dirichlet(1), a random single action e, and
    c one of 0, 0.1, ..., 1."""
    assert isinstance(env.action_space, spaces.Discrete)
    shape, device = (num_tasks, int(env.action_space.n)), env.device
    share = torch.randint(11, (num_tasks, 1), generator=generator, device=device) / 10
    p = -torch.log1p(-torch.rand(shape, generator=generator, device=device)) + 1e-30
    single = torch.randint(shape[1], (num_tasks, 1), generator=generator, device=device)
    mixed = ((1 - share) * p / p.sum(1, keepdim=True)).scatter_add(1, single, share)
    return torch.multinomial(mixed, n, replacement=True, generator=generator)
