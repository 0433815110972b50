"""SB3's PPO as a method: what it collects, learns from and leaves alone; stopping and going on; evaluation."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from bits import bits
from stable_baselines3.common.evaluation import evaluate_policy
from torch import Generator

import envs
from envs import InputError
from metarl.algorithms.base import Stages
from metarl.algorithms.maml import MAMLConfig
from metarl.algorithms.sb3_learner import global_streams
from metarl.algorithms.sb3_ppo import SB3PPO, SB3PPOConfig
from metarl.backend.errors import NonFiniteError
from metarl.policies.mlp import MLPConfig
from metarl.training.config import to_dict
from metarl.training.loop import train, train_iteration
from metarl.training.run import Run


def build(family="point", env_fields=None, seed=0, **config) -> SimpleNamespace:
    env = envs.make(family, **({"horizon": 12} if family == "point" else {}), **(env_fields or {}))
    generator = Generator().manual_seed(seed)
    algorithm = SB3PPO(SB3PPOConfig(**config), env, MLPConfig((8,)), generator)
    return SimpleNamespace(env=env, algorithm=algorithm, generator=generator, task=env.sample_tasks(3, generator))


def collect(p, num_envs=4):
    return p.algorithm.collect(p.env, p.task, num_envs, p.generator)[0]


def play(p, num_steps, keep_states=False, seed=5, task=None, num_envs=4):
    generator = Generator().manual_seed(seed)
    return p.algorithm.play(p.env, num_envs, generator, Stages(num_steps))(
        p.task if task is None else task, keep_states
    )


def test_most_probable_actions_are_refused():
    p = build()
    with pytest.raises(InputError, match="--greedy"):
        p.algorithm.play(p.env, 4, p.generator, Stages(0), greedy=True)


def vectors(algorithm):
    """Everything that training changes."""
    return bits(algorithm.state_dict())


# --- Experience --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("informed", [False, True])
def test_a_trajectory_holds_the_episodes_that_the_tasks_ask_for(informed):
    """Moves are known in Point, and so are rewards: of the right task, unscaled, and without SB3's bootstrap."""
    p = build(env_fields={"goal_tolerance": 0.25}, informed=informed, reward_scale=0.1)
    t = collect(p)
    assert t.obs.shape == (3, 12, 4, 4 if informed else 2) and t.action.shape == (3, 12, 4, 2)
    position = t.obs[..., :2] + p.env.config.max_step * t.action.clamp(-1, 1)
    offset = position - p.task.goal[:, None, None]
    reached = offset.abs().amax(-1) < 0.25
    alive = torch.cat([torch.ones(3, 1, 4), 1 - (reached.float().cumsum(1)[:, :-1] > 0).float()], 1)
    assert int((alive == 0).sum()) > 0, "some episodes should end early"
    assert torch.equal(t.mask, alive)
    torch.testing.assert_close(t.reward, -offset.square().sum(-1) * alive, rtol=0, atol=1e-6)
    assert torch.equal(t.first.nonzero()[:, 1].unique(), torch.tensor([0])) and t.first.sum() == 12
    moved = t.mask[:, 1:, :, None] > 0
    torch.testing.assert_close(
        torch.where(moved, t.obs[:, 1:, :, :2] - position[:, :-1], 0.0), torch.zeros(3, 11, 4, 2)
    )
    if informed:
        assert torch.equal(t.obs[..., 2:], p.task.goal[:, None, None].expand(-1, 12, 4, -1))
    learned = torch.as_tensor(p.algorithm.learning.model.rollout_buffer.rewards).unflatten(1, (3, 4)).transpose(0, 1)
    running = alive[:, :-1] > 0  # the last step holds the bootstrap
    torch.testing.assert_close(learned[:, :-1][running], 0.1 * t.reward[:, :-1][running])
    assert (learned[:, :-1][~running] != 0).all(), "a lane goes on after an early end, and PPO learns from it"


def test_discrete_actions_and_their_rewards():
    p = build("bernoulli-bandit")
    t = collect(p, 200)
    assert t.action.shape == t.reward.shape == (3, 10, 200) and t.action.dtype == torch.int64
    assert (t.mask == 1).all() and set(t.reward.unique().tolist()) == {0.0, 1.0}
    for n in range(3):
        for arm in range(5):
            assert float(t.reward[n][t.action[n] == arm].mean()) == pytest.approx(float(p.task.mean[n, arm]), abs=0.1)


