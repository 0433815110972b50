"""What comparisons are made of."""

from __future__ import annotations

import json
from html.parser import HTMLParser

from metarl.study import compare_runs


def comparison(*paths):
    """Of runs on one environment."""
    (only,) = compare_runs(paths).comparisons
    return only


def compared(*paths):
    """The same as JSON."""
    return comparison(*paths).to_json()


# --- Several environments ----------------------------------------------------------------------------------------


def several(write_run):
    """MAML on two environments, Reptile on the second."""
    runs = [write_run(), write_run("maml-gridworld", env="gridworld", scores=[[0.0, 7.0, 8.0]] * 2)]
    runs += [write_run("reptile-gridworld", env="gridworld", scores=[[0.0, 5.0, 6.0]] * 2)]
    return compare_runs(runs).comparisons


STEPS = [[0.0, 1.0, 6.0], [2.0, 3.0, 8.0]]


TRIAL = [[1.0, 4.0, 5.0], [3.0, 4.0, 9.0]]


# --- Charts and videos -------------------------------------------------------------------------------------------


def write_log(run, returns, iteration_steps=50):
    rows = [
        {"iteration": k + 1, "return_0": -9.0, "return_1": y, "env_steps": iteration_steps * (k + 1)}
        for k, y in enumerate(returns)
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"iteration": 9, "re')


VOID = {"meta", "img", "br", "link", "input", "hr", "source"}


class Page(HTMLParser):
    """A page read strictly: every element that opens closes, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]
