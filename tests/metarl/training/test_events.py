"""What TensorBoard reads from a run folder, by its own reader."""

from __future__ import annotations

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from metarl.training.events import tag
from metarl.training.loop import train
from metarl.training.run import Run


@pytest.fixture
def resumed(make_run):
    """A run of two iterations that went on for three more: TensorBoard's view of it."""
    run = make_run(num_iterations=2)
    train(run, quiet=True)
    train(Run.open(run.path, num_iterations=5), quiet=True)
    return EventAccumulator(str(run.path), size_guidance={"tensors": 0}).Reload()


def test_names_are_in_groups(resumed):
    names = {name for name in resumed.Tags()["scalars"]}
    assert {name.split("/")[0] for name in names} == {"train", "time"}
    assert names >= {"train/return_0", "train/return_1", "train/entropy", "train/kl", "time/env_steps"}
    assert {"time/seconds", "time/sampling_seconds", "time/optimization_seconds"} <= names
    assert tag("eval_return_2") == "eval/return_2"


def test_the_settings_are_there_once(resumed):
    plugin = resumed.SummaryMetadata("_hparams_/session_start_info").plugin_data
    assert plugin.plugin_name == "hparams"
    found = HParamsPluginData.FromString(plugin.content).session_start_info.hparams
    assert found["preset"].string_value == "maml-point" and found["algorithm.kind"].string_value == "MAMLConfig"
    assert found["algorithm.inner_lr"].number_value == 0.1 and found["env.horizon"].number_value == 5
    assert found["algorithm.halve_test_lr"].string_value == "true"
    assert "num_iterations" not in found, "a resumed run may have another"
    files = Path(resumed.path).glob("events.*")
    events = [event for file in files for event in EventFileLoader(str(file)).Load()]
    tags = [value.tag for event in events if event.HasField("summary") for value in event.summary.value]
    assert [t for t in tags if t.startswith("_hparams_")] == ["_hparams_/session_start_info"]
    (text,) = resumed.Tensors("settings/text_summary")
    assert "| algorithm.inner_lr | 0.1 |" in text.tensor_proto.string_val[0].decode()
