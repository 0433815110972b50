"""The command `metarl`: a verb, and its arguments. torch is loaded once the verb is known, and not for the help."""

from __future__ import annotations

import metarl.backend.starting  # noqa: F401  before torch, which takes seconds to load

# isort: split
import difflib
import sys
from collections.abc import Sequence
from importlib import import_module

from metarl.cli.verbs import VERBS

HELP = f"""usage: metarl VERB ...

Meta-reinforcement learning: policies that adapt to a new task as they act.

{chr(10).join(f"  {name:<12}{verb.about}" for name, verb in VERBS.items())}

Begin with:
  metarl train maml-point --run-dir runs/mine
  metarl evaluate runs/mine

metarl VERB --help     its options
metarl --version"""


def main(verb: str | None = None) -> None:
    """Run a verb with the arguments of the command line, and exit with its status: see `metarl.cli.main.run_main`.

    Args:
        verb: by default the first argument.
    """
    arguments = sys.argv[1:]
    if verb is None:
        verb, arguments = _verb(arguments)
    from metarl.cli.main import run_main

    run_main(lambda args: import_module(VERBS[verb].module).main(args), VERBS[verb].parallel, arguments)


def _verb(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The verb and what follows it. Exits where there is none: after the help or the version."""
    first = arguments[0] if arguments else ""
    if first in VERBS:
        return first, list(arguments[1:])
    if first in ("", "-h", "--help", "help"):
        print(HELP)
        sys.exit(0 if first else 2)
    if first == "--version":
        from importlib.metadata import version

        print(f"metarl-toolkit {version('metarl-toolkit')}")
        sys.exit(0)
    nearest = difflib.get_close_matches(first, VERBS, n=1)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    print(f"error: metarl has no verb {first!r}.{hint} It has {', '.join(VERBS)}.", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