def test_states_for_a_video_are_those_of_the_episodes():
    p = build(env_fields={"goal_tolerance": 0.25}, informed=True)
    stages = play(p, 2, keep_states=True)
    assert len(stages) == 3
    ended = 0
    for t in stages:
        position = t.states.position[:, 0]  # [N, T + 1, E, 2]
        assert position.shape == (3, 13, 4, 2)
        after = t.obs[..., :2] + p.env.config.max_step * t.action.clamp(-1, 1)
        seen = t.mask[..., None] > 0
        assert torch.equal(torch.where(seen, position[:, :-1], 0.0), torch.where(seen, t.obs[..., :2], 0.0))
        torch.testing.assert_close(torch.where(seen, position[:, 1:], 0.0), torch.where(seen, after, 0.0))
        ended += int((t.mask == 0).sum())
    assert ended > 0, "the last state of an episode that ends early should be its own"


@pytest.mark.parametrize(("family", "tolerance"), [("point", 0.25), ("bernoulli-bandit", None)])
def test_their_evaluation_of_the_same_policy_gives_the_same_returns(family, tolerance):
    """`evaluate_policy` with the same seeds as the first stage of `play`: the same actions, episodes and returns."""
    p = build(family, {} if tolerance is None else {"goal_tolerance": tolerance})
    mine = play(p, 0, seed=3, task=p.task[:1], num_envs=20)[0]
    generator = Generator().manual_seed(3)
    with global_streams(generator):
        learner = p.algorithm.learner(p.env, p.task[:1], 20, generator, finetune=True)
        returns, lengths = evaluate_policy(
            learner.model, learner.model.env, 20, deterministic=False, return_episode_rewards=True, warn=False
        )
    order = mine.mask[0].sum(0).argsort(stable=True)
    assert lengths == mine.mask[0].sum(0)[order].tolist()
    np.testing.assert_allclose(returns, mine.returns[0][order], rtol=1e-6)
    assert len(set(returns)) > 3


# --- Learning ----------------------------------------------------------------------------------------------------


def test_an_update_changes_the_policy_and_says_what_it_did():
    p = build()
    start = p.algorithm.params.clone()
    metrics = p.algorithm.update([collect(p)])
    assert metrics.keys() == {"value_loss", "entropy", "kl", "value_explained"}
    assert all(np.isfinite(x) for x in metrics.values()) and metrics["kl"] > 0
    assert p.algorithm.params.isfinite().all() and not torch.equal(p.algorithm.params, start)
    moments = p.algorithm.state_dict()["optimizer"]["state"][0]
    assert moments["step"] == 4 * 3  # passes, and minibatches of at least 64 of 144 steps


def test_the_policy_is_what_the_configuration_says():
    env = envs.make("point", horizon=5)
    config = MLPConfig((7, 5), "relu", 0.5)
    policy = SB3PPO(SB3PPOConfig(), env, config, Generator().manual_seed(0)).state_dict()["policy"]
    assert policy["log_std"].exp().tolist() == pytest.approx([0.5, 0.5])
    assert policy["mlp_extractor.policy_net.2.weight"].shape == (5, 7)
    algorithm = SB3PPO(SB3PPOConfig(informed=True), env, config, Generator().manual_seed(0))
    assert algorithm.state_dict()["policy"]["mlp_extractor.policy_net.0.weight"].shape == (7, 4)
    learner = algorithm.learner(env, env.sample_tasks(1, Generator()), 2, Generator())
    assert learner.model.policy.activation_fn is torch.nn.ReLU


def test_fine_tuning_does_not_touch_what_was_trained():
    """Adam's moments are tensors that a copy must not share."""
    p = build()
    p.algorithm.update([collect(p)])
    before = vectors(p.algorithm)
    first = play(p, 2)
    assert vectors(p.algorithm) == before
    again = play(p, 2)
    assert all(torch.equal(a.reward, b.reward) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0].reward, play(p, 0, seed=6)[0].reward)


def test_each_task_is_fine_tuned_alone_and_one_after_another():
    """Tasks by twos or one by one are the same, when the random numbers go on."""
    p = build()
    together, generator = play(p, 2), Generator().manual_seed(5)
    with global_streams(generator):
        rows = [p.algorithm._play_task(p.env, p.task[n : n + 1], 4, generator, 2, False) for n in range(3)]
    for k, stage in enumerate(together):
        assert torch.equal(stage.action, torch.cat([row[k].action for row in rows]))


