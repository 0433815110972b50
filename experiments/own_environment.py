"""Return in the course of training, before and after adaptation, of the family in README's "Your own environment".

python experiments/own_environment.py runs/*-cartpole-s* --output docs/figures/cart-pole.png

A panel for each method: the mean over its runs, one for each seed, and its 95 % interval over them by Student's t.
Training tasks are drawn anew in each meta-iteration, so that no return is on a task that was trained on before.
"""

from __future__ import annotations

import metarl.backend.starting  # noqa: F401  before what takes seconds to load

# isort: split
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from matplotlib.figure import Figure
from scipy import stats

from metarl.cli.main import run_main
from metarl.figures.appearance import LOOKS, MUTED, label, method_of
from metarl.figures.plot import frame, save_png
from metarl.training import metrics_log
from metarl.training.config_file import read


@dataclass(frozen=True)
class Arguments:
    """Return in the course of training, before and after adaptation."""

    run_dirs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Runs of one family."""
    output: Path = Path("curves.png")
    """The figure."""


def returns(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Environment steps [P], and the return in the first and the last stage that training plays [P, 2]."""
    rows = metrics_log.read(folder / "metrics.jsonl").values()
    stages = [[row[key] for key in sorted(row) if key.startswith("return_")] for row in rows]
    return np.array([row["env_steps"] for row in rows]), np.array([[s[0], s[-1]] for s in stages])


def draw(axes: Any, name: str, curves: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """A method's panel. Runs that were stopped earlier shorten all curves."""
    length = min(len(steps) for steps, _ in curves)
    steps, values = curves[0][0][:length] / 1e6, np.stack([stages[:length] for _, stages in curves])  # [S, P, 2]
    mean, error = values.mean(0), stats.sem(values, 0) * stats.t.ppf(0.975, max(len(curves) - 1, 1))
    for k, (words, dashes) in enumerate((("before", "--"), ("after adaptation", "-"))):
        axes.plot(steps, mean[:, k], dashes, color=LOOKS[method_of(name)].colour, lw=1.8, label=words)
        low, high = (np.clip(mean[:, k] + sign * error[:, k], 0, 200) for sign in (-1, 1))
        axes.fill_between(steps, low, high, color=LOOKS[method_of(name)].colour, alpha=0.15, lw=0)
    frame(axes, "million steps of training", "return")
    axes.set_title(f"{label(name)}, {len(curves)} seeds", fontsize=11, loc="left")
    axes.legend(frameon=False, labelcolor=MUTED, loc="lower right")


def main(arguments: list[str]) -> None:
    args = tyro.cli(Arguments, args=arguments)
    methods = defaultdict(list)
    for folder in args.run_dirs:
        methods[read(folder)["preset"]].append(returns(folder))
    figure = Figure(figsize=(3.4 * len(methods), 3.2), layout="constrained")
    panels: Any = figure.subplots(1, len(methods), sharey=True, squeeze=False)[0]
    for axes, (name, curves) in zip(panels, methods.items(), strict=True):
        draw(axes, name, curves)
    print(f"Wrote {save_png(figure, args.output)}")


if __name__ == "__main__":
    run_main(main)
