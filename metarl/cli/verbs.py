"""The verbs of `metarl`."""

from __future__ import annotations

from typing import NamedTuple


class Verb(NamedTuple):
    """A module whose `main` takes the arguments, what it does, and whether torchrun may start it."""

    module: str
    about: str
    parallel: bool = False


VERBS = {
    "train": Verb("metarl.cli.train", "meta-train a policy, or go on with a run", parallel=True),
    "evaluate": Verb("metarl.cli.evaluate", "measure how a run adapts to held-out tasks"),
    "diagnose": Verb("metarl.cli.diagnose", "find out whether adaptation helps, and if not, why"),
    "record": Verb("metarl.cli.record", "make a video of adaptation"),
    "compare": Verb("metarl.cli.compare", "make a report of several evaluated runs"),
    "play": Verb("metarl.cli.play", "watch a policy adapt, in a browser on this machine"),
    "envs": Verb("metarl.cli.envs", "list the task families; sample and save tasks"),
    "references": Verb("metarl.cli.references", "measure the reference policies of a family"),
    "benchmark": Verb("metarl.cli.benchmark.command", "measure speed and memory"),
    "completion": Verb("metarl.cli.completion", "print the completion of this command for a shell"),
}
