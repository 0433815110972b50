"""The report of a study as HTML and Markdown: tables, figure, videos, configurations, commands."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from metarl.evaluated import Method, leaves
from metarl.reproduce import commands, record_command
from metarl.sheets import Sheet, counted, markdown_text, sheets


@dataclass(frozen=True)
class Video:
    """A link to a video of a run."""

    caption: str
    href: str  # relative to the report, percent-encoded


@dataclass(frozen=True)
class Part:
    """What a report says of one environment."""

    env: str
    methods: list[str]
    tasks: str
    sheets: list[Sheet]
    videos: list[Video]
    record: str  # a command that makes a video
    differences: Sheet
    commands: list[str]


def part(result: Mapping[str, Any], methods: Sequence[Method], folder: Path) -> Part:
    """All that a report in `folder` says of a comparison and the methods behind it."""
    runs = [run for method in methods for run in method.runs]
    return Part(
        env=result["env"],
        methods=[method["method"] for method in result["methods"]],
        tasks=f"{result['num_tasks']:,} {result['split']} tasks, drawn with seed {result['seed']}.",
        sheets=sheets(result),
        videos=[
            Video(f"{method.name}, seed {run.seed}: {file.name}", _link(file, folder))
            for method in methods
            for run in method.runs
            for file in sorted(run.path.glob("*.mp4"))
        ],
        record=record_command(runs[0]),
        differences=differences(methods),
        commands=[line for run in runs for line in commands(run)],
    )


def differences(methods: Sequence[Method]) -> Sheet:
    """The fields of the training configuration in which methods differ; a dash where a method has no such field."""
    configs = [leaves({"preset": method.runs[0].preset, **method.runs[0].train}) for method in methods]
    rows = []
    for key in dict.fromkeys(key for config in configs for key in config):
        values = [json.dumps(config[key]) if key in config else "–" for config in configs]
        if len(set(values)) > 1:
            rows.append([key, *(value.strip('"') for value in values)])
    return Sheet("Configuration, where it differs", ["field", *(method.name for method in methods)], rows)


def html_report(
    parts: Sequence[Part], pictures: Sequence[bytes], notes: Sequence[str], overview: Sheet | None = None
) -> str:
    """One page that holds all but the videos, with the PNG of each part. Every text is escaped."""
    from metarl.report_page import render

    names = list(dict.fromkeys(name for part in parts for name in part.methods))
    where = parts[0].env if len(parts) == 1 else counted(len(parts), "environment")
    return render(
        title=f"{counted(len(names), 'method')} on {where}",
        lead=f"Compared on the same tasks: {', '.join(names)}.",
        alt="Return in the course of adaptation, for every method",
        pictures=[base64.b64encode(picture).decode() for picture in pictures],
        overview=overview,
        parts=parts,
        notes=notes,
    )


def markdown_report(parts: Sequence[Part], picture: Path, notes: Sequence[str], overview: Sheet | None = None) -> str:
    """The same as Markdown; the figure and the videos are linked."""
    tables = [*([overview] if overview else []), *(sheet for part in parts for sheet in part.sheets)]
    blocks = [tables[0].markdown(), f"![Adaptation curves]({quote(picture.name)})\n"]
    blocks += [sheet.markdown() for sheet in tables[1:]]
    blocks.append("".join(f"- {markdown_text(note)}\n" for note in notes))
    for one in parts:
        links = [f"- [{_link_text(video.caption)}]({video.href})\n" for video in one.videos]
        none = f"No run folder here holds a video yet. This makes one:\n\n    {one.record}\n"
        blocks.append(f"**{markdown_text(one.env)}: videos**\n\n" + ("".join(links) or none))
        if one.differences.rows:
            blocks.append(one.differences.markdown())
        lines = [text for line in one.commands for text in line.splitlines()]
        blocks.append("**Commands that make these runs**\n\n" + "".join(f"    {line}\n" for line in lines))
    return "\n".join(blocks)


def _link(file: Path, folder: Path) -> str:
    return quote(Path(os.path.relpath(file.resolve(), folder.resolve())).as_posix())


def _link_text(text: str) -> str:
    return markdown_text(text).replace("[", "\\[").replace("]", "\\]")
