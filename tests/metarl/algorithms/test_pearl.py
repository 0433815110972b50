"""PEARL: what its losses train, on which tasks, and that it learns, stops and resumes."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from bits import bits, metrics
from lines import Line, LineConfig
from torch import Generator

import envs
from envs import InputError
from metarl.algorithms.pearl import METRICS, PEARL, PEARLConfig
from metarl.policies.mlp import MLPConfig
from metarl.training.loop import train, train_iteration
from metarl.training.presets import preset
from metarl.training.run import Run

SMALL = PEARLConfig(
    num_train_tasks=6, num_updates=3, update_tasks=4, batch_size=8, context_batch_size=8, encoder_sizes=(8,)
)


def make(config=SMALL, env=None, seed=0, **options):
    env = env or Line(LineConfig(), torch.device("cpu"))
    algorithm = PEARL(config, env, MLPConfig((16,), "relu"), Generator().manual_seed(seed), **options)
    return env, algorithm


def collected(config=SMALL, num_envs=1, **options):
    env, algorithm = make(config, **options)
    generator = Generator().manual_seed(1)
    algorithm.collect(env, env.sample_tasks(2, generator), num_envs, generator)
    return env, algorithm


def run_of(path, **fields):
    small = dataclasses.replace(SMALL, num_updates=4)
    config = dataclasses.replace(preset("pearl-point"), algorithm=small, policy=MLPConfig((16,), "relu"))
    config = dataclasses.replace(config, **{"num_iterations": 4, "meta_batch_size": 2, **fields})
    return Run(path, "pearl-point", config, envs.make_config("point", horizon=6))


def test_the_encoder_learns_from_the_critic_and_not_from_the_actor(monkeypatch):
    import metarl.algorithms.pearl as module

    _, algorithm = collected()
    reached = []

    def descend(optimizer, loss, parameters):
        encoder = list(algorithm.actor.encoder.parameters())
        gradients = torch.autograd.grad(loss, encoder, allow_unused=True, retain_graph=True)
        reached.append([g is not None and bool(g.any()) for g in gradients])

    monkeypatch.setattr(module, "descend", descend)
    monkeypatch.setattr(algorithm, "config", dataclasses.replace(SMALL, kl_coef=0.0))
    algorithm.step()
    critic, actor, temperature = reached
    assert all(critic) and not any(actor) and not any(temperature)


def test_a_step_moves_everything_that_training_learns_and_the_targets():
    _, algorithm = collected()
    before, target = algorithm.params.clone(), [x.clone() for x in algorithm.target.parameters()]
    found = algorithm.step()
    assert len(found) == len(METRICS) and found.isfinite().all() and not found.requires_grad
    moved = (algorithm.params != before).float().mean()
    assert moved > 0.5, "all but units that are never active"
    assert all(not torch.equal(a, b) for a, b in zip(target, algorithm.target.parameters(), strict=True))
    assert algorithm.log_alpha.item() != 0


def test_a_fixed_temperature_stays():
    _, algorithm = collected(dataclasses.replace(SMALL, tune_entropy=False, entropy_coef=0.3))
    algorithm.step()
    assert algorithm.log_alpha.exp().item() == pytest.approx(0.3)


def test_all_training_tasks_are_played_at_first_then_as_many_as_are_asked_for():
    env, algorithm = make()
    generator = Generator().manual_seed(1)
    (first,) = algorithm.collect(env, env.sample_tasks(2, generator), 2, generator)
    assert first.reward.shape == (6, 3 * env.horizon, 2)
    algorithm.update([first])
    (second,) = algorithm.collect(env, env.sample_tasks(2, generator), 2, generator)
    assert len(second) == 2
    written = (algorithm.replay.length > 0).sum(1)
    assert sorted(written.tolist()) == [6, 6, 6, 6, 12, 12]


def test_tasks_of_ones_own_are_trained_on(tmp_path):
    (tmp_path / "tasks.json").write_text(json.dumps([{"goal": [0.1 * k, 0.2]} for k in range(3)]))
    run = run_of(tmp_path / "run", train_tasks=str(tmp_path / "tasks.json"))
    assert torch.equal(run.algorithm.tasks.goal, run.train_tasks.goal) and len(run.algorithm.replay.length) == 3


def test_a_replay_that_is_too_small_is_refused(sentence):
    with pytest.raises(InputError) as error:
        collected(dataclasses.replace(SMALL, replay_episodes=5), num_envs=2)
    assert "replay_episodes" in sentence(error) and "6" in sentence(error)


def test_more_first_episodes_than_there_are_in_a_trial_are_refused(sentence):
    with pytest.raises(InputError) as error:
        dataclasses.replace(SMALL, prior_episodes=4)
    assert "prior_episodes" in sentence(error)


def test_a_target_entropy_that_is_no_number_is_refused(sentence):
    with pytest.raises(InputError) as error:
        PEARLConfig(target_entropy=float("nan"))
    assert "target_entropy" in sentence(error)


def test_several_processes_are_refused():
    with pytest.raises(InputError, match="one process"):
        dataclasses.replace(preset("pearl-point"), shards=2)


def test_gradient_steps_are_refused(sentence):
    with pytest.raises(InputError) as error:
        make()[1].stages(2)
    assert "--num-steps" in sentence(error)


def test_the_control_draws_z_as_on_another_task():
    env, algorithm = make()
    with torch.no_grad():
        algorithm.actor.policy[-1].weight.mul_(100)  # so that actions depend on z
    task = env.sample_tasks(3, Generator().manual_seed(2))
    (trial,) = algorithm.play(env, 2, Generator().manual_seed(3), algorithm.stages())(task, False)

    def control(other):
        play = algorithm.play_control(env, 2, Generator().manual_seed(3), trial, torch.tensor(other))
        return play(task, False)[0].action

    torch.testing.assert_close(control([0, 1, 2]), trial.action)
    changed = (control([1, 2, 0]) - trial.action).abs().amax((2, 3)) > 1e-5
    first = env.horizon  # whose z is of the prior
    assert not changed[:, :first].any() and changed[:, first:].any(1).all()


@pytest.mark.parametrize("sees_next", [False, True])
def test_its_posterior_over_a_trial_is_that_of_acting(sees_next):
    env, algorithm = make(dataclasses.replace(SMALL, next_obs_in_context=sees_next))
    task = env.sample_tasks(3, Generator().manual_seed(2))
    (trial,) = algorithm.play(env, 2, Generator().manual_seed(3), algorithm.stages())(task, False)
    rows = trial.map(lambda x: x.transpose(1, 2).flatten(0, 1))
    found = algorithm.belief(rows.inputs)
    assert found.shape == (6, 2, rows.reward.shape[1], 5)
    assert (found[:, 0, 0] == 0).all() and (found[:, 1, 0] == 1).all()
    k = env.horizon + 2
    past = [step for step in range(k) if not (sees_next and step == env.horizon - 1)]
    after = rows.obs.roll(-1, 1)[:, past]
    mean, variance = algorithm.actor.posterior(
        rows.obs[:, past], algorithm.actor.unit_action(rows.action[:, past]), rows.reward[:, past], after
    )
    torch.testing.assert_close(found[:, :, k], torch.stack([mean, variance.sqrt()], 1))


def test_a_hidden_body_is_inferred_from_next_observations():
    for name in ("hopper-params", "walker2d-params"):
        config = preset(f"pearl-{name}").algorithm
        assert isinstance(config, PEARLConfig) and config.next_obs_in_context
    config = preset("pearl-half-cheetah-vel").algorithm
    assert isinstance(config, PEARLConfig) and not config.next_obs_in_context


def test_it_resumes_to_the_bit_and_an_error_undoes_the_replay(tmp_path):
    whole, run = run_of(tmp_path / "whole"), run_of(tmp_path / "stopped")
    train(whole, quiet=True)
    with pytest.raises(KeyboardInterrupt):
        train(run, quiet=True, held_out=lambda run: {} if run.iteration < 2 else stop())
    again = Run.open(run.path)
    assert again.iteration == 1 and bits(again.state_dict()) == bits(run.state_dict())
    train(again, quiet=True)
    assert metrics(again) == metrics(whole) and bits(again.state_dict()) == bits(whole.state_dict())


def stop():
    raise KeyboardInterrupt


def test_a_checkpoint_brings_its_tasks():
    """Those that another device draws from the same seed are others."""
    (_, one), (_, other) = make(), make(seed=1)
    assert not torch.equal(one.tasks.place, other.tasks.place)
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.tasks.place, other.tasks.place)


def test_a_run_can_be_evaluated_with_another_horizon(tmp_path):
    run = run_of(tmp_path / "run", num_iterations=1)
    train(run, quiet=True)
    again = Run.open(run.path, options={"horizon": 9})
    play = again.algorithm.play(again.env, 1, Generator().manual_seed(0), again.algorithm.stages())
    assert play(again.env.sample_tasks(2, Generator()), False)[0].reward.shape == (2, 27, 1)


def test_another_runs_checkpoint_is_refused(tmp_path):
    run = run_of(tmp_path / "run")
    state = run.algorithm.state_dict()
    other = make()[1]
    with pytest.raises(ValueError, match="shape"):
        other.load_state_dict(state)


def test_it_learns_to_walk_to_a_place_that_it_infers():
    """On a line from 0 to a hidden place."""
    config = PEARLConfig(
        num_episodes=2,
        context_episodes=1,
        num_train_tasks=20,
        num_updates=150,
        batch_size=32,
        context_batch_size=10,
        encoder_sizes=(32,),
        lr=3e-3,
        gamma=0.9,
        tau=0.02,
        reward_scale=5.0,
        kl_coef=0.01,
    )
    env, algorithm = make(config)
    generator = Generator().manual_seed(1)
    for _ in range(4):
        algorithm.update(algorithm.collect(env, env.sample_tasks(10, generator), 2, generator))
    task = env.sample_tasks(200, generator, "validation")
    (trial,) = algorithm.play(env, 1, generator, algorithm.stages())(task, False)
    first, second = (episode.returns.mean().item() for episode in trial.episodes(env.horizon))
    assert second > first + 0.3


def test_the_entropy_that_is_logged_is_that_of_the_actions(tmp_path):
    run = run_of(tmp_path / "run")
    found = train_iteration(run)["entropy"]
    fresh = run_of(tmp_path / "fresh").algorithm.actor.act(torch.zeros(1, 2), torch.zeros(1, 5))
    assert found == pytest.approx(fresh.entropy().item(), abs=0.25)
