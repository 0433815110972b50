"""Seconds of training until a policy with a memory earns a share of what a reference policy earns.

`python experiments/time_to.py metanet-gridworld` trains the preset until the mean return of a trial over five
meta-iterations, with the noise of exploration, reaches 97 % of the reference, and prints what it took. A run that is
there is read and not trained again. Seconds are those of training, as `metrics.jsonl` has them.
"""

from __future__ import annotations

import metarl.backend.starting

# isort: split
import json
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

import metarl
from envs.errors import InputError, require
from envs.fields import Checked, Fraction
from metarl.cli.main import run_main
from metarl.cli.session import Session

REFERENCES = {
    "metanet-gridworld": ("Bayes-optimal search", 37.21),
    "metanet-tabular-mdp": ("PSRL with the true prior", 133.4),
    "metanet-bandit-100": ("Gittins' index", 78.89),
}
"""Return of a trial on test tasks (docs/memory.md)."""
SMOOTH = 5
"""Meta-iterations of a mean return."""


@dataclass(frozen=True)
class Options(Checked):
    """Train until the share is reached."""

    preset: Annotated[str, tyro.conf.Positional]
    """One of the presets above."""
    share: Fraction = 0.97
    """Of the reference's return."""
    seed: int = 0
    """Of the run."""
    folder: Path = Path("runs/time-to")
    """Where run folders are kept."""
    session: Session = field(default_factory=Session)


def trial_return(metrics: dict[str, float]) -> float:
    """Mean return of the trials of a meta-iteration, all episodes together."""
    return sum(value for name, value in metrics.items() if name.startswith("return_"))


def main(arguments: list[str]) -> None:
    about = f"{__doc__}\nPresets: {', '.join(REFERENCES)}."
    args = tyro.cli(Options, prog="time_to.py", description=about, args=arguments, config=(tyro.conf.OmitArgPrefixes,))
    if args.preset not in REFERENCES:
        raise InputError(f"There is no reference for {args.preset!r}; choose among {', '.join(REFERENCES)}.")
    reference, most = REFERENCES[args.preset]
    path = args.folder / f"{args.preset}-s{args.seed}"
    lines: list[dict[str, float]] = []

    def reached(metrics: dict[str, float]) -> bool:
        lines.append(metrics)
        latest = [trial_return(line) for line in lines[-SMOOTH:]]
        return len(latest) == SMOOTH and statistics.fmean(latest) >= args.share * most

    if path.is_dir():
        log = path / "metrics.jsonl"
        require(log.is_file() and log.stat().st_size > 0, f"{path} holds no training yet; remove it to begin anew.")
        for line in log.read_text().splitlines():
            if reached(json.loads(line)):
                break
    else:
        device = args.session.apply()
        metarl.train(
            args.preset, path, lambda run, metrics: reached(metrics), device=device, quiet=True, seed=args.seed
        )
    last, best = lines[-1], statistics.fmean(trial_return(line) for line in lines[-SMOOTH:])
    verb = "reached" if best >= args.share * most else "never reached"
    print(
        f"{args.preset}, seed {args.seed}: {verb} {args.share:.0%} of {reference} ({most:g}); {best:.2f} after "
        f"{last['iteration']:.0f} meta-iterations, {last['env_steps'] / 1e6:.2f} M steps, {last['seconds']:.1f} s"
    )


if __name__ == "__main__":
    run_main(main)