@pytest.mark.parametrize("work", ["make", "collect", "update", "play"])
def test_the_global_random_streams_go_on_as_if_nothing_had_happened(work):
    p = build()
    if work == "update":
        collect(p)
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002
    expected = torch.rand(3), np.random.rand(3)  # noqa: NPY002
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002
    {
        "make": build,
        "collect": lambda: collect(p),
        "update": lambda: p.algorithm.update([]),
        "play": lambda: play(p, 1),
    }[work]()
    assert torch.equal(torch.rand(3), expected[0]) and (np.random.rand(3) == expected[1]).all()  # noqa: NPY002


def test_a_seed_fixes_the_run_whatever_else_draws(make_run):
    runs = []
    for name, noise in (("a", 1), ("b", 2), ("c", 1)):
        torch.manual_seed(noise)
        np.random.seed(noise)  # noqa: NPY002
        run = make_run(name, algorithm=SB3PPOConfig(), num_iterations=2, seed=int(name == "c"))
        train(run, quiet=True)
        runs.append(vectors(run.algorithm))
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("informed", [False, True])
def test_a_stopped_run_goes_on_to_the_bit(make_run, informed):
    settings = {"algorithm": SB3PPOConfig(informed=informed), "num_iterations": 4}
    whole, run = make_run("whole", **settings), make_run("stopped", **settings)
    train(whole, quiet=True)
    untouched = bits(run.state_dict())
    with pytest.raises(ZeroDivisionError), run.undone_on_error():
        train_iteration(run)
        assert bits(run.state_dict()) != untouched
        _ = 1 / 0
    assert bits(run.state_dict()) == untouched
    for _ in range(2):
        run.log(train_iteration(run))
    run.save()
    again = Run.open(run.path)
    assert again.config == run.config and bits(again.state_dict()) == bits(run.state_dict())
    train(again, quiet=True)
    assert bits(again.state_dict()) == bits(whole.state_dict())


def test_a_checkpoint_of_another_network_is_refused(make_run, sentence):
    run = make_run(algorithm=SB3PPOConfig())
    run.save()
    config = json.loads((run.path / "config.json").read_text())
    for field, value, words in (
        ("algorithm", SB3PPOConfig(informed=True), "has the shape [4, 2], and here [4, 4] is right"),
        ("policy", MLPConfig((4, 4)), "it is a checkpoint of another kind of policy"),
        ("algorithm", MAMLConfig(), "the field 'params' is missing"),
    ):
        fields = {"kind": type(value).__name__, **to_dict(value)}
        changed = {**config, "train": {**config["train"], field: fields}}
        (run.path / "config.json").write_text(json.dumps(changed))
        with pytest.raises(InputError) as error:
            Run.open(run.path)
        assert words in sentence(error)


def test_steps_that_are_too_large_end_in_one_sentence(make_run, sentence):
    run = make_run(algorithm=SB3PPOConfig(lr=1e6, max_grad_norm=1e6, epochs=30, finetune_lr=1e6, finetune_epochs=30))
    before = bits(run.state_dict())
    task = run.env.sample_tasks(1, Generator().manual_seed(0))
    with pytest.raises(NonFiniteError) as error:
        for _ in range(20):
            with run.undone_on_error():
                before = bits(run.state_dict())
                train_iteration(run)
    assert "not finite" in sentence(error)
    assert bits(run.state_dict()) == before
    with pytest.raises(NonFiniteError) as error:
        run.algorithm.play(run.env, 4, Generator().manual_seed(0), Stages(20))(task, False)
    assert "a smaller finetune_lr may help" in sentence(error)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("epochs", 0, "epochs must be at least 1"),
        ("minibatches", 0, "minibatches must be at least 1"),
        ("finetune_epochs", -1, "finetune_epochs must be at least 1"),
        ("lr", 0.0, "lr must be above 0 and at most"),
        ("finetune_lr", float("nan"), "finetune_lr must be above 0 and at most"),
        ("reward_scale", -1.0, "reward_scale must be above 0 and at most"),
        ("gamma", 1.1, "gamma must be at least 0 and at most"),
        ("entropy_coef", float("inf"), "entropy_coef must be at least 0"),
    ],
)
def test_nonsense_is_refused_in_one_line(field, value, words, sentence):
    with pytest.raises(InputError) as error:
        SB3PPOConfig(**{field: value})
    assert words in sentence(error)


