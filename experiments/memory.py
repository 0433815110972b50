"""What each part of MetaNet's memory is worth, and how much a memory holds: the tables of docs/memory.md.

`python experiments/memory.py TABLE --seeds 5` trains and evaluates every row that is not there yet, one
after the other, and prints the table: the mean return of a trial on held-out tasks by the final policy, and its 95 %
interval over seeds and tasks. Several calls with other rows, columns or seeds share the work.
"""

from __future__ import annotations

import metarl.backend.starting

# isort: split
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.table import Table

import envs
import metarl
from envs.errors import InputError, require
from envs.fields import Checked, PositiveInt
from metarl.algorithms.recurrent_ppo import RecurrentPPOConfig
from metarl.backend.files import write_json
from metarl.cli.main import run_main
from metarl.cli.session import TrainSession
from metarl.evaluation.estimate import estimate
from metarl.evaluation.evaluate import EvaluationConfig
from metarl.figures.appearance import LOOKS, SPARE
from metarl.figures.plot import frame, save_png
from metarl.figures.terminal import show
from metarl.study.sheets import counted
from metarl.training.presets import preset

MOST_STEPS = 24_000
"""Steps of a meta-iteration, so that long trials are fewer."""

DEFAULT = {"memory": "delta", "keys": "transition"}
"""MetaNet's in all rows, also where a preset chose others."""
METANET: dict[str, dict[str, Any]] = {
    "fast weights, delta rule": {},
    "gated delta rule": {"memory": "gated-delta"},
    "linear attention": {"memory": "linear"},
    "attention over all steps": {"memory": "full"},
    "attention over the latest 64": {"memory": "ring"},
    "readout of attention": {"memory": "full", "weights": "readout"},
    "readout of the delta rule": {"weights": "readout"},
    "keys from observations": {"keys": "observation"},
    "no memory at the output": {"output_memory": False},
    "no loss gradient": {"meta_information": "transition"},
    "uniform attention": {"memory": "full", "attention": "uniform"},
    "no memory by action": {"action_heads": 0},
    "no memory": {"memory": "none"},
}
"""Label of a row -> what it changes in MetaNet's configuration."""
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "Meta Networks as published": ("meta-networks", {}),
    **{
        ", ".join(["RL²", *(name for name in (cell, head) if name)]): ("rl2", {"cell": c, "head": h})
        for cell, c in (("", "gru"), ("LSTM", "lstm"), ("S5", "s5"), ("transformer", "transformer"))
        for head, h in (("", "plain"), ("head sees the step", "state"), ("hypernetwork", "hypernetwork"))
    },
    "VariBAD": ("varibad", {}),
    "VariBAD, joint": ("varibad", {"joint": True}),
}
"""Label of a row -> another method, and what it changes in its policy's configuration."""


@dataclass(frozen=True)
class Experiment:
    """Columns of a table: environments, with the size of a training."""

    family: str
    columns: dict[str, dict[str, Any]]
    """Label -> options of the environment's configuration, or {"preset": its preset}."""
    num_iterations: int
    without: tuple[str, ...] = ()
    """Rows that mean nothing here."""
    policy: dict[str, Any] = field(default_factory=dict)
    """Options of MetaNet in all rows."""
    num_episodes: int | None = None
    """Episodes of a trial, if not those of the preset."""
    reference: str = ""
    """What `--figure` draws as 1, where random is 0."""


