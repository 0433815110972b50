"""Losses of the outer step by hand, and Adam's outer steps against torch's Adam on plainly written gradients."""

from __future__ import annotations

import math

import pytest
import torch
from plain_meta import outer_gradient, outer_loss, relative

from envs import InputError
from metarl.algorithms.maml import MAMLConfig
from metarl.algorithms.outer import AdamConfig, TRPOConfig
from metarl.learning import losses
from metarl.policies.distributions import Categorical

PROMP = {"estimator": "lvc", "num_inner_steps": 2}


# --- Losses ------------------------------------------------------------------------------------------------------


def test_the_clipped_surrogate_by_hand():
    """Ratios 1.5, 1.5, 0.5, 0.5 and 1.1 with advantages of both signs and clip 0.2; a sixth step is padding."""
    ratio = torch.tensor([1.5, 1.5, 0.5, 0.5, 1.1, 9.0], dtype=torch.float64)
    advantage = torch.tensor([2.0, -2.0, 2.0, -2.0, 1.0, 5.0], dtype=torch.float64)
    mask = torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 0.0], dtype=torch.float64)
    old = torch.full((6,), 0.1, dtype=torch.float64).log()
    p = 0.1 * ratio
    logits = torch.stack([p, 1 - p], -1).log().view(1, 6, 1, 2).requires_grad_()
    action = torch.zeros(1, 6, 1, dtype=torch.int64)
    steps = [x.view(1, 6, 1) for x in (advantage, mask, old)]
    distribution = Categorical(logits)  # these log-probabilities as they stand
    loss = losses.clipped_surrogate(distribution, action, *steps, clip=0.2)
    assert loss.item() == pytest.approx(-(1.2 * 2 - 1.5 * 2 + 0.5 * 2 - 0.8 * 2 + 1.1) / 5)
    gradient = torch.autograd.grad(loss.sum(), logits)[0][0, :, 0, 0]
    assert gradient.tolist() == pytest.approx([0, 3 / 5, -1 / 5, 0, -1.1 / 5, 0])  # -ratio * advantage where it counts
    free = losses.clipped_surrogate(distribution, action, *steps, clip=math.inf)
    torch.testing.assert_close(free, losses.surrogate(distribution, action, *steps))


def dice_problem():
    """A softmax policy with shared weights θ [4] on T = 4 steps of 3 lanes, the second of which ends after two."""
    generator = torch.Generator().manual_seed(0)
    features, reward, baseline = (
        torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((4, 3, 3, 4), (4, 3), (4, 3))
    )
    action = torch.randint(0, 3, (1, 4, 3), generator=generator)
    mask = torch.ones(4, 3, dtype=torch.float64)
    mask[2:, 1] = 0
    theta = torch.randn(4, generator=generator, dtype=torch.float64)
    return theta, features, action, reward * mask, baseline, mask