@pytest.mark.slow
def test_it_learns_the_oracle_is_better_and_fine_tuning_helps():
    """Goals on a half circle: the mean of all tasks is to walk up; told the goal, one walks there."""
    env, end = envs.make("point", preset="semicircle"), {}
    for informed in (False, True):
        generator = Generator().manual_seed(0)
        config = SB3PPOConfig(informed=informed, lr=1e-2, epochs=5, minibatches=8, clip=0.4, finetune_lr=1e-2)
        algorithm = SB3PPO(config, env, MLPConfig((32,), init_std=0.5), generator)
        returns = []
        for _ in range(7):
            trajectories = algorithm.collect(env, env.sample_tasks(20, generator), 10, generator)
            returns.append(float(trajectories[0].returns.mean()))
            algorithm.update(trajectories)
        assert sum(returns[-3:]) / 3 > returns[0] + 2
        task = env.sample_tasks(6, envs.task_generator(0, "test"), "test")
        stages = algorithm.play(env, 20, generator, Stages(0 if informed else 3))(task, False)
        end[informed] = [float(stage.returns.mean()) for stage in stages]
    assert end[True][0] > end[False][0] + 2
    assert end[False][-1] > end[False][0] + 1.5


# --- The scripts -------------------------------------------------------------------------------------------------

TINY = ["--meta-batch-size", 2, "--num-envs", 3, "--eval-num-envs", 4, "--hidden-sizes", 4, "--env.horizon", 5]


@pytest.mark.slow
def test_from_training_to_a_comparison(script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for preset, iterations in (("maml", 2), ("sb3-ppo", 2), ("sb3-ppo-informed", 2), ("sb3-ppo-scratch", 0)):
        result = script("train", f"{preset}-point", "--num-iterations", iterations, "--run-dir", preset, *TINY)
        assert (result.status, result.err) == (0, "")
        assert f"{preset}: {iterations} of {iterations} iterations" in result.out
        assert f"Next: metarl evaluate {preset}" in result.out
        result = script("evaluate", preset, "--num-tasks", 3, "--num-steps", 2)
        assert (result.status, result.err) == (0, "") and "after 2 steps" in result.out
        e = json.loads((tmp_path / preset / "evaluation-test.json").read_text())
        assert (e["iteration"], np.shape(e["per_task"])) == (iterations, (3, 3))
        assert e["env_steps"] == iterations * 2 * 3 * 5 * (2 if preset == "maml" else 1)
    result = script("compare", "maml", "sb3-ppo", "sb3-ppo-informed", "sb3-ppo-scratch")
    assert (result.status, result.err) == (0, "")
    numbers = json.loads((tmp_path / "compare.json").read_text())
    assert [m["method"] for m in numbers["methods"]] == ["maml", "sb3-ppo", "sb3-ppo-informed", "sb3-ppo-scratch"]
    assert "of its" not in " ".join(numbers["notes"]), "a run of no iterations is complete"
    result = script("train", "--resume", "sb3-ppo-scratch")
    assert result.status == 0 and "has done its 0 iterations already" in result.out
    assert Run.open(tmp_path / "sb3-ppo-scratch").iteration == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA")
@pytest.mark.parametrize("informed", [False, True])
def test_it_runs_on_a_gpu(informed):
    device = torch.device("cuda")
    env, generator = envs.make("point", horizon=12, device=device), Generator(device).manual_seed(0)
    algorithm = SB3PPO(SB3PPOConfig(informed=informed), env, MLPConfig((8,)), generator)
    task = env.sample_tasks(3, generator)
    trajectory = algorithm.collect(env, task, 4, generator)[0]
    assert trajectory.reward.device.type == algorithm.params.device.type == "cuda"
    start = algorithm.params.clone()
    algorithm.update([trajectory])
    assert algorithm.params.isfinite().all() and not torch.equal(algorithm.params, start)
    runs = [algorithm.play(env, 4, Generator(device).manual_seed(1), Stages(1))(task, False)[1] for _ in range(2)]
    assert torch.equal(runs[0].action, runs[1].action)
