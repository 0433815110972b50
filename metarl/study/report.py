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

from envs.errors import require
from metarl.figures.appearance import labels
from metarl.study.reproduce import commands, record_command
from metarl.study.runs import Method, leaves
from metarl.study.sheets import Sheet, counted, markdown_text, sheets
from metarl.study.svg import svg, theme

EMBED_LIMIT = 50
"""Megabytes of video that a page may hold."""


@dataclass(frozen=True)
class Video:
    """A video of a run."""

    caption: str
    href: str  # relative to the report, percent-encoded
    source: str  # the same, or the video itself as a data URI

    @property
    def embedded(self) -> bool:
        return self.source != self.href


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


def part(result: Mapping[str, Any], methods: Sequence[Method], folder: Path, embed: bool = False) -> Part:
    """All that a report in `folder` says of a comparison and the methods behind it; `embed`: with its videos inside."""
    runs = [run for method in methods for run in method.runs]
    named = labels([method.name for method in methods])
    return Part(
        env=result["env"],
        methods=list(labels([method["method"] for method in result["methods"]]).values()),
        tasks=f"{result['num_tasks']:,} {result['split']} tasks, drawn with seed {result['seed']}.",
        sheets=sheets(result),
        videos=[
            _video(f"{named[method.name]}, seed {run.seed}: {file.name}", file, folder, embed)
            for method in methods
            for run in method.runs
            for file in _videos(run.path)
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
    return Sheet(
        "Configuration, where it differs", ["field", *labels([method.name for method in methods]).values()], rows
    )


def check_embedding(runs: Sequence[Path]) -> None:
    """Raise `InputError` where the videos in the run folders are too large for one page."""
    files = [file for run in runs for file in _videos(run)]
    size = sum(file.stat().st_size for file in files) / 1e6
    require(
        size <= EMBED_LIMIT, f"--embed would put {counted(len(files), 'video')} of {size:.0f} MB into one page, and "
        f"{EMBED_LIMIT} MB are the most; leave --embed out, which links them, or move some out of the run folders.",
    )  # fmt: skip


def charts(results: Sequence[Mapping[str, Any]], groups: Sequence[Sequence[Method]]) -> list[list[str]]:
    """Of each comparison and the methods behind it: adaptation curves and, where a run has a log, learning curves."""
    from metarl.study.learning_curves import draw_learning
    from metarl.study.plots import panel_figures, study_names

    out = []
    for figure, result, methods in zip(panel_figures(results), results, groups, strict=True):
        own = [svg(figure, "Return in the course of adaptation, for every method")]
        names = [method["method"] for method in result["methods"]]
        learning = draw_learning(methods, names, study_names(results))
        out.append([*own, svg(learning, "Return in the course of training, for every method")] if learning else own)
    return out


def html_report(
    parts: Sequence[Part], drawn: Sequence[Sequence[str]], notes: Sequence[str], overview: Sheet | None = None
) -> str:
    """One page that holds all but the videos that are not embedded. Every text is escaped.

    Args:
        drawn: what `charts` returns.
    """
    from metarl.study.page import render

    names = list(dict.fromkeys(name for part in parts for name in part.methods))
    where = parts[0].env if len(parts) == 1 else counted(len(parts), "environment")
    return render(
        title=f"{counted(len(names), 'method')} on {where}",
        lead=f"Compared on the same tasks: {', '.join(names)}.",
        charts=drawn,
        theme=theme(chart for of_part in drawn for chart in of_part),
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


def _videos(run: Path) -> list[Path]:
    return sorted(run.glob("*.mp4"))


def _video(caption: str, file: Path, folder: Path, embed: bool) -> Video:
    href = _link(file, folder)
    inside = f"data:video/mp4;base64,{base64.b64encode(file.read_bytes()).decode()}" if embed else href
    return Video(caption, href, inside)


def _link(file: Path, folder: Path) -> str:
    return quote(Path(os.path.relpath(file.resolve(), folder.resolve())).as_posix())


def _link_text(text: str) -> str:
    return markdown_text(text).replace("[", "\\[").replace("]", "\\]")