def test_dice_has_the_derivatives_of_the_magic_box_with_a_baseline():
    """Foerster et al. 2018, eq. 6, with the baseline for any order of Mao et al. 2019: rewards are weighted by the
    magic box of all actions so far, baselines by the box of earlier actions minus that."""
    theta, features, action, reward, baseline, mask = dice_problem()

    def magic_box(theta):
        log_prob = torch.log_softmax(features @ theta, -1).gather(-1, action[0].unsqueeze(-1)).squeeze(-1)
        total = 0.0
        for lane in range(3):
            so_far = torch.zeros((), dtype=torch.float64)
            for t in range(int(mask[:, lane].sum())):
                before = (so_far - so_far.detach()).exp()
                so_far = so_far + log_prob[t, lane]
                now = (so_far - so_far.detach()).exp()
                total = total + reward[t, lane] * now + baseline[t, lane] * (before - now)
        return -total / mask.sum()

    togo = reward.flip(0).cumsum(0).flip(0)
    advantage = ((togo - baseline) * mask).unsqueeze(0)
    old = torch.log_softmax(features @ theta, -1).unsqueeze(0)

    def dice(theta, action=action, padding=0.0):
        distribution = Categorical.from_logits((features @ theta).unsqueeze(0))
        old_log_prob = Categorical(old).log_prob(action) + padding * (1 - mask)
        return losses.dice(distribution, action, advantage, mask.unsqueeze(0), old_log_prob).sum()

    def derivatives(function):
        leaf = theta.clone().requires_grad_()
        return (
            torch.autograd.grad(function(leaf), leaf)[0],
            torch.autograd.functional.hessian(function, theta),
        )

    for ours, theirs in zip(derivatives(dice), derivatives(magic_box), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert float(dice(theta)) == pytest.approx(-float(advantage.sum() / mask.sum()))
    padded = action.clone()
    padded[0, 2:, 1] = (padded[0, 2:, 1] + 1) % 3
    for ours, other in zip(derivatives(dice), derivatives(lambda x: dice(x, padded)), strict=True):
        assert torch.equal(ours, other), "actions after the end must not enter"
    for ours, other in zip(derivatives(dice), derivatives(lambda x: dice(x, padding=-1e4)), strict=True):
        assert torch.equal(ours, other), "nor ratios after the end that overflow"


@pytest.mark.parametrize("estimator", ["naive", "lvc", "dice"])
def test_what_follows_an_end_does_not_enter(build_problem, estimator):
    problem, other = (build_problem(estimator=estimator, num_inner_steps=2, learned_rates="tensor") for _ in range(2))
    for trajectory in other.trajectories:
        over = trajectory.mask == 0
        trajectory.action[over] += 3.0
        trajectory.obs[over] -= 2.0
    for one in (problem, other):
        one.algorithm.update(one.trajectories)
    torch.testing.assert_close(other.algorithm.meta, problem.algorithm.meta, rtol=1e-9, atol=1e-12)


# --- Adam --------------------------------------------------------------------------------------------------------


def plain_adam(problem, outer, meta):
    """Meta-parameters after one update by torch's Adam, and the inner KL there."""
    leaf = meta.clone().requires_grad_()
    adam = torch.optim.Adam([leaf], outer.outer_lr)
    clip = outer.clip if outer.objective == "clip" else None
    for _ in range(outer.num_outer_steps):
        leaf.grad = outer_gradient(problem, leaf, clip=clip, inner_kl_coef=outer.inner_kl_coef) / 3
        adam.step()
    return leaf.detach()


@pytest.mark.parametrize(
    "outer",
    [AdamConfig("vpg", 0.01, 1), AdamConfig(num_outer_steps=1), AdamConfig(outer_lr=0.03, clip=0.1),
     AdamConfig(outer_lr=0.03, num_outer_steps=3, inner_kl_coef=0.5)],
    ids=["vpg", "one step", "ppo", "promp"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["none", "parameter"])
def test_an_update_equals_torch_adam_on_plain_gradients(build_problem, outer, kind):
    problem = build_problem(outer=outer, learned_rates=kind, **PROMP)
    algorithm = problem.algorithm
    start = algorithm.meta.clone()
    expected = plain_adam(problem, outer, start)
    surrogate, kl, inner = (float(x.detach()) / 3 for x in outer_loss(problem, expected.clone().requires_grad_()))
    norm = float(outer_gradient(problem, start).norm()) / 3
    metrics = algorithm.update(problem.trajectories)
    assert relative(algorithm.meta - start, expected - start) < 1e-6
    assert metrics["grad_norm"] == pytest.approx(norm)
    assert (metrics["loss"], metrics["kl"]) == pytest.approx((surrogate, kl), rel=1e-6)
    if outer.inner_kl_coef:
        assert (metrics["inner_kl"], metrics["inner_kl_coef"]) == pytest.approx((inner, 0.5), rel=1e-6)
    else:
        assert "inner_kl" not in metrics


def test_adam_remembers_its_moments_from_update_to_update_and_in_a_state(build_problem):
    outer = AdamConfig(outer_lr=0.01, inner_kl_coef=0.1, target_inner_kl=1.0)
    straight, stopped, forgetful = (build_problem(outer=outer, **PROMP) for _ in range(3))
    for problem in (straight, stopped):
        problem.algorithm.update(problem.trajectories)
    state = stopped.algorithm.state_dict()
    fresh = build_problem(outer=outer, **PROMP)
    fresh.algorithm.load_state_dict(state)
    forgetful.algorithm.meta = stopped.algorithm.meta
    metrics = [p.algorithm.update(p.trajectories) for p in (straight, fresh, forgetful)]
    assert torch.equal(straight.algorithm.meta, fresh.algorithm.meta)
    assert metrics[0] == metrics[1]
    assert not torch.equal(straight.algorithm.meta, forgetful.algorithm.meta)


def test_the_weight_of_the_inner_kl_doubles_above_its_target_and_halves_below(build_problem):
    def weights(target):
        outer = AdamConfig(outer_lr=0.02, inner_kl_coef=0.1, target_inner_kl=target)
        problem = build_problem(outer=outer, **PROMP)
        return [problem.algorithm.update(problem.trajectories) for _ in range(3)]

    coefs = {target: [m["inner_kl_coef"] for m in weights(target)] for target in (0.0, 1e-9, 1e5)}
    assert coefs == {0.0: [0.1] * 3, 1e-9: [0.1, 0.2, 0.4], 1e5: [0.1, 0.05, 0.025]}
    reached = weights(0.0)[0]["inner_kl"]
    assert [m["inner_kl_coef"] for m in weights(reached)[:2]] == [0.1, 0.1], "within the factor of 1.5 it stays"


def test_a_stronger_penalty_keeps_the_inner_policies_closer(build_problem):
    free, held = (build_problem(outer=AdamConfig(outer_lr=0.02, inner_kl_coef=coef), **PROMP) for coef in (1e-9, 100.0))
    inner = [p.algorithm.update(p.trajectories)["inner_kl"] for p in (free, held)]
    assert 0 < inner[1] < 0.5 * inner[0]


# --- All methods -------------------------------------------------------------------------------------------------

METHODS = {
    "trpo": {"outer": TRPOConfig()},
    "first-order": {"estimator": "first-order"},
    "lvc": {"estimator": "lvc"},
    "dice": {"estimator": "dice"},
    "vpg": {"outer": AdamConfig("vpg", 0.01, 1)},
    "ppo": {"outer": AdamConfig(outer_lr=0.01)},
    "promp": {"estimator": "lvc", "outer": AdamConfig(outer_lr=0.01, inner_kl_coef=0.1)},
    "meta-sgd": {"learned_rates": "parameter"},
    "value": {"baseline": "value", "entropy_coef": 0.01},
}


@pytest.mark.parametrize("method", METHODS)
def test_groups_of_tasks_change_an_update_by_rounding_alone(build_problem, monkeypatch, method):
    whole, split = (build_problem(num_inner_steps=2, **METHODS[method]) for _ in range(2))
    start = whole.algorithm.meta.clone()
    first = whole.algorithm.update(whole.trajectories)
    monkeypatch.setattr("metarl.learning.rollout.CHUNK_STEPS", 1)
    second = split.algorithm.update(split.trajectories)
    assert float((whole.algorithm.meta - start).norm()) > 1e-3
    assert relative(split.algorithm.meta - start, whole.algorithm.meta - start) < 1e-6
    assert second == pytest.approx(first, rel=1e-6)


# --- Nonsense ----------------------------------------------------------------------------------------------------

NONSENSE = {
    "several steps of a policy gradient": (lambda: AdamConfig("vpg"), "set num_outer_steps to 1"),
    "objective": (lambda: AdamConfig("clp"), "Unknown objective 'clp'. Did you mean 'clip'?"),
    "a target without a weight": (lambda: AdamConfig(target_inner_kl=0.01), "must then start above 0, such as 5e-4"),
    "a weight that cannot act": (lambda: AdamConfig("vpg", 0.01, 1, inner_kl_coef=1.0), "from the second outer step"),
    "outer_lr": (lambda: AdamConfig(outer_lr=-1.0), "outer_lr must lie in [0, 1e6], not -1.0"),
    "clip": (lambda: AdamConfig(clip=math.nan), "clip must lie in [0, 1e6], not nan"),
    "no outer steps": (lambda: AdamConfig(num_outer_steps=0), "num_outer_steps must be at least 1, not 0"),
    "max_kl": (lambda: TRPOConfig(max_kl=math.inf), "max_kl must be a number of at least 0, not inf"),
    "no cg": (lambda: TRPOConfig(cg_iterations=0), "cg_iterations must be at least 1, not 0"),
    "inner_lr": (lambda: MAMLConfig(inner_lr=-0.1), "inner_lr must be a number of at least 0, not -0.1"),
    "learned from below 0": (lambda: MAMLConfig(inner_lr=-0.1, learned_rates="tensor"), "inner_lr must be a number"),
    "no inner steps": (lambda: MAMLConfig(num_inner_steps=0), "num_inner_steps must be at least 1, not 0"),
    "entropy": (lambda: MAMLConfig(entropy_coef=-1.0), "entropy_coef must be a number of at least 0"),
    "no epochs": (lambda: MAMLConfig(value_epochs=0), "value_epochs must be at least 1, not 0"),
    "estimator": (lambda: MAMLConfig(estimator="dise"), "Unknown estimator 'dise'. Did you mean 'dice'?"),
    "learned_rates": (lambda: MAMLConfig(learned_rates="all"), "Unknown learned_rates 'all'"),
    "outer_scale": (lambda: MAMLConfig(outer_scale="tasks"), "Did you mean 'task'?"),
    "baseline": (lambda: MAMLConfig(baseline="lineal"), "Did you mean 'linear'?"),
}


@pytest.mark.parametrize("case", NONSENSE)
def test_nonsense_is_refused_in_one_line(case, sentence):
    make, words = NONSENSE[case]
    with pytest.raises(InputError) as error:
        make()
    assert words in sentence(error)


def test_rates_may_be_learned_from_0(build_problem):
    """The first policies are then those before adaptation, and the gradient moves the rates."""
    problem = build_problem(inner_lr=0.0, learned_rates="tensor", outer=AdamConfig("vpg", 0.01, 1))
    size = problem.policy.num_parameters
    problem.algorithm.update(problem.trajectories)
    assert torch.all(problem.algorithm.meta[size:] != 0)
