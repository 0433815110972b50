"""Recorded functions give what called ones give. On the CPU a recording repeats the first call's function on inputs at
fixed places, so that whatever a recording would miss shows here, too; on CUDA it is a graph."""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from waits import Waits

import envs
from envs.errors import InputError
from envs.structs import map_tensors
from metarl.algorithms.recurrent_ppo import RecurrentPPO
from metarl.backend.cuda_graphs import Graphs
from metarl.cli.session import TrainSession
from metarl.training.config import from_dict
from metarl.training.loop import train_iteration
from metarl.training.presets import preset
from metarl.training.run import Run

SMALL = {"meta_batch_size": 4, "num_envs": 3, "num_iterations": 6}


FEW = {"outer": {"cg_iterations": 3}}


NET = {"hidden_size": 8, "num_heads": 1, "key_size": 2, "code_size": 2, "num_slots": 2}


TRIALS = {"num_episodes": 3, "epochs": 2}


CASES = {
    "maml-point": {"algorithm": FEW},
    "maml-gridworld": {"shards": 2, "algorithm": FEW},
    "maml-tabular-mdp": {"algorithm": {"pretrain_iterations": 2, **FEW}},  # another number of inner steps on the way
    "maml-bandit": {"algorithm": {"baseline": "value", "value_epochs": 1, **FEW}},
    "meta-sgd-point": {"algorithm": {"outer": {"curvature_episodes": 2, "cg_iterations": 3}}},
    "promp-point": {"algorithm": {"outer": {"target_inner_kl": 1e-9}}},  # another coefficient in each iteration
    "maml-vpg-bandit": {},
    "reptile-gridworld": {},
    "metanet-gridworld": {"policy": NET, "algorithm": TRIALS},
    "metanet-bandit": {"shards": 2, "policy": NET, "algorithm": {"epochs": 2}},
    "meta-networks-point": {"policy": {"hidden_size": 8, "key_size": 2}, "algorithm": TRIALS},
    "meta-networks-bandit": {"shards": 2, "policy": {"hidden_size": 8, "key_size": 2}, "algorithm": {"epochs": 2}},
    "rl2-point": {"policy": {"hidden_size": 8}, "algorithm": TRIALS},
    "varibad-point": {"policy": {"hidden_size": 8, "model_updates": 2}, "algorithm": TRIALS},
}


class Places(TorchDispatchMode):
    """Notes where tensors lie that operations read and that none of them made."""

    def __init__(self, known):
        super().__init__()
        self.known, self.read, self.made, self.kept = known, set(), set(), []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for x in tensors((args, kwargs)):
            if (at := place(x)) not in self.made and at not in self.known:
                self.read.add(at)
        for x in tensors(result):
            if (at := place(x)) not in self.read:
                self.made.add(at)
            self.kept.append(x)  # so that no place is used twice
        return result


def tensors(held):
    if isinstance(held, torch.Tensor):
        yield held
    elif isinstance(held, list | tuple | dict):
        for x in held.values() if isinstance(held, dict) else held:
            yield from tensors(x)


def place(x):
    return x.untyped_storage().data_ptr()


class Steady(Graphs):
    """Calls functions and checks that all they read, but inputs and what earlier ones made, stays where it was."""

    def __init__(self):
        super().__init__(record=True)  # so that capturable functions come by
        self.made, self.read, self.kept = set(), {}, []

    def __call__(self, name, function, *inputs, generators=()):
        given: list[torch.Tensor] = []
        map_tensors(lambda x: given.append(x) or x, inputs)
        self.made |= {place(x) for x in given}
        with Places(self.made) as places:
            result = function(*inputs)
        self.made |= places.made
        self.kept += places.kept
        key = (name, tuple(x.shape for x in given))
        assert self.read.setdefault(key, places.read) == places.read, name
        return result


def make_run(path, name, record=False, device="cpu", **fields):
    config = from_dict(preset(name), {**SMALL, **CASES.get(name, {}), **fields})
    run = Run(path, name, config, envs.make_config(config.env, config.env_preset, horizon=6), device)
    run.algorithm.graphs = Graphs(record)
    return run


@pytest.mark.parametrize("name", CASES)
def test_a_recorded_run_is_the_called_one(name, tmp_path):
    called, recorded = make_run(tmp_path, name), make_run(tmp_path, name, record=True)
    for k in range(4):
        right, found = train_iteration(called), train_iteration(recorded)
        assert {key: x for key, x in found.items() if "seconds" not in key} == {
            key: x for key, x in right.items() if "seconds" not in key
        }
        assert torch.equal(recorded.algorithm.params, called.algorithm.params)
        if k == 2:  # an error takes back an iteration
            for run in (called, recorded):
                with pytest.raises(KeyboardInterrupt), run.undone_on_error():
                    train_iteration(run)
                    raise KeyboardInterrupt
    assert recorded.algorithm.graphs._captures


