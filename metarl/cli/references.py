"""Roll out the reference policies of a family: what a learned policy should be read against."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import tyro
from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

import envs
from metarl.cli.session import Session
from metarl.evaluation.references import ReferencesConfig, reference_returns
from metarl.figures.terminal import show


@dataclass(frozen=True)
class Arguments:
    """Roll out the reference policies of a family: what a learned policy should be read against."""

    family: Annotated[str, tyro.conf.Positional]
    """Family id, such as bernoulli-bandit."""
    preset: str | None = None
    """Its configuration; by default the first."""
    play: ReferencesConfig = field(default_factory=ReferencesConfig)
    session: Session = field(default_factory=Session)


def main(arguments: list[str]) -> None:
    args = tyro.cli(Arguments, prog="metarl references", args=arguments, config=(tyro.conf.OmitArgPrefixes,))
    family, config = envs.family(args.family), args.session.choose_engine(envs.make_config(args.family, args.preset))
    env = family.build(config, args.session.apply())
    tasks = f"{args.play.num_tasks:,} {args.play.split} tasks, {args.play.num_episodes} × {env.horizon} steps"
    name = f"{args.family}/{args.preset or family.default}"
    out = Table("reference", title=escape(f"{name}: {tasks}"), box=SIMPLE)
    for column in ("mean return", "standard error"):
        out.add_column(column, justify="right")
    for reference, (mean, error) in reference_returns(env, args.play).items():
        out.add_row(escape(reference), f"{mean:.3f}", f"{error:.3f}")
    show(out)
