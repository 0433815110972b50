"""Watch a policy adapt, in a browser on this machine: set a task by hand, and play it.

metarl play
metarl play runs/mine
"""

from __future__ import annotations

import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from annotated_types import Ge, Le

from envs.errors import InputError
from envs.fields import Checked
from metarl.cli.session import Session
from metarl.play.policies import find
from metarl.play.server import Server


@dataclass(frozen=True)
class Arguments(Checked):
    """Watch a policy adapt, in a browser on this machine: set a task by hand, and play it."""

    paths: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN")] = ()
    """Run folders, folders that hold run folders, or names of policies that come with the package; by default those in
    `runs`, and all that come with the package."""
    port: Annotated[int, Ge(0), Le(65_535)] = 0
    """Where the page is served; 0 takes a free port."""
    browser: bool = True
    """Open the page in the browser."""
    num_threads: int = 1
    """CPU threads for large tensors."""
    imports: str = ""
    """Python modules to import first, joined by commas, such as one that registers your own environment family."""


def main(arguments: list[str]) -> None:
    args = tyro.cli(Arguments, prog="metarl play", args=arguments, config=(tyro.conf.OmitArgPrefixes,))
    Session(device="cpu", num_threads=args.num_threads).apply()
    offers = find(args.paths)
    try:
        server = Server(offers, args.port)
    except OSError as error:
        raise InputError(f"The port {args.port} cannot be used: {error.strerror}; --port 0 takes a free one.") from None
    with server:
        count = f"{len(offers)} polic{'y' if len(offers) == 1 else 'ies'}"
        print(f"{count} at {server.url} (this machine only). Ctrl-C ends it.", flush=True)
        if args.browser:
            webbrowser.open(server.url)
        try:
            server.run()
        except KeyboardInterrupt:
            print("\nEnded.")
