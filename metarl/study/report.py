"""Study: runs compared on one environment or several, and its report as HTML, Markdown, JSON and PNG."""

from __future__ import annotations

import base64
import json
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import envs
from envs.errors import require
from envs.extras import package_of
from metarl.backend.files import check_output, write_atomically
from metarl.figures.appearance import labels
from metarl.study.compare import Comparison
from metarl.study.learning_curves import draw_learning
from metarl.study.methods import Method, group
from metarl.study.page import render, svg, theme
from metarl.study.plots import panel_figures, plot_comparisons, study_looks
from metarl.study.runs import EvaluatedRun, read_run
from metarl.study.sheets import Sheet, counted, markdown_text, overview_sheet, sheets
from metarl.training.config import flat

LEGEND = (
    "IQM: interquartile mean over runs and tasks (Agarwal et al. 2021). 95 % intervals are over seeds and tasks, by "
    "Student's t, where a method has several seeds; of one seed, and of references, over tasks, by a bootstrap. "
    "train s: median training time."
)
EXPERIENCE = (
    "Some methods adapt by gradient steps, others in the episodes of a trial: compare stages by the number of episodes "
    "on the task before them. A gradient step learns from a batch of episodes, a memory from one after another."
)


class Video(NamedTuple):
    """A video of a run; `source` is the link, or the video itself as a data URI."""

    caption: str
    href: str  # relative to the report, percent-encoded
    source: str


@dataclass(frozen=True, eq=False)
class Study:
    """Methods compared on each environment, and where there are several, a table of all methods on all of them."""

    comparisons: list[Comparison]
    overview: Sheet | None = None

    @cached_property
    def sheets(self) -> list[Sheet]:
        """All tables."""
        return [*([self.overview] if self.overview else []), *(s for c in self.comparisons for s in sheets(c))]

    @cached_property
    def notes(self) -> list[str]:
        """What a reader should know of these numbers."""
        mixed = len({m.run.stages.trial for c in self.comparisons for m in c.methods}) > 1
        notes = dict.fromkeys(note for comparison in self.comparisons for note in comparison.notes)
        return [LEGEND, *([EXPERIENCE] * mixed), *notes]

    def write(self, output: Path, embed: bool = False) -> list[Path]:
        """Write the report as HTML and Markdown, the numbers as JSON, and the figure as PNG.

        Args:
            output: the Markdown or the HTML file; the others go beside it. Its folder is made.
            embed: puts the videos of the run folders into the HTML file; otherwise it links them.

        Returns:
            The four files.

        Raises:
            InputError: for another suffix, or where another file would be lost.
        """
        page, text, picture, numbers = files = [output.with_suffix(s) for s in (".html", ".md", ".png", ".json")]
        require(output in (page, text), f"The output's name must end in .md or .html, and {str(output)!r} does not.")
        check_output(numbers, ["comparisons", "methods"])
        charts = zip(self.comparisons, panel_figures(self.comparisons), strict=True)
        parts = [self.part(comparison, chart, output.parent, embed) for comparison, chart in charts]
        output.parent.mkdir(parents=True, exist_ok=True)
        plot_comparisons(self.comparisons, picture)
        results = [comparison.to_json() for comparison in self.comparisons]
        for file, written in {
            numbers: json.dumps({"comparisons": results} if len(results) > 1 else results[0], indent=1) + "\n",
            text: self.markdown(parts, picture),
            page: self.html(parts),
        }.items():
            write_atomically(file, partial(Path.write_text, data=written, encoding="utf-8"))
        return files

    def part(self, comparison: Comparison, chart: Any, folder: Path, embed: bool) -> dict[str, Any]:
        """What a report in `folder` says of one environment, by the names that page.html uses."""
        charts = [svg(chart, "Return in the course of adaptation, for every method")]
        if learning := draw_learning(comparison.methods, study_looks(self.comparisons)):
            charts.append(svg(learning, "Return in the course of training, for every method"))
        runs = [(comparison.labels[method.short], run) for method in comparison.methods for run in method.runs]
        tasks = comparison.tasks
        return dict(
            env=comparison.env,
            tasks=f"{tasks['num_tasks']:,} {tasks['split']} tasks, drawn with seed {tasks['seed']}.",
            charts=charts,
            sheets=sheets(comparison),
            videos=[
                _video(f"{label}, seed {run.seed}: {file.name}", file, folder, embed)
                for label, run in runs
                for file in sorted(run.path.glob("*.mp4"))
            ],
            record=record_command(runs[0][1]),
            differences=differences(comparison.methods),
            commands=[line for _, run in runs for line in run.commands],
        )

    def html(self, parts: Sequence[dict[str, Any]]) -> str:
        """One page that holds all but the videos that are not embedded. Every text is escaped."""
        names = list(dict.fromkeys(label for c in self.comparisons for label in c.labels.values()))
        where = parts[0]["env"] if len(parts) == 1 else counted(len(parts), "environment")
        return render(
            title=f"{counted(len(names), 'method')} on {where}",
            lead=f"Compared on the same tasks: {', '.join(names)}.",
            theme=theme(chart for part in parts for chart in part["charts"]),
            overview=self.overview,
            parts=parts,
            notes=self.notes,
        )

    def markdown(self, parts: Sequence[dict[str, Any]], picture: Path) -> str:
        """The same as Markdown; the figure and the videos are linked."""
        first, *others = self.sheets
        blocks = [first.markdown(), f"![Adaptation curves]({quote(picture.name)})\n"]
        blocks += [sheet.markdown() for sheet in others]
        blocks.append("".join(f"- {markdown_text(note)}\n" for note in self.notes))
        for part in parts:
            links = [f"- [{_link_text(video.caption)}]({video.href})\n" for video in part["videos"]]
            none = f"No run folder here holds a video yet. This makes one:\n\n    {part['record']}\n"
            blocks.append(f"**{markdown_text(part['env'])}: videos**\n\n" + ("".join(links) or none))
            if part["differences"].rows:
                blocks.append(part["differences"].markdown())
            lines = [text for line in part["commands"] for text in line.splitlines()]
            blocks.append("**Commands that make these runs**\n\n" + "".join(f"    {line}\n" for line in lines))
        return "\n".join(blocks)


