"""Measure the estimators of the meta-gradient against the truth on a small tabular MDP; see docs/estimators.md."""

from __future__ import annotations

import metarl.backend.starting  # noqa: F401  before torch, which takes seconds to load

# isort: split
import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import tyro
from estimator_trials import Trial, errors, single_errors
from rich.box import SIMPLE
from rich.table import Table
from torch import Generator

import envs
from envs.errors import require
from metarl.backend.files import write_atomically
from metarl.cli.main import run_main
from metarl.cli.session import Session
from metarl.figures.terminal import show as print_table
from metarl.policies.mlp import MLPConfig, make_policy

SIDES = ("meta_gradient", "product")
FIRST = "E|estimator|meta-/gradient/bias|//95 %|//noise|/Hessian/bias|//95 %|//noise"
SECOND = "estimator|meta-/gradient/median|//range|/Hessian/median|//range"
THIRD = "estimator|bias/median|/range|noise/median|/range"


@dataclass(frozen=True)
class Estimators:
    """Compare the estimators of the meta-gradient with the truth on a small tabular MDP: bias and noise of each."""

    num_envs: tuple[int, ...] = (20, 100, 1000)
    """Episodes before and after adaptation; a part of the table for each number, and one for infinitely many."""
    repetitions: int = 500
    """Estimates from the largest of these numbers; smaller ones are repeated more often, for equal precision."""
    inner_lr: float = 1.0
    """Step size of the inner step."""
    horizon: int = 4
    """Steps in an episode, at most 5, of an MDP with 3 states and 3 actions."""
    hidden_sizes: tuple[int, ...] = (4,)
    """Units in each hidden layer of the policy; none gives a table of logits."""
    num_tasks: int = 20
    """MDPs with a fresh policy each for the second table, which holds exact biases alone."""
    seed: int = 0
    """Seed of the MDPs, the policies and the episodes."""
    output: Path | None = None
    """A JSON file for the figures."""
    session: Session = field(default_factory=Session)


def check(args: Estimators) -> None:
    """Raise `InputError` unless every option makes sense."""
    require(min(args.num_envs, default=0) >= 1, f"num_envs must hold numbers of at least 1, not {args.num_envs}.")
    require(args.repetitions >= 2, f"repetitions must be at least 2, not {args.repetitions}.")
    require(args.num_tasks >= 1, f"num_tasks must be at least 1, not {args.num_tasks}.")
    require(1 <= args.horizon <= 5, f"horizon must lie in 1 .. 5, not {args.horizon}, for episodes are enumerated.")
    require(0 <= args.seed < 2**63, f"seed must lie in 0 .. 2^63 - 1, not {args.seed}.")
    require(0 < args.inner_lr < math.inf, f"inner_lr must be a positive number, not {args.inner_lr}.")
    if (path := args.output) is not None:
        require(path.suffix == ".json", f"The output's name must end in .json, and {str(path)!r} does not.")
        require(not path.is_dir(), f"The output cannot be written to {str(path)!r}, which is a folder.")


def measured(episodes: str, found: dict[str, Any]) -> list[list[str]]:
    """A row for each estimator."""
    rows: list[list[str]] = []
    for name, sides in found.items():
        row = ["" if rows else episodes, name]
        for side in SIDES:
            bias, low, high, noise = (f"{100 * sides[side][key]:.1f}" for key in ("bias", "low", "high", "noise"))
            row += [bias, "exact" if episodes == "∞" else f"{low} – {high}", noise]
        rows.append(row)
    return rows


def over_tasks(limits: list[dict[str, Any]]) -> list[list[str]]:
    """A row for each estimator: median and range of its exact biases."""
    rows = []
    for name in limits[0]:
        biases = [torch.tensor([100 * found[name][side]["bias"] for found in limits]) for side in SIDES]
        rows.append([name, *(x for b in biases for x in (f"{b.median():.1f}", f"{b.min():.1f} – {b.max():.1f}"))])
    return rows


def over_episodes(singles: list[dict[str, Any]]) -> list[list[str]]:
    """A row for each estimator: median and range of exact bias and noise from one episode."""
    rows = []
    for name in singles[0]:
        sides = [torch.tensor([100 * found[name][side] for found in singles]) for side in ("bias", "noise")]
        rows.append([name, *(x for b in sides for x in (f"{b.median():.1f}", f"{b.min():.1f} – {b.max():.1f}"))])
    return rows


def show(title: str, columns: str, parts: list[list[list[str]]]) -> None:
    """Print a table; in `columns`, | stands between names and / for a line break."""
    table = Table(title=title, box=SIMPLE, padding=0)
    for column in columns.replace("/", "\n").split("|"):
        table.add_column(column, justify="left" if column == "estimator" else "right", no_wrap=True)
    for row, last in ((row, row is part[-1]) for part in parts for row in part):
        table.add_row(*row, end_section=last)
    print_table(table)


def main(arguments: list[str]) -> None:
    args = tyro.cli(Estimators, prog="estimators.py", args=arguments, config=(tyro.conf.OmitArgPrefixes,))
    check(args)
    device = args.session.apply()
    generator = Generator(device).manual_seed(args.seed)
    env = envs.make("tabular-mdp", device=device, num_states=3, num_actions=3, horizon=args.horizon)
    policy = make_policy(env.observation_space, env.action_space, MLPConfig(args.hidden_sizes))
    rows = env.sample_tasks(args.num_tasks, generator)
    trials = [Trial(env, rows[i : i + 1], policy, policy.init(generator), args.inner_lr) for i in range(args.num_tasks)]
    counts = {n: args.repetitions * max(args.num_envs) // n for n in args.num_envs}
    found = {str(n): errors(trials[0], trials[0].estimates(n, count, generator)) for n, count in counts.items()}
    limits = [errors(trial, trial.limits()) for trial in trials]
    singles = [single_errors(trial) for trial in trials]
    if args.output is not None:
        result = {
            "options": asdict(args) | {"output": str(args.output)},
            "episodes": found,
            "limits": limits,
            "singles": singles,
        }
        args.output.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(args.output, lambda path: path.write_text(json.dumps(result) + "\n"))
    title = f"Error in % of the exact length: T = {args.horizon}, P = {policy.num_parameters}, α = {args.inner_lr:g}"
    show(title, FIRST, [measured(n, part) for n, part in {**found, "∞": limits[0]}.items()])
    show(f"Exact bias as E → ∞, {args.num_tasks} MDPs and policies", SECOND, [over_tasks(limits)])
    show(f"A step from one episode, exactly, {args.num_tasks} MDPs and policies", THIRD, [over_episodes(singles)])
    if args.output is not None:
        print(f"Wrote {args.output}")


if __name__ == "__main__":
    run_main(main)
