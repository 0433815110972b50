"""Does a learned start beat an untrained one? Mean return of a whole trial, with a gradient step after each stage.

`python experiments/trial_returns.py TABLE --seeds 10` trains and evaluates every row that is not there yet, one after
the other, and prints the table: the total of the trial's episodes on held-out tasks, by the final policy, and its 95 %
interval over seeds (Student's t). Several calls with other rows or seeds share the work. `--split validation` is for
choosing a form, `test` for the table.
"""

from __future__ import annotations

import metarl.backend.starting

# isort: split
import json
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from rich.table import Table
from scipy import stats

import envs
import metarl
from envs.errors import InputError
from envs.fields import Checked, PositiveInt
from metarl.backend.files import write_json
from metarl.cli.main import run_main
from metarl.cli.session import Session
from metarl.evaluation.evaluate import EvaluationConfig
from metarl.figures.terminal import show
from metarl.training.config import from_dict
from metarl.training.presets import preset


def form(algorithm: dict[str, Any] | None = None, **train: Any) -> dict[str, Any]:
    """What a row changes: fields of MAMLConfig, and of TrainConfig; `environment` holds those of the environment."""
    return {**train, "algorithm": algorithm or {}}


def untrained(*rates: float, **train: Any) -> dict[str, dict[str, Any]]:
    """Rows without training, by their inner rates."""
    words = "".join(f", {tuple(value['hidden_sizes'])} units" for value in train.values())
    options = {"learned_rates": "none"}
    return {f"untrained{words}, rate {r:g}": form({**options, "inner_lr": r}, num_iterations=0, **train) for r in rates}


def vpg(outer_lr: float) -> dict[str, Any]:
    """One Adam step on the policy gradient, as an outer step."""
    return {"kind": "AdamConfig", "objective": "vpg", "num_outer_steps": 1, "outer_lr": outer_lr}


TRPO = {"kind": "TRPOConfig"}


@dataclass(frozen=True)
class Experiment:
    """A family, what every row has, and what each row changes."""

    family: str
    base: dict[str, Any]
    rows: dict[str, dict[str, Any]]
    """Label -> `form`."""
    num_steps: int = 9
    """Gradient steps of the trial."""
    num_envs: int = 1
    """Episodes that a step learns from."""
    num_tasks: int = 4000
    """Held-out tasks of an evaluation."""


TRIAL: dict[str, Any] = {
    "num_inner_steps": 9,
    "halve_test_lr": False,
    "baseline": "constant",
    "outer_stages": "all",
    "outer_baseline": "batch",
    "learned_rates": "step",
}
"""Fields of MAMLConfig where a trial is ten episodes, with a step after each but the last."""

TABLES = {
    "bandit": Experiment(
        "bandit",
        form(
            {**TRIAL, "inner_lr": 20.0, "inner_scale": "none", "estimator": "e-maml", "outer": vpg(0.03)},
            num_iterations=200,
            meta_batch_size=400,
            num_envs=1,
            policy={"hidden_sizes": []},
        ),
        {
            "learned": {},
            "learned, smaller outer steps": form({"outer": vpg(0.01)}, num_iterations=400),
            "outer steps by TRPO": form({"outer": TRPO}, num_iterations=100),
            "no credit of exploration": form({"estimator": "naive"}),
            "low-variance curvature": form({"estimator": "lvc"}),
            "the last stage alone": form({"outer_stages": "last"}),
            "fixed rates": form({"learned_rates": "none"}),
            "sees the pull": form({"outer": TRPO}, num_iterations=60, environment={"observation": "pull"}),
            **untrained(5.0, 10.0, 20.0, 40.0),
            **untrained(1.0, 2.0, 3.0, policy={"hidden_sizes": [64, 64]}),
        },
    ),
    "tabular-mdp": Experiment(
        "tabular-mdp",
        form(
            {**TRIAL, "inner_lr": 1.0, "gamma": 0.4, "gae_lambda": 1.0, "outer": TRPO},
            num_iterations=60,
            meta_batch_size=100,
            num_envs=1,
        ),
        {
            "learned": {},
            "credit of exploration": form({"estimator": "e-maml"}),
            "low-variance curvature": form({"estimator": "lvc"}),
            "first order": form({"estimator": "first-order"}),
            "the stages after a step": form({"outer_stages": "adapted"}),
            "the last stage alone": form({"outer_stages": "last"}),
            "fixed rates": form({"learned_rates": "none"}),
            "outer baseline of the task": form({"outer_baseline": "task"}),
            "outer steps by Adam": form({"outer": vpg(0.01)}, num_iterations=150, meta_batch_size=150),
            "no lower discount": form({"gamma": 0.99}),
            **untrained(0.5, 1.0, 2.0),
            **untrained(0.5, 1.0, policy={"hidden_sizes": [64, 64]}),
            **untrained(5.0, policy={"hidden_sizes": []}),
        },
    ),
    "gridworld": Experiment(
        "gridworld",
        form({"outer_stages": "all", "num_inner_steps": 3}, num_iterations=85),
        {
            "learned": {},
            "the stages after a step": form({"outer_stages": "adapted"}),
            "the last stage alone": form({"outer_stages": "last"}),
            "trained for one step": form({"num_inner_steps": 1}, num_iterations=171),
            "trained for one step, its return alone": form(
                {"num_inner_steps": 1, "outer_stages": "last"}, num_iterations=171
            ),
            "learned rates": form({"learned_rates": "step"}),
            **untrained(1.0, 3.0, 10.0),
        },
        num_steps=3,
        num_envs=20,
        num_tasks=420,
    ),
    "gridworld-episodes": Experiment(
        "gridworld",
        form(
            {**TRIAL, "num_inner_steps": 3},
            num_iterations=60,
            meta_batch_size=420,
            num_envs=1,
        ),
        {"learned": {}, "credit of exploration": form({"estimator": "e-maml"}), **untrained(1.0, 3.0, 10.0)},
        num_steps=3,
        num_tasks=2100,
    ),
}


