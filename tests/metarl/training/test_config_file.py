"""config.json: what is wrong with a damaged one is said in one sentence."""

from __future__ import annotations

import json

import pytest

import envs
from envs import InputError
from metarl.algorithms.recurrent_ppo import RecurrentPPOConfig
from metarl.policies.rl2 import RL2Config
from metarl.training.config import TrainConfig
from metarl.training.run import Run


def edit(**train):
    return lambda text: json.dumps({**json.loads(text), "train": {**json.loads(text)["train"], **train}})


def without(*names, of=None):
    def cut(text):
        description = json.loads(text)
        fields = description["train"][of] if of else description["train"]
        for name in names:
            del fields[name]
        return json.dumps(description)

    return cut


def nested(depth: int) -> list:
    out: list = []
    for _ in range(depth):
        out = [out]
    return out


DAMAGE = {
    "empty": (lambda text: "", "is damaged: it is not JSON"),
    "cut short": (lambda text: text[: len(text) // 2], "is damaged: it is not JSON"),
    "binary": (lambda text: b"\xff\xfe\x00\x81", "is damaged: it is not JSON"),
    "a list": (lambda text: "[1, 2]", "it is not a JSON object"),
    "a number": (lambda text: "3", "it is not a JSON object"),
    "no fields": (lambda text: "{}", "is missing"),
    "train is a list": (lambda text: '{"preset": "x", "train": [], "env": {"config": {}}}', "damaged"),
    "unknown field": (edit(momentum=0.9), "Unknown field of TrainConfig 'momentum'"),
    "unknown nested field": (
        lambda text: text.replace('"activation"', '"depth"'),
        "Unknown field of MLPConfig 'depth'",
    ),
    "unknown kind": (edit(algorithm={"kind": "PPOConfig"}), "Unknown kind of algorithm 'PPOConfig'"),
    "unknown nested kind": (lambda text: text.replace("TRPOConfig", "SGDConfig"), "Unknown kind of outer 'SGDConfig'"),
    "a kind of another field": (
        edit(policy={"kind": "AdamConfig", "clip": 0.1}),
        "Unknown kind of policy 'AdamConfig'",
    ),
    "a kind that is none": (edit(algorithm={"kind": ["MAMLConfig"]}), "damaged"),
    "an algorithm that is none": (edit(algorithm="MAML"), "algorithm must be of type MAMLConfig or"),
    "a field of another kind": (
        edit(algorithm={"kind": "ReptileConfig", "estimator": "lvc"}),
        "Unknown field of ReptileConfig 'estimator'",
    ),
    "a method before its kinds": (
        edit(algorithm={"inner_lr": 0.1, "first_order": False, "max_kl": 0.01}),
        "damaged or of another version: algorithm lacks 'kind';",
    ),
    "wrong type": (edit(num_envs="many"), "num_envs must be of type int, not 'many'"),
    "a fraction of a task": (edit(meta_batch_size=2.5), "meta_batch_size must be of type int, not 2.5"),
    "a truth for a number": (edit(meta_batch_size=True), "meta_batch_size must be of type int, not True"),
    "deeply nested": (lambda text: "[" * 100_000, "is damaged: it is not JSON, or too deeply nested"),
    "deeply nested field": (edit(policy=nested(200)), "policy must be of type"),
    "missing fields": (without("meta_batch_size", "num_envs"), "TrainConfig lacks 'meta_batch_size', 'num_envs';"),
    "missing nested field": (without("inner_lr", of="algorithm"), "MAMLConfig lacks 'inner_lr';"),
    "missing kind": (without("kind", of="policy"), "policy lacks 'kind';"),
    "missing environment field": (
        lambda text: text.replace('"horizon": 5', '"goal_scale": 1.0'),
        "PointConfig lacks 'horizon';",
    ),
    "a preset that is none": (lambda text: text.replace('"maml-point"', "3"), "the preset is 3"),
    "impossible": (edit(meta_batch_size=0), "meta_batch_size must be at least 1"),
    "null": (edit(num_envs=None), "damaged"),
    "unknown preset": (edit(env_preset="finn2016"), "Did you mean 'finn2017'"),
    "unknown family": (edit(env="plane"), "'plane', which is not registered"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_config_is_named_in_one_sentence(make_run, case, sentence):
    run = make_run()
    spoil, words = DAMAGE[case]
    file = run.path / "config.json"
    content = spoil(file.read_text())
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as error:
        Run.open(run.path)
    assert words in sentence(error)


def test_a_run_from_before_a_field_is_read_with_what_it_was_made_with(make_run):
    run = make_run()
    file = run.path / "config.json"
    config = json.loads(file.read_text())
    for part, names in (("algorithm", ("inner_scale", "adapt", "outer_stages")), ("policy", ("context_size",))):
        for name in names:
            del config["train"][part][name]
    file.write_text(json.dumps(config))
    assert Run.open(run.path).config == run.config


@pytest.mark.parametrize(("see_state", "head"), [(None, "plain"), (False, "plain"), (True, "state")])
def test_a_run_from_before_rl2_had_several_cells_is_that_of_a_gru(tmp_path, see_state, head):
    config = TrainConfig(policy=RL2Config(9, head=head), algorithm=RecurrentPPOConfig())
    run = Run(tmp_path / "run", "rl2-point", config, envs.make_config("point"))
    run.create()
    run.save()
    file = run.path / "config.json"
    description = json.loads(file.read_text())
    old = {
        "kind": "GRUConfig",
        "hidden_size": 9,
        "init_std": 1.0,
        **({} if see_state is None else {"see_state": see_state}),
    }
    description["train"]["policy"] = old
    file.write_text(json.dumps(description))
    again = Run.open(run.path)
    assert again.config == config and again.algorithm.params.equal(run.algorithm.params)


def test_what_is_no_run_folder(tmp_path, sentence):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for name, words in (("none", "There is no run folder"), ("file", "no run folder"), ("empty", "no config.json")):
        with pytest.raises(InputError) as error:
            Run.open(tmp_path / name)
        assert words in sentence(error)