TABLES = {
    "bandit": Experiment("bandit", {"5 arms, 10 pulls": {}}, 120),
    "control-map": Experiment("control-map", {"map": {}}, 60, ("no memory by action",)),
    "changing-map": Experiment(
        "control-map", {"changing": {"preset": "changing"}}, 60, ("no memory by action",), num_episodes=1
    ),
    "contextual-bandit": Experiment(
        "contextual-bandit",
        {f"C = {n}": {"preset": f"c{n}"} for n in (5, 20, 50, 100, 200)},
        60,
        reference="exact posterior",
    ),
    "repeat-previous": Experiment(
        "repeat-previous",
        {f"lag {n}": {"preset": p} for n, p in ((4, "easy"), (32, "medium"), (64, "hard"))},
        200,
        reference="perfect memory",
    ),
    "count-recall": Experiment(
        "count-recall",
        {p: {"preset": p} for p in ("easy", "medium", "hard")},
        300,
        reference="perfect memory",
    ),
    "tabular-mdp": Experiment("tabular-mdp", {"rl2": {}}, 120),
    "tabular-large": Experiment("tabular-mdp", {"large": {"preset": "large"}}, 60),
    "gridworld": Experiment(
        "gridworld", {"5 x 5": {}, "goal shown": {"show_goal": True}, "dense": {"distance_reward": True}}, 120
    ),
    "random-walls-9": Experiment("gridworld", {"9 x 9": {"preset": "random-walls-9"}}, 120),
}


@dataclass(frozen=True)
class Options(Checked):
    """Train, evaluate and print one table."""

    table: Annotated[str, tyro.conf.Positional]
    """One of the tables above."""
    rows: tuple[str, ...] = ()
    """Rows to make; none means all."""
    columns: tuple[str, ...] = ()
    """Columns to make; none means all."""
    seeds: PositiveInt = 5
    """Runs of each row and column: the seeds 0, 1, 2, ..."""
    folder: Path = Path("runs/memory")
    """Where run folders are kept."""
    num_tasks: PositiveInt = 2000
    """Held-out tasks of an evaluation."""
    num_iterations: PositiveInt | None = None
    """Meta-iterations, if not those of the table."""
    output: Path | None = None
    """A JSON file for the figures."""
    figure: Path | None = None
    """A PNG of load curves: each row over the columns, as a fraction of what a reference with a memory earns."""
    session: TrainSession = field(default_factory=TrainSession)


def known(kind: str, asked: tuple[str, ...], all_of_them: list[str]) -> list[str]:
    """What is asked for, or everything. Raises `InputError` for what there is not."""
    for name in asked:
        if name not in all_of_them:
            raise InputError(f"There is no {kind} {name!r}; choose among {', '.join(all_of_them)}.")
    return list(asked) or all_of_them


