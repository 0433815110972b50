"""Runs to compare, and the reports on them."""

from __future__ import annotations

import pytest
from comparisons import STEPS, TRIAL, Page

from metarl.study import compare_runs


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
        html, markdown, _, _ = compare_runs(paths).write(tmp_path / "study" / "c.md", embed)
        return Page(html.read_text()), html.read_text(), markdown.read_text()

    return make
