"""Runs to compare, and the reports on them."""

from __future__ import annotations

import pytest
from comparisons import STEPS, TRIAL, Page

from metarl.study.compare import compare
from metarl.study.plots import plot_comparison
from metarl.study.report import charts, html_report, markdown_report, part
from metarl.study.runs import group, read_run


@pytest.fixture
def maml(write_run):
    """Its stages come after 0, 4 and 8 episodes."""
    return write_run(scores=STEPS)


@pytest.fixture
def metanet(write_run):
    """Trials of three episodes."""
    return write_run("metanet-point", scores=TRIAL, num_episodes=3)


@pytest.fixture
def reports(tmp_path):
    """`reports(run folders)`: the page as read, the HTML and the Markdown, as a report in tmp_path/study says them."""

    def make(*paths, embed=False):
        methods = group([read_run(path) for path in paths])
        result = compare(methods)
        folder = tmp_path / "study"
        picture = plot_comparison(result, folder / "c.png")
        parts = [part(result, methods, folder, embed)]
        html = html_report(parts, charts([result], [methods]), result["notes"])
        return Page(html), html, markdown_report(parts, picture, result["notes"])

    return make
