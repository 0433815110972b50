"""PEARL: soft actor-critic with a latent variable that is inferred from context (Rakelly et al. 2019).

Off-policy: transitions of a fixed set of training tasks are kept, and each is learned from many times. The encoder is
trained by the critic's loss and by an information bottleneck, on context from the latest episodes alone. At test time z
is drawn from the prior in the first episode, then before each episode from the posterior given the episodes so far.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Le
from torch import Generator, Tensor

from envs.contract import draw_tasks
from envs.core import Env
from envs.errors import require
from envs.fields import Finite, Fraction, NonNegativeFloat, PositiveCoefficient, PositiveInt
from envs.structs import Struct, tensors_of, with_tensors
from metarl.algorithms.base import Algorithm, AlgorithmConfig, Setup, Stages, check_tensors, load_optimizer
from metarl.algorithms.task_policy import MemoryPolicy
from metarl.algorithms.trials import actor, trial_stages
from metarl.learning.replay import Replay
from metarl.learning.rollout import Play, Trajectory, rollout
from metarl.learning.sac import TwinQ, actor_loss, critic_loss, critic_target, descend, draw, follow
from metarl.policies.distributions import TanhGaussian
from metarl.policies.mlp import MLPConfig, NumUnits, StepInput, StepNetwork
from metarl.policies.posterior import Context, PosteriorNetwork, mlp

METRICS = ("critic_loss", "actor_loss", "value", "entropy", "temperature", "context_kl")
"""Of a gradient step."""


@dataclass(frozen=True)
class PEARLConfig(AlgorithmConfig):
    """Soft actor-critic on batches of tasks, with a posterior over a latent variable."""

    several_processes: ClassVar[bool] = False

    num_episodes: PositiveInt = 3
    """Episodes in a trial."""
    prior_episodes: PositiveInt = 1
    """First episodes of a trial that draw z from the prior; the later ones draw it from the posterior."""
    context_episodes: PositiveInt = 3
    """First episodes of a task's latest trials, or all, from which the encoder's context is sampled in training."""
    num_train_tasks: Annotated[int, Ge(1), Le(10_000)] = 100
    """Tasks that are drawn before training and trained on; --train-tasks gives them instead."""
    replay_episodes: PositiveInt = 30
    """Latest episodes of each training task that are kept to learn from, also in the checkpoint."""
    num_updates: PositiveInt = 200
    """Gradient steps in a meta-iteration."""
    update_tasks: PositiveInt = 16
    """Tasks in a gradient step."""
    batch_size: PositiveInt = 32
    """Transitions of each of these tasks that actor and critic learn from."""
    context_batch_size: PositiveInt = 128
    """Transitions of each that the encoder sees."""
    next_obs_in_context: bool = False
    """Does the encoder also see the observation after each transition? For tasks that differ in their dynamics."""
    latent_size: PositiveInt = 5
    """Numbers in z."""
    encoder_sizes: tuple[NumUnits, ...] = (64, 64)
    """Units in each hidden layer of the encoder; those of actor and critic are the policy's."""
    lr: PositiveCoefficient = 1e-3
    """Adam's learning rate."""
    gamma: Fraction = 0.99
    """Discount."""
    tau: Fraction = 0.01
    """Fraction by which target networks follow in each gradient step."""
    reward_scale: PositiveCoefficient = 5.0
    """The critic learns from rewards multiplied by this."""
    kl_coef: NonNegativeFloat = 0.01
    """Weight of the KL divergence of the posterior from the prior, averaged over tasks."""
    tune_entropy: bool = True
    """Adapt the temperature until the entropy is `target_entropy` (Haarnoja et al. 2018b); PEARL as published does not
    and sets the reward's scale instead."""
    target_entropy: Annotated[float, Finite] = -1.0
    """Nats for each number of an action in [-1, 1]."""
    entropy_coef: PositiveCoefficient = 1.0
    """The temperature, or where it is adapted its start."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.prior_episodes <= self.num_episodes,
            f"prior_episodes must be at most the number of episodes in a trial, {self.num_episodes}, not "
            f"{self.prior_episodes}.",
        )

    def make(self, setup: Setup) -> PEARL:
        policy = setup.mlp_config(PEARL.name)
        require(policy.context_size == 0, "PEARL's policy reads z and no context vector; leave policy.context_size 0.")
        return PEARL(self, setup.env, policy, setup.generator, setup.tasks)

    @property
    def rounds(self) -> int:
        return self.num_episodes

    @property
    def smaller_steps(self) -> str:
        return f"--lr {self.lr / 2:g}"


class PEARL(Algorithm):
    """Holds the training tasks, their replay and the networks.

    Args:
        tasks: to train on; by default `num_train_tasks` of the split train.
    """

    name = "PEARL"

    def __init__(
        self, config: PEARLConfig, env: Env, policy: MLPConfig, generator: Generator, tasks: Struct | None = None
    ) -> None:
        c, device = config, generator.device
        self.config, self.generator = config, generator
        seed = int(torch.randint(2**31, (), generator=generator, device=device))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.actor = a = PosteriorNetwork(
                env,
                c.num_episodes,
                c.prior_episodes,
                c.latent_size,
                policy.hidden_sizes,
                c.encoder_sizes,
                policy.activation,
                policy.init_std,
                c.next_obs_in_context,
            ).to(device)
            sizes = [a.obs_size + a.action_size + c.latent_size, *policy.hidden_sizes, 1]
            self.critic, self.target = (TwinQ(lambda: mlp(sizes, policy.activation)).to(device) for _ in range(2))
        self.target.requires_grad_(False).load_state_dict(self.critic.state_dict())
        self.log_alpha = torch.full((), c.entropy_coef, device=device).log().requires_grad_(c.tune_entropy)
        self.learned_by_critic = [*self.critic.parameters(), *a.encoder.parameters()]
        self.learned_by_actor = list(a.policy.parameters())
        groups: dict[str, list[Any]] = {
            "critic": self.learned_by_critic,
            "actor": self.learned_by_actor,
            "temperature": [self.log_alpha],
        }
        self.optimizers = {name: torch.optim.Adam(group, c.lr, fused=True) for name, group in groups.items()}
        self.tasks = draw_tasks(env, c.num_train_tasks, generator) if tasks is None else tasks
        self.replay = Replay(len(self.tasks), c.replay_episodes, env.horizon, a.obs_size, a.action_size, device)
        self.updates = 0

    @property
    def params(self) -> Tensor:
        """Those of the encoder, the policy, both critics and the temperature, in one vector [P]."""
        learned = (*self.learned_by_actor, *self.learned_by_critic, self.log_alpha)
        return torch.cat([x.detach().flatten() for x in learned])

    def collect(self, env: Env, task: Struct, num_envs: int, generator: Generator) -> list[Trajectory]:
        """Trials on as many of the training tasks as `task` has, and at first on all of them: each must have data.

        Raises:
            InputError: where the replay cannot hold the trials of one meta-iteration.
        """
        episodes = self.config.num_episodes * num_envs
        require(
            episodes <= self.config.replay_episodes,
            f"replay_episodes must be at least {episodes}, as many as a meta-iteration plays on a task, not "
            f"{self.config.replay_episodes}.",
        )
        order = torch.randperm(len(self.tasks), generator=generator, device=generator.device)
        chosen = order[: len(task)] if self.updates else order
        trial = self._trial(env, self.tasks[chosen], num_envs, generator)
        self.replay.add(chosen, trial, self.actor.unit_action(trial.action), self.config.context_episodes)
        return [trial]

    def _trial(
        self,
        env: Env,
        task: Struct,
        num_envs: int,
        generator: Generator,
        greedy: bool = False,
        keep_states: bool = False,
        network: StepNetwork | None = None,
    ) -> Trajectory:
        start = self.actor.start(len(task) * num_envs, generator)
        act = actor(network or self.actor, generator, greedy, traced=network is None)
        episodes = self.config.num_episodes
        return rollout(env, act, task, num_envs, generator, episodes, (0, start), keep_states, keep_ends=True)

    def held(self, env: Env, num_tasks: int) -> tuple[int, str]:
        c = self.config
        return (
            self.replay.steps.nbytes,
            f"a replay of {c.replay_episodes:,} episodes of each of {len(self.tasks):,} tasks",
        )

    def stages(self, num_steps: int | None = None) -> Stages:
        """The episodes of a trial."""
        return trial_stages(self.name, self.config.num_episodes, num_steps)

    def play(self, env: Env, num_envs: int, generator: Generator, stages: Stages, greedy: bool = False) -> Play:
        """Trials; where `greedy`, z is still drawn at random."""

        def play(task: Struct, keep_states: bool) -> list[Trajectory]:
            return [self._trial(env, task, num_envs, generator, greedy, keep_states)]

        return play

    def play_control(self, env: Env, num_envs: int, generator: Generator, trial: Trajectory, other: Tensor) -> Play:
        """Trials in which z is drawn as it was in `trial` on the task `other` [N] of each."""
        rows = trial[other].map(lambda x: x.transpose(1, 2).flatten(0, 1))
        given = OthersContext(self.actor, *self.actor.sums(rows.inputs))

        def play(task: Struct, keep_states: bool) -> list[Trajectory]:
            return [self._trial(env, task, num_envs, generator, keep_states=keep_states, network=given)]

        return play

    @torch.no_grad()
    def belief(self, inputs: StepInput) -> Tensor:
        """Of z, from the prior before the first step."""
        precision, weighted = self.actor.sums(inputs)
        return torch.stack(self.actor.z_of(precision, weighted, precision == 0), 1)

    def task_policy(self, env: Env, num_envs: int, num_steps: int, generator: Generator) -> MemoryPolicy:
        return MemoryPolicy(self.actor, num_envs, self.actor.start(num_envs, generator))

    def update(self, trajectories: list[Trajectory]) -> dict[str, float]:
        """Gradient steps on the replay, to which `collect` has added these trajectories. Returns metrics."""
        metrics = torch.stack([self.step() for _ in range(self.config.num_updates)])
        self.updates += 1
        return dict(zip(METRICS, metrics.mean(0).tolist(), strict=True))

    def step(self) -> Tensor:
        """One gradient step of critic and encoder, of the actor and of the temperature. Returns METRICS."""
        c, g, a = self.config, self.generator, self.actor
        tasks = torch.randperm(len(self.tasks), generator=g, device=g.device)[: c.update_tasks]
        batch = self.replay.sample(tasks, c.batch_size, g)
        context = self.replay.sample(tasks, c.context_batch_size, g, context=True)
        mean, variance = a.posterior(context.obs, context.action, context.reward, context.next_obs)
        noise = torch.randn(mean.shape, generator=g, device=g.device)
        z = (mean + variance.sqrt() * noise).unsqueeze(1).expand(-1, c.batch_size, -1)
        fixed, alpha = z.detach(), self.log_alpha.detach().exp()
        with torch.no_grad():
            scaled = batch.reward * c.reward_scale
            action, log_prob = draw(a.act(batch.next_obs, fixed), g)
            values = self.target(batch.next_obs, action, fixed)
            soft = critic_target(scaled, batch.terminated, values, log_prob, alpha, c.gamma)
        values = self.critic(batch.obs, batch.action, z)
        kl = 0.5 * (variance + mean.square() - 1 - variance.log()).sum(-1).mean()
        of_critic = critic_loss(values, soft)
        descend(self.optimizers["critic"], of_critic + c.kl_coef * kl, self.learned_by_critic)
        follow(self.target, self.critic, c.tau)

        action, log_prob = draw(a.act(batch.obs, fixed), g)
        of_actor = actor_loss(self.critic(batch.obs, action, fixed), log_prob, alpha)
        descend(self.optimizers["actor"], of_actor, self.learned_by_actor)
        entropy = -log_prob.detach().mean()
        if c.tune_entropy:
            excess = entropy - c.target_entropy * a.action_size
            descend(self.optimizers["temperature"], self.log_alpha * excess, [self.log_alpha])
        return torch.stack([of_critic, of_actor, values[0].mean(), entropy, alpha, kl]).detach()

    def _task_tensors(self) -> dict[str, Tensor]:
        return {f"tasks' tensor {k}": x for k, x in enumerate(tensors_of(self.tasks))}

    def state_dict(self) -> dict[str, Any]:
        return {
            "actor": self.actor.state_dict(),
            "critic": self.critic.state_dict(),
            "target": self.target.state_dict(),
            "log_alpha": self.log_alpha.detach(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "tasks": self._task_tensors(),  # another device would draw others
            "replay": self.replay.state_dict(),
            "updates": self.updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in ("actor", "critic", "target"):
            own = getattr(self, name)
            check_tensors(state[name], own.state_dict())
            own.load_state_dict(state[name])
        tasks = state.get("tasks", self._task_tensors())
        check_tensors(tasks, self._task_tensors())
        self.tasks = with_tensors(self.tasks, list(tasks.values()))
        self.replay.load_state_dict(state["replay"])
        with torch.no_grad():
            self.log_alpha.copy_(state["log_alpha"])
        for name, optimizer in self.optimizers.items():
            load_optimizer(optimizer, state["optimizers"][name])
        self.updates = int(state["updates"])


class OthersContext:
    """The policy of a `PosteriorNetwork`, whose context [B, T, L] is that of other trials."""

    def __init__(self, network: PosteriorNetwork, precision: Tensor, weighted: Tensor) -> None:
        self.network, self.precision, self.weighted = network, precision, weighted
        self.horizon, self.num_steps = network.horizon, network.num_steps
        self.distribution, self.check_length = network.distribution, network.check_length

    def start(self, num_lanes: int) -> Context:
        return self.network.start(num_lanes)

    def step(self, inputs: StepInput, memory: Context) -> tuple[TanhGaussian, Context]:
        t = memory.t[:, None, None].expand(-1, 1, self.network.latent_size)
        precision, weighted = (x.gather(1, t).squeeze(1) for x in (self.precision, self.weighted))
        return self.network.step(
            inputs, replace(memory, precision=precision, weighted=weighted, mask=torch.zeros_like(memory.mask))
        )
