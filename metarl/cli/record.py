"""Record a video of adaptation: the same held-out tasks before and after each gradient step, side by side.

Of a policy with a memory: trials, episode after episode, with the memory's attention over the past.

metarl record RUN --env.horizon 300    under other options of the environment than it was trained with
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from metarl.cli import env_options
from metarl.cli.session import Session
from metarl.video.record import VideoConfig, record_run


@dataclass(frozen=True)
class Arguments:
    """Record a video of adaptation: the same held-out tasks before and after each gradient step, side by side.

    Of a policy with a memory: trials, episode after episode, with the memory's attention over the past.
    """

    run_dir: Annotated[Path, tyro.conf.Positional]
    """The run folder that metarl train wrote, or the name of a policy that comes with the package."""
    video: VideoConfig = field(default_factory=VideoConfig)
    output: Path | None = None
    """An .mp4 or .gif file; by default videos/NAME.mp4 with the name of the run folder and options of
    --env.FIELD."""
    frame: Path | None = None
    """A .png file for the end of the first task, as a picture that links to the video; by default there is none."""
    session: Session = field(default_factory=Session)


def main(arguments: list[str]) -> None:
    args, folder, options = env_options.parse(Arguments, "record", str(__doc__), arguments)
    output = args.output or Path("videos") / f"{env_options.file_name(args.run_dir.resolve().name, options)}.mp4"
    made = record_run(args.session.open(folder, options), output, args.video, args.frame)
    print(f"Wrote {made}" + (f" and {args.frame}" if args.frame else ""))
