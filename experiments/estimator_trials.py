"""What estimators.py measures: the library's meta-gradients on a tabular MDP where the truth can be computed.

J(θ) is here the expected mean reward per step of an episode, without discount: the library's losses are means over
steps, so that its inner step is θ' = θ + α ∇J(θ) in expectation, with the same α. Two of its conventions are switched
off. Advantages are not standardized (`PlainLoss`), and the baseline is the exact value function of the policy that
collected the data, in the inner and the outer loss, instead of a fit to the same data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from envs.core import Env
from envs.structs import Struct
from metarl.algorithms.adaptation import Rates
from metarl.algorithms.inner import ESTIMATORS, InnerLoss, sgd_step
from metarl.algorithms.objective import TaskGroup
from metarl.learning.advantage import advantages
from metarl.learning.rollout import Trajectory, policy_actor, rollout
from metarl.policies.mlp import Policy, StepInput

HESSIANS = tuple(name for name in ESTIMATORS if name != "e-maml")
"""Those that differ in the Hessian. E-MAML's truth is another one: that of a step from few episodes; see `single`."""
LANES = 20_000
"""Episodes that are in memory at once."""


@dataclass(frozen=True)
class PlainLoss(InnerLoss):
    """The inner loss with the advantages that it is given."""

    given: Tensor | None = None  # [N, T, E] in units of reward

    def advantage(self, trajectory: Trajectory) -> Tensor:
        assert self.given is not None
        return self.given


@dataclass(frozen=True)
class GradientEstimates:
    """What an estimator makes of some episodes: a row for each repetition."""

    meta_gradient: Tensor  # [R, P] of J at the adapted policy
    product: Tensor  # [R, P] the Hessian of J times a direction