def result(args: Options, device: str, experiment: Experiment, row: str, column: str, seed: int) -> dict[str, Any]:
    """The figures of one run, which is trained and evaluated unless its folder holds them."""
    iterations = args.num_iterations or experiment.num_iterations
    name = "-".join(word.replace(" ", "") for word in (args.table, row, column, f"i{iterations}", f"s{seed}"))
    path, kept = args.folder / name, args.folder / name / "row.json"
    if kept.exists():
        return json.loads(kept.read_text())
    own = DEFAULT if row == "no memory" else {**DEFAULT, **experiment.policy}
    method, changes = OTHERS[row] if row in OTHERS else ("metanet", {**own, **METANET[row]})
    options = dict(experiment.columns[column])
    config = replace(preset(f"{method}-{experiment.family}"), seed=seed, num_iterations=iterations)
    config = replace(config, env_preset=options.pop("preset", config.env_preset))
    config = replace(config, policy=replace(config.policy, **changes))
    env_config = replace(envs.make_config(config.env, config.env_preset), **options)
    algorithm = config.algorithm
    assert isinstance(algorithm, RecurrentPPOConfig)
    if experiment.num_episodes:
        algorithm = replace(algorithm, num_episodes=experiment.num_episodes)
    env = envs.family(config.env).build(env_config, envs.check_device(device))
    steps = env.horizon * algorithm.num_episodes
    config = replace(
        config, algorithm=algorithm, meta_batch_size=min(config.meta_batch_size, max(24, MOST_STEPS // steps))
    )
    if (path / "config.json").exists():
        run = metarl.resume_run(path, device=device)
    else:
        run = metarl.new_run(f"{method}-{experiment.family}", path, config, env_config, device)
    args.session.speed_up(run.algorithm, run.env)
    metarl.train(run, quiet=True, eval_every=args.session.eval_every)
    evaluation = metarl.evaluate(run, EvaluationConfig(num_tasks=args.num_tasks, num_envs=1))
    network = run.algorithm.network
    assert network is not None
    figures = {
        "row": row,
        "column": column,
        "seed": seed,
        "iterations": iterations,
        "trial": evaluation["trial"]["mean"],
        "trial_per_task": [sum(returns) for returns in evaluation["per_task"]],
        "adaptation": evaluation["adaptation"]["mean"],
        "scores": evaluation.get("scores"),
        "references": {k: v["mean"] for k, v in evaluation["references"].items()},
        "parameters": sum(p.numel() for p in network.parameters()),
        "train_seconds": evaluation["train_seconds"],
        "env_steps": evaluation["env_steps"],
    }
    write_json(kept, figures)
    return figures


def draw(path: Path, experiment: Experiment, found: list[dict[str, Any]]) -> None:
    """Load curves: what each row earns in each column, with its 95 % interval."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(6.4, 4.0))
    axes = canvas.subplots()
    rows, columns = (list(dict.fromkeys(run[key] for run in found)) for key in ("row", "column"))
    for row, look in zip(rows, [*LOOKS.values(), *SPARE], strict=False):
        points = []
        for column in columns:
            runs = [run for run in found if (run["row"], run["column"]) == (row, column)]
            zero, one = (np.mean([run["references"][key] for run in runs]) for key in ("random", experiment.reference))
            e = estimate(np.array([run["trial_per_task"] for run in runs]))
            points.append((np.array([e.mean, *e.mean_ci95]) - zero) / (one - zero))
        mean, low, high = np.array(points).T
        axes.plot(columns, mean, color=look.colour, marker=look.mark, label=row)
        axes.fill_between(columns, low, high, color=look.colour, alpha=0.15, lw=0)
    frame(axes, "", f"return of a trial: random 0, {experiment.reference} 1")
    axes.legend(frameon=False)
    save_png(canvas, path)


def cell(runs: list[dict[str, Any]]) -> str:
    """Mean and interval; over seeds alone where a folder of an older version says nothing of single tasks."""
    tasks = all("trial_per_task" in run for run in runs)
    found = estimate(np.array([run["trial_per_task"] if tasks else [run["trial"]] for run in runs]))
    return f"{found.mean:.2f} [{found.mean_ci95[0]:.2f}, {found.mean_ci95[1]:.2f}]"


def main(arguments: list[str]) -> None:
    about = f"{__doc__}\nTables: {', '.join(TABLES)}.\nRows: {', '.join([*METANET, *OTHERS])}."
    args = tyro.cli(Options, prog="memory.py", description=about, args=arguments, config=(tyro.conf.OmitArgPrefixes,))
    (name,) = known("table", (args.table,), list(TABLES))
    experiment = TABLES[name]
    rows = known("row", args.rows, [row for row in [*METANET, *OTHERS] if row not in experiment.without])
    columns = known("column", args.columns, list(experiment.columns))
    require(
        args.figure is None or bool(experiment.reference),
        f"Table {name} has no reference to draw a figure against; leave --figure out.",
    )
    device = args.session.apply()
    found = []
    table = Table()
    for title in ("", "parameters", *columns):
        table.add_column(title, justify="left" if not title else "right", no_wrap=True)
    for row in rows:
        cells = []
        for column in columns:
            runs = [result(args, device, experiment, row, column, seed) for seed in range(args.seeds)]
            found += runs
            cells.append(cell(runs))
            print(f"{row} | {column} | {cells[-1]}", flush=True)
        table.add_row(row, f"{runs[0]['parameters']:,}", *cells)
    tasks = all("trial_per_task" in run for run in found)
    over = " and ".join(["seeds"] * (args.seeds > 1) + ["tasks"] * tasks)
    table.title = f"{name}: return of a trial, {counted(args.seeds, 'seed')}; 95 % intervals over {over}"
    show(table)
    if args.figure:
        draw(args.figure, experiment, found)
    if args.output:
        write_json(args.output, [{k: v for k, v in run.items() if k != "trial_per_task"} for run in found])


if __name__ == "__main__":
    run_main(main)