def compare_runs(run_dirs: Sequence[Path], split: str = "test") -> Study:
    """Compare evaluated runs; those that differ in the seed alone are one method.

    Args:
        run_dirs: folders of runs; on each environment the others are measured against the method of the first.
        split: which evaluation to compare, evaluation-SPLIT.json of each folder.

    Raises:
        InputError: for folders without that evaluation, and runs that cannot be compared.
    """
    require(len(run_dirs) > 0, "Name at least one run folder.")
    runs = [read_run(Path(path), split) for path in run_dirs]
    names = dict.fromkeys(run.env for run in runs)
    comparisons = [Comparison(group([run for run in runs if run.env == name])) for name in names]
    return Study(comparisons, overview_sheet(comparisons) if len(comparisons) > 1 else None)


def differences(methods: Sequence[Method]) -> Sheet:
    """The fields of the training configuration in which methods differ; a dash where a method has no such field."""
    configs = [flat({"preset": method.run.preset, **method.run.train}) for method in methods]
    rows = []
    for key in dict.fromkeys(key for config in configs for key in config):
        values = [json.dumps(config[key]) if key in config else "–" for config in configs]
        if len(set(values)) > 1:
            rows.append([key, *(value.strip('"') for value in values)])
    names = labels([method.short for method in methods]).values()
    return Sheet("Configuration, where it differs", ["field", *names], rows)


def record_command(run: EvaluatedRun) -> str:
    """Writes a video into the run's folder."""
    video = run.path / f"{run.path.resolve().name}.mp4"
    imports = [] if run.train["env"] in envs.FAMILIES or package_of(run.train["env"]) else ["--imports", "MODULE"]
    return shlex.join(["metarl", "record", str(run.path), "--output", str(video), *imports])


def _video(caption: str, file: Path, folder: Path, embed: bool) -> Video:
    href = quote(Path(os.path.relpath(file.resolve(), folder.resolve())).as_posix())
    inside = f"data:video/mp4;base64,{base64.b64encode(file.read_bytes()).decode()}" if embed else href
    return Video(caption, href, inside)


def _link_text(text: str) -> str:
    return markdown_text(text).replace("[", "\\[").replace("]", "\\]")
