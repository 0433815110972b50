"""The registry: what a name gives, and what a wrong name is told."""

import dataclasses
from dataclasses import dataclass

import gymnasium
import pytest
import torch
from lines import Line, LineConfig

import envs
from envs.point import PRESETS, Point, PointConfig


def test_make_takes_the_first_preset_by_default():
    env = envs.make("point")
    assert isinstance(env, Point) and env.config == PRESETS["finn2017"] == next(iter(PRESETS.values()))


def test_make_replaces_single_fields_of_a_preset():
    env = envs.make("point", preset="semicircle", horizon=7)
    assert env.config == dataclasses.replace(PRESETS["semicircle"], horizon=7) and env.horizon == 7
    assert PRESETS["semicircle"].horizon == 20


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: envs.make("piont"), "Unknown environment 'piont'. Did you mean 'point'?"),
        (lambda: envs.make("point", preset="fin2017"), "Unknown preset of 'point' 'fin2017'. Did you mean 'finn2017'?"),
        (lambda: envs.make("point", preset=3), "Unknown preset of 'point' 3. Known: finn2017,"),
        (lambda: envs.make("point", horizn=3), "Unknown field of 'point' 'horizn'. Did you mean 'horizon'?"),
        (lambda: envs.make("point", horizon=0), "horizon"),
        (lambda: envs.make("point", horizon="5"), "horizon"),
        (lambda: envs.make("point", horizon=5.5), "horizon"),
        (lambda: envs.make("point", horizon=True), "horizon"),
        (lambda: envs.make("point", reward=1), "reward"),
        (lambda: envs.make("point", reward="dense"), "reward"),
        (lambda: envs.make("point", goals="disc"), "goals"),
        (lambda: envs.make("point", goal_scale=float("nan")), "goal_scale"),
        (lambda: envs.make("point", goal_scale=1.5), "goal_scale"),
        (lambda: envs.make("point", max_step=0.0), "max_step"),
        (lambda: envs.make("point", goal_tolerance=-1.0), "goal_tolerance"),
        (lambda: envs.make("point", device="gpu"), "Unknown device 'gpu'; use 'cpu' or 'cuda'."),
    ],
)
def test_a_wrong_input_is_answered_in_one_sentence(call, said):
    with pytest.raises(envs.InputError) as caught:
        call()
    message = str(caught.value)
    assert said in message and message.endswith(".") and "\n" not in message


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_without_cuda_is_refused():
    with pytest.raises(envs.InputError, match="no CUDA device here; use 'cpu'"):
        envs.make("point", device="cuda")


def test_a_whole_number_may_stand_for_a_float():
    assert envs.make("point", goal_scale=1).config.goal_scale == 1


@dataclass(frozen=True)
class OtherConfig:
    size: int = 1


def test_an_id_belongs_to_one_class(monkeypatch):
    with pytest.raises(envs.InputError, match="'point' is already taken"):
        envs.register("point", lambda config, device: None, {"a": OtherConfig()})
    monkeypatch.setattr(envs.registry, "FAMILIES", dict(envs.FAMILIES))
    envs.register("point", Point, {"only": PointConfig(horizon=3)})
    assert envs.registry.make("point").horizon == 3
    with pytest.raises(envs.InputError, match="needs at least one preset"):
        envs.register("new", Point, {})


def test_gymnasium_ids_follow_from_the_family_id(monkeypatch):
    monkeypatch.setattr(envs.registry, "FAMILIES", {})
    monkeypatch.setattr(gymnasium.envs.registration, "registry", dict(gymnasium.registry))
    monkeypatch.setattr(gymnasium, "registry", gymnasium.envs.registration.registry)
    envs.register("two-words", Point, {"short": PointConfig(horizon=3)})
    env = gymnasium.make("metarl/TwoWords-v0")
    assert env.unwrapped.lanes.env.horizon == 3


def test_every_family_is_registered_with_gymnasium():
    assert envs.FAMILIES
    for family in envs.FAMILIES.values():
        spec = gymnasium.spec(family.gym_id)
        assert spec.max_episode_steps is None, "the horizon is the environment's own; no TimeLimit"
        assert spec.vector_entry_point


@pytest.mark.parametrize("presets", [{"a": LineConfig}, {"a": {"horizon": 5}}, {"a": LineConfig(), "b": PointConfig()}])
def test_presets_are_objects_of_one_dataclass(presets, sentence):
    with pytest.raises(envs.InputError) as error:
        envs.register("new-line", Line, presets)
    assert "The presets of the family 'new-line' must be objects of one dataclass" in sentence(error)
    assert "new-line" not in envs.FAMILIES