@dataclass(frozen=True)
class Options(Checked):
    """Train, evaluate and print one table."""

    table: Annotated[str, tyro.conf.Positional]
    """One of the tables above."""
    rows: tuple[str, ...] = ()
    """Rows to make; none means all."""
    seeds: PositiveInt = 10
    """Runs of each row: the seeds from `first_seed` on."""
    first_seed: int = 0
    """The first seed."""
    split: Literal["validation", "test"] = "test"
    """Tasks that a table reports; forms are chosen on `validation`."""
    folder: Path = Path("runs/trial-returns")
    """Where run folders are kept."""
    num_tasks: PositiveInt | None = None
    """Held-out tasks of an evaluation, if not those of the table."""
    output: Path | None = None
    """A JSON file for the figures."""
    session: Session = field(default_factory=Session)


def result(args: Options, experiment: Experiment, row: str, seed: int) -> dict[str, Any]:
    """The figures of one run, which is trained and evaluated unless its folder holds them."""
    name = "-".join(word.replace(" ", "") for word in (args.table, row, f"s{seed}"))
    path, kept = args.folder / name, args.folder / name / f"row-{args.split}.json"
    if kept.exists():
        return json.loads(kept.read_text())
    base, own = experiment.base, experiment.rows[row]
    algorithm = {**base["algorithm"], **own.get("algorithm", {})}
    options = {**base, **own, "algorithm": algorithm, "eval_num_envs": experiment.num_envs}
    environment = options.pop("environment", {})
    config = from_dict(replace(preset(f"maml-{experiment.family}"), seed=seed), options)
    env_config = replace(envs.make_config(config.env, config.env_preset), **environment)
    if (path / "config.json").exists():
        run = metarl.resume_run(path)
    else:
        run = metarl.new_run(f"maml-{experiment.family}", path, config, env_config)
    metarl.train(run, quiet=True)
    asked = EvaluationConfig(
        split=args.split,
        num_tasks=args.num_tasks or experiment.num_tasks,
        num_envs=experiment.num_envs,
        num_steps=experiment.num_steps,
        references=False,
    )
    evaluation = metarl.evaluate(run, asked)
    stages = evaluation["adaptation"]["mean"]
    figures = {
        "table": args.table,
        "row": row,
        "seed": seed,
        "split": args.split,
        "total": sum(stages),
        "stages": stages,
        "train_seconds": evaluation["train_seconds"],
        "env_steps": evaluation["env_steps"],
    }
    write_json(kept, figures)
    return figures


def interval(values: list[float]) -> tuple[float, float, float]:
    """Mean, and the ends of its 95 % interval (Student's t)."""
    x = torch.tensor(values, dtype=torch.float64)
    if len(x) < 2:
        return float(x.mean()), math.nan, math.nan
    half = float(stats.t.ppf(0.975, len(x) - 1) * x.std() / len(x) ** 0.5)
    return float(x.mean()), float(x.mean()) - half, float(x.mean()) + half


def main(arguments: list[str]) -> None:
    about = f"{__doc__}\nTables: {', '.join(TABLES)}."
    args = tyro.cli(
        Options, prog="trial_returns.py", description=about, args=arguments, config=(tyro.conf.OmitArgPrefixes,)
    )
    if args.table not in TABLES:
        raise InputError(f"There is no table {args.table!r}; choose among {', '.join(TABLES)}.")
    experiment = TABLES[args.table]
    known = list(experiment.rows)
    for row in args.rows:
        if row not in known:
            raise InputError(f"There is no row {row!r}; choose among {', '.join(known)}.")
    args.session.apply()
    found = []
    table = Table(title=f"{args.table}: return of a trial on {args.split} tasks, {args.seeds} seeds")
    for title in ("", "total", "95 %", "first", "last", "train s"):
        table.add_column(title, justify="left" if not title else "right", no_wrap=True)
    for row in args.rows or known:
        runs = [result(args, experiment, row, seed) for seed in range(args.first_seed, args.first_seed + args.seeds)]
        found += runs
        mean, low, high = interval([run["total"] for run in runs])
        first, last = (sum(run["stages"][k] for run in runs) / len(runs) for k in (0, -1))
        seconds = sorted(run["train_seconds"] for run in runs)[len(runs) // 2]
        cells = (f"{mean:.2f}", f"{low:.2f} – {high:.2f}", f"{first:.2f}", f"{last:.2f}", f"{seconds:.0f}")
        table.add_row(row, *cells)
        print(" | ".join((row, *cells)), flush=True)
    show(table)
    if args.output:
        write_json(args.output, found)


if __name__ == "__main__":
    run_main(main)
