"""What TensorBoard shows of a run: its metrics in groups, and its settings in the HPARAMS tab and as a text."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from metarl.training.config import to_dict
from metarl.training.run import Run


def tag(name: str) -> str:
    """The name in TensorBoard of a field of metrics.jsonl: `eval/`, `time/` or `train/`, and its own."""
    if name.startswith("eval_"):
        return f"eval/{name.removeprefix('eval_')}"
    group = "time" if name == "env_steps" or name.endswith("seconds") else "train"
    return f"{group}/{name}"


def settings(config: dict[str, Any], prefix: str = "") -> dict[str, str | int | float]:
    """A nested configuration as one level of names with dots; what is no number and no string as JSON."""
    flat: dict[str, str | int | float] = {}
    for name, value in config.items():
        if isinstance(value, dict):
            flat |= settings(value, f"{prefix}{name}.")
        else:
            plain = isinstance(value, (str, int, float)) and not isinstance(value, bool)
            flat[prefix + name] = value if plain else json.dumps(value)
    return flat


def settings_of(run: Run) -> dict[str, str | int | float]:
    """All that decides the run's numbers, but for `num_iterations`, which a resumed run may change."""
    flat = {"preset": run.preset, **settings(to_dict(run.config)), **settings(to_dict(run.env_config), "env.")}
    del flat["num_iterations"]
    return flat


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


def _describe(writer: Any, flat: dict[str, str | int | float]) -> None:
    """Write the settings. `add_hparams` of the writer would make a folder, and so a run, of its own for them.

    TensorBoard finds the columns of its table by itself, from the settings and scalars of all runs, as long as no run
    names them.
    """
    from torch.utils.tensorboard.summary import hparams

    _, start, _ = hparams(flat, {})
    writer.file_writer.add_summary(start)
    rows = "\n".join(f"| {name} | {value} |" for name, value in flat.items())
    writer.add_text("settings", f"| setting | value |\n|---|---|\n{rows}")
