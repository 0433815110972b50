"""Roll out the reference policies of a family: what a learned policy should be read against."""

from __future__ import annotations

import metarl.backend.starting  # noqa: F401  before torch, which takes seconds to load

# isort: split
from dataclasses import dataclass, field
from typing import Annotated

import torch
import tyro
from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table
from torch import Generator

import envs
from envs.contract import draw_tasks
from envs.errors import require
from metarl.cli import Session, run_main
from metarl.evaluation.curve import reference_rewards
from metarl.figures.terminal import show


@dataclass(frozen=True)
class References:
    """Roll out the reference policies of a family: what a learned policy should be read against."""

    family: Annotated[str, tyro.conf.Positional]
    """Family id, such as bernoulli-bandit."""
    preset: str | None = None
    """Its configuration; by default the first."""
    num_tasks: int = 10_000
    """Tasks."""
    num_envs: int = 1
    """Trials of each task."""
    num_episodes: int = 1
    """Episodes of a trial, over which a reference may remember; the return is that of the whole trial."""
    split: str = "test"
    """train, test or ood."""
    seed: int = 0
    """Seed of the tasks and episodes."""
    session: Session = field(default_factory=Session)


def main(arguments: list[str]) -> None:
    args = tyro.cli(References, prog="references.py", args=arguments, config=(tyro.conf.OmitArgPrefixes,))
    for name in ("num_tasks", "num_envs", "num_episodes"):
        require(getattr(args, name) >= 1, f"{name} must be at least 1, not {getattr(args, name)}.")
    require(0 <= args.seed < 2**63, f"seed must lie in 0 .. 2^63 - 1, not {args.seed}.")
    device = args.session.apply()
    config = args.session.choose_engine(envs.make_config(args.family, args.preset))
    env = envs.family(args.family).build(config, device)
    task = draw_tasks(env, args.num_tasks, envs.task_generator(args.seed, args.split, device), args.split)
    generator = Generator(device).manual_seed(args.seed)
    preset = args.preset or next(iter(envs.family(args.family).presets))
    title = f"{args.family}/{preset}: {args.num_tasks:,} {args.split} tasks, {args.num_episodes} × {env.horizon} steps"
    out = Table(title=escape(title), box=SIMPLE)
    for column in ("reference", "mean return", "standard error"):
        out.add_column(column, justify="left" if column == "reference" else "right")
    for name, rewards in reference_rewards(env, task, args.num_envs, generator, args.num_episodes).items():
        returns = rewards.sum((1, 2))
        error = returns.std() / len(returns) ** 0.5 if len(returns) > 1 else torch.tensor(torch.nan)
        out.add_row(escape(name), f"{returns.mean():.3f}", f"{error:.3f}")
    show(out)


if __name__ == "__main__":
    run_main(main)
