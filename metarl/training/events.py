"""What TensorBoard shows of a run: its metrics in groups, and its settings in the HPARAMS tab and as a text."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from metarl.training.config import flat, to_dict
from metarl.training.run import Run


def tag(name: str) -> str:
    """The name in TensorBoard of a field of metrics.jsonl: `eval/`, `time/` or `train/`, and its own."""
    if name.startswith("eval_"):
        return f"eval/{name.removeprefix('eval_')}"
    group = "time" if name == "env_steps" or name.endswith("seconds") else "train"
    return f"{group}/{name}"


def settings_of(run: Run) -> dict[str, str | int | float]:
    """Everything that decides the run's numbers, except `num_iterations`, which a resumed run may change.

    Values that are neither numbers nor strings are written as JSON.
    """
    values = {"preset": run.preset, **flat(to_dict(run.config)), **flat(to_dict(run.env_config), "env.")}
    del values["num_iterations"]
    return {name: value if type(value) in (str, int, float) else json.dumps(value) for name, value in values.items()}


@contextmanager
def event_log(run: Run) -> Iterator[Callable[[dict[str, float]], None]]:
    """Within this context, a function that writes a line of metrics.jsonl to an events file of the run.

    A new run begins with its settings. A resumed run adds to what is there, and hides what an earlier
    process logged after the checkpoint.
    """
    from torch.utils.tensorboard import SummaryWriter

    new = not any(run.path.glob("events.*"))
    writer: Any
    with SummaryWriter(str(run.path), purge_step=run.iteration + 1) as writer:
        if new:
            _describe(writer, settings_of(run))

        def log(metrics: dict[str, float]) -> None:
            for name, value in metrics.items():
                if name != "iteration":
                    writer.add_scalar(tag(name), value, int(metrics["iteration"]))

        yield log


def _describe(writer: Any, settings: dict[str, str | int | float]) -> None:
    """Write the settings. The writer's `add_hparams` would put them into a subfolder, which counts as another run.

    No metric is named: TensorBoard then finds the columns of its table itself, from all runs.
    """
    from torch.utils.tensorboard.summary import hparams

    _, start, _ = hparams(settings, {})
    writer.file_writer.add_summary(start)
    rows = "\n".join(f"| {name} | {value} |" for name, value in settings.items())
    writer.add_text("settings", f"| setting | value |\n|---|---|\n{rows}")