class Trial:
    """One task of the tabular family, a policy and its parameters [P], all in float64.

    Attributes:
        gradient, hessian: of J at the parameters, [P] and [P, P].
        adapted, adapted_gradient: θ' and the gradient of J there [P]; the latter is the exact first-order estimate.
        meta_gradient: [P] the gradient (I + α ∇²J(θ)) ∇J(θ') of F(θ) = J(θ + α ∇J(θ)).
    """

    def __init__(self, env: Env, task: Struct, policy: Policy, params: Tensor, inner_lr: float) -> None:
        self.env, self.task, self.policy, self.inner_lr = env, task, policy, inner_lr
        self.params = params.double()
        transition, self.reward = (x[0].double() for x in vars(task).values())  # [S, A, S], [S, A]
        self.transition = transition / transition.sum(-1, keepdim=True)  # float32 leaves the sum at 1 ± 1e-7
        self.observations = torch.eye(len(self.reward), dtype=torch.float64, device=params.device)
        self.gradient = torch.func.grad(self.objective)(self.params)
        self.hessian = torch.func.jacrev(torch.func.grad(self.objective))(self.params)
        self.adapted = self.params + inner_lr * self.gradient
        self.adapted_gradient = torch.func.grad(self.objective)(self.adapted)
        self.meta_gradient = self.adapted_gradient + inner_lr * self.hessian @ self.adapted_gradient

    def log_probs(self, params: Tensor) -> Tensor:
        """Of each action in each state, [N, S, A], for params [N, P]."""
        obs = self.observations.expand(len(params), 1, -1, -1)
        blank = torch.zeros_like(obs[..., 0])
        distribution, _ = self.policy.bind(params)(
            StepInput(obs, blank, blank, blank.bool(), torch.ones_like(blank)), None
        )
        return distribution.log_probs[:, 0]  # type: ignore[attr-defined]

    def values(self, params: Tensor) -> Tensor:
        """Expected rewards to come by time and state, [N, T, S], by dynamic programming."""
        probs = self.log_probs(params).exp()
        values = [torch.zeros_like(probs[..., 0])]
        for _ in range(self.env.horizon):
            future = torch.einsum("sax,nx->nsa", self.transition, values[0])
            values.insert(0, (probs * (self.reward + future)).sum(-1))
        return torch.stack(values[:-1], 1)

    def objective(self, params: Tensor) -> Tensor:
        """J of one policy with params [P]. Episodes start in state 0."""
        return self.values(params[None])[0, 0, 0] / self.env.horizon

    def advantage(self, params: Tensor, trajectory: Trajectory) -> Tensor:
        """The library's advantages [N, T, E] with the exact values of params [N, P], which collected the trajectory."""
        return advantages(trajectory, 1.0, 1.0, lambda t: self.values(params).gather(2, t.obs.argmax(-1)))

    def every_trajectory(self, params: Tensor) -> tuple[Trajectory, Tensor]:
        """All that can happen under params [P], with mean rewards, [1, T, E], and the probability of each [E]."""
        (states, actions), horizon = self.reward.shape, self.env.horizon
        choices = [torch.arange(n, device=params.device) for n in [actions] * horizon + [states] * (horizon - 1)]
        columns = torch.cartesian_prod(*choices).view(-1, len(choices)).T
        action, visited = columns[:horizon], columns[horizon:]
        state = torch.cat([torch.zeros_like(action[:1]), visited])
        log_probability = self.log_probs(params[None])[0][state, action].sum(0)
        probability = log_probability.exp() * self.transition[state[:-1], action[:-1], visited].prod(0)
        ones = torch.ones(1, *state.shape, dtype=torch.float64, device=params.device)
        first = torch.zeros_like(ones, dtype=torch.bool)
        first[:, 0] = True
        parts = self.observations[state][None], action[None], self.reward[state, action][None], ones, first
        return Trajectory(*parts), probability

    def sampled(self, params: Tensor, num_envs: int, generator: Generator) -> Trajectory:
        """Episodes of the library's rollout under params [N, P]."""
        task = self.task.map(lambda x: x.expand(len(params), *x.shape[1:]))
        act = policy_actor(self.policy, params.float(), generator)
        trajectory = rollout(self.env, act, task, num_envs, generator)
        return trajectory.map(lambda x: x.double() if x.is_floating_point() else x)

    def group(self, name: str, inner: Trajectory, a: Tensor, outer: Trajectory, b: Tensor) -> TaskGroup:
        """The library's outer objective, from trajectories [N, T, E] of θ and of θ' with their advantages a and b."""
        rates = Rates("fixed", self.inner_lr, self.policy)
        loss = PlainLoss(1.0, 1.0, name, given=a)
        return TaskGroup(self.policy, rates, loss, self.params, [inner, outer], [None, b])

    def estimate(self, group: TaskGroup) -> GradientEstimates:
        """Each row's share of `group.here.gradient`, and its product of the Hessian with the exact ∇J(θ')."""
        stage, hessian = group.stages[-1], group.here.steps[0].hessian
        assert stage is not None
        gradient = group.here.outer.gradient(stage.surrogate)
        product = hessian(self.adapted_gradient.expand(len(gradient), -1))
        return GradientEstimates(self.inner_lr * hessian(gradient) - gradient, -product)  # the library minimizes -J

    def limits(self) -> dict[str, GradientEstimates]:
        """What each estimator tends to with more and more episodes: exactly, from every trajectory, R = 1."""
        parts: list[Any] = []
        for params in (self.params, self.adapted):
            every, probability = self.every_trajectory(params)
            weight = probability * len(probability)  # the losses divide by the number of episodes
            parts += [every, weight * self.advantage(params[None], every)]
        return {name: self.estimate(self.group(name, *parts)) for name in HESSIANS}

    def single(self) -> tuple[Tensor, dict[str, tuple[Tensor, Tensor]]]:
        """What the estimators find where a step learns from one episode, exactly: every one, by its probability.

        The baseline of the inner step is that of θ, also where derivatives of the truth are taken: what a learner does
        with given data depends on θ through its policy alone. The outer gradient is exact.

        Returns:
            The gradient [P] of E[J(θ')], by automatic differentiation; and for each estimator its mean [P], and its
            covariance's trace.
        """
        every, probability = self.every_trajectory(self.params)
        rows = every.map(lambda x: x.transpose(0, 2).contiguous())  # one episode each: [M, T, 1]
        a = self.advantage(self.params.expand(len(rows), -1), rows)
        state, action = rows.obs.argmax(-1)[..., 0], rows.action[..., 0]  # [M, T]
        chance = probability / self.log_probs(self.params[None])[0][state, action].sum(1).exp()  # of the transitions
        share = torch.zeros(len(rows), *self.reward.shape, dtype=a.dtype, device=a.device)
        share.view(len(rows), -1).scatter_add_(1, state * self.reward.shape[1] + action, a[..., 0] / a.shape[1])

        def expected(params: Tensor) -> Tensor:
            """E[J(θ')] of params [P]."""
            log_probs = lambda at: self.log_probs(at[None])[0]  # noqa: E731
            steps = torch.einsum("msa,sap->mp", share, torch.func.jacrev(log_probs)(params))
            weight = chance * log_probs(params)[state, action].sum(1).exp()
            return weight @ self.values(params + self.inner_lr * steps)[:, 0, 0] / self.env.horizon

        truth = torch.func.grad(expected)(self.params)
        objective = torch.func.vmap(self.objective)
        found: dict[str, tuple[Tensor, Tensor]] = {}
        for name in ESTIMATORS:
            group = self.group(name, rows, a, rows, torch.zeros_like(a))  # whose outer trajectory counts for nothing
            adapted = self.params - self.inner_lr * group.here.steps[0].gradient
            vector = torch.func.vmap(torch.func.grad(self.objective))(adapted)
            estimates = vector - self.inner_lr * group.here.steps[0].hessian(vector)
            if name == "e-maml":
                returns = objective(adapted)
                credit = (returns - probability @ returns).view(-1, 1, 1) * a.shape[1]
                losses = PlainLoss(1.0, 1.0, name, given=credit.expand_as(a)).objective(rows)
                estimates = estimates - group.here.steps[0].linearized.gradient(losses)
            mean = probability @ estimates
            found[name] = mean, probability @ (estimates - mean).square().sum(1)
        return truth, found

    def round(self, repetitions: int, num_envs: int, generator: Generator) -> tuple[Any, ...]:
        """`num_envs` episodes before and after adaptation, R times: the arguments of `group` after the name."""
        params = self.params.expand(repetitions, -1)
        inner = self.sampled(params, num_envs, generator)
        a = self.advantage(params, inner)
        objective = PlainLoss(1.0, 1.0, given=a).objective(inner)
        adapted = sgd_step(self.policy, params, inner, objective, self.inner_lr)
        outer = self.sampled(adapted, num_envs, generator)
        return inner, a, outer, self.advantage(adapted, outer)

    def estimates(self, num_envs: int, repetitions: int, generator: Generator) -> dict[str, GradientEstimates]:
        """What each estimator makes of `round`.

        All see the same episodes: their inner gradients, and so their adapted policies, are the same.
        """
        parts: dict[str, list[GradientEstimates]] = {name: [] for name in HESSIANS}
        chunk = max(1, LANES // num_envs)
        for start in range(0, repetitions, chunk):
            episodes = self.round(min(chunk, repetitions - start), num_envs, generator)
            for name, found in parts.items():
                found.append(self.estimate(self.group(name, *episodes)))
        return {
            name: GradientEstimates(torch.cat([e.meta_gradient for e in found]), torch.cat([e.product for e in found]))
            for name, found in parts.items()
        }


def compare(estimates: Tensor, truth: Tensor) -> dict[str, float]:
    """Bias and noise of independent estimates [R, P] of `truth` [P], as shares of its length.

    Returns:
        bias: length of the mean error, less what chance adds to its square.
        low, high: a 95 % confidence interval for the length of the bias, by the triangle inequality: the mean error
            is off by chance by less than `high - low` halves in 95 % of cases (normal law, measured covariance).
        noise: root mean square length of one estimate's deviation from the mean.
    """
    scale, error = truth.norm(), estimates.mean(0) - truth
    length = error.norm() / scale
    if len(estimates) == 1:  # a limit, which is exact
        return {"bias": float(length), "low": float(length), "high": float(length), "noise": 0.0}
    covariance = estimates.T.cov()
    variance = torch.linalg.eigvalsh(covariance / len(estimates)).clamp_min(0)
    draws = torch.randn(20_000, len(variance), generator=Generator().manual_seed(0), dtype=torch.float64)
    chance = ((draws.to(variance.device).square() @ variance).quantile(0.95)).sqrt() / scale
    bias = (length.square() - variance.sum() / scale.square()).clamp_min(0).sqrt()
    return {
        "bias": float(bias),
        "low": float((length - chance).clamp_min(0)),
        "high": float(length + chance),
        "noise": float(covariance.trace().clamp_min(0).sqrt() / scale),
    }


def errors(trial: Trial, found: dict[str, GradientEstimates]) -> dict[str, dict[str, dict[str, float]]]:
    """What `compare` says of each estimator's meta-gradient and Hessian product."""
    truth = {"meta_gradient": trial.meta_gradient, "product": trial.hessian @ trial.adapted_gradient}
    return {
        name: {side: compare(getattr(estimate, side), exact) for side, exact in truth.items()}
        for name, estimate in found.items()
    }


def single_errors(trial: Trial) -> dict[str, dict[str, float]]:
    """Exact bias and noise of each estimator from one episode, as shares of the exact length; see `Trial.single`."""
    truth, found = trial.single()
    return {
        name: {"bias": float((mean - truth).norm() / truth.norm()), "noise": float(spread.sqrt() / truth.norm())}
        for name, (mean, spread) in found.items()
    }