def test_a_recording_repeats_what_the_first_call_did():
    graphs, factor = Graphs(record=True), torch.tensor(2.0)
    one = graphs("double", lambda x: [x * factor], torch.ones(3))
    factor.fill_(3.0)  # in place: a recording reads it anew
    two = graphs("double", lambda x: [x * 100], torch.ones(3))  # another function: a recording cannot know
    other = graphs("double", lambda x: [x + 1], torch.ones(2))  # another shape: a recording of its own
    assert [x.tolist() for (x,) in (one, two, other)] == [[2.0] * 3, [3.0] * 3, [2.0] * 2]
    assert Graphs()("double", lambda x: x * 100, torch.ones(1)).item() == 100


class Watched(Graphs):
    """Calls functions and notes what in them would make the host wait, which a recording cannot."""

    def __init__(self):
        super().__init__(record=True)
        self.waits, self.called = Waits(), set()

    def __call__(self, name, function, *inputs, generators=()):
        self.called.add(name if isinstance(name, str) else name[0])
        with self.waits:
            return function(*inputs)


@pytest.mark.parametrize("name", CASES)
def test_what_is_recorded_reads_nothing_back(name, tmp_path):
    run = make_run(tmp_path, name)
    run.algorithm.graphs = watched = Watched()
    for _ in range(2):
        train_iteration(run)
    assert watched.waits.found == []
    kind = type(preset(name).algorithm).__name__
    rest = {"RecurrentPPOConfig": {"batch", "gradient"}, "ReptileConfig": {"learn"}}.get(kind, {"evaluate"})
    assert {"collect", *rest} <= watched.called


@pytest.mark.parametrize("name", CASES)
def test_what_recordings_read_beside_their_inputs_stays_in_place(name, tmp_path):
    run = make_run(tmp_path, name)
    run.algorithm.graphs = steady = Steady()
    for _ in range(3 if name == "maml-tabular-mdp" else 2):  # it has another number of inner steps in the third
        with contextlib.suppress(ArithmeticError), run.undone_on_error():  # back to the state before, by copies
            train_iteration(run)
            raise ArithmeticError
        train_iteration(run)
    reads = set().union(*steady.read.values())
    if name == "maml-bandit":
        assert place(run.algorithm.value.shift) in reads
    if isinstance(run.algorithm, RecurrentPPO):
        assert {place(x) for x in run.algorithm.network.parameters() if x.numel()} <= reads
        assert place(run.algorithm.network.normalizer.mean) in reads


def test_the_check_of_places_sees_what_moves():
    steady, held = Steady(), {"x": torch.ones(3)}
    for _ in range(2):
        steady("add", lambda x: x + held["x"], torch.ones(3))
        held["x"].mul_(2)
    held["x"] = held["x"] * 2
    with pytest.raises(AssertionError):
        steady("add", lambda x: x + held["x"], torch.ones(3))


def test_a_step_between_two_recordings_can_be_interrupted(tmp_path, monkeypatch):
    called, recorded = make_run(tmp_path, "maml-point"), make_run(tmp_path, "maml-point", record=True)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt), recorded.undone_on_error():
        patch.setattr("metarl.algorithms.outer.line_search", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        train_iteration(recorded)
    for run in (called, recorded):
        train_iteration(run)
    assert torch.equal(recorded.algorithm.params, called.algorithm.params)


@pytest.mark.slow
def test_a_compiled_policy_learns_the_same(tmp_path):
    small = {"policy": {"hidden_size": 8, "num_heads": 1, "key_size": 2, "code_size": 2, "memory": "none"}}
    runs = [make_run(tmp_path, "metanet-bandit", **small) for _ in range(2)]
    try:
        TrainSession(compile=True).speed_up(runs[1].algorithm, runs[1].env)
    except InputError as error:
        pytest.skip(str(error))
    for _ in range(2):
        right, found = (train_iteration(run) for run in runs)
        assert found["value_loss"] == pytest.approx(right["value_loss"], rel=1e-4)
        torch.testing.assert_close(runs[1].algorithm.params, runs[0].algorithm.params, rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", CASES)
def test_a_graph_on_cuda_is_what_calls_are(name, tmp_path):
    called, recorded = make_run(tmp_path, name, device="cuda"), make_run(tmp_path, name, True, "cuda")
    for _ in range(5):
        right, found = train_iteration(called), train_iteration(recorded)
        for key in (key for key in right if "seconds" not in key):
            assert found[key] == pytest.approx(right[key], rel=1e-3, abs=1e-4), key
        torch.testing.assert_close(recorded.algorithm.params, called.algorithm.params, rtol=1e-3, atol=1e-4)
    recordings = recorded.algorithm.graphs._captures.values()
    assert recordings and all(recording.graph is not None for recording in recordings)
