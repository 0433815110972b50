"""Tables of every script, on narrow terminals and in a pipe: nothing is cut, and all figures are there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.table import Table

from metarl.figures.terminal import show
from metarl.training.loop import train

WIDTHS = ["40", "80", ""]
"""Columns of the terminal; none in a pipe."""


@pytest.fixture(params=WIDTHS, ids=["40", "80", "pipe"])
def width(request, monkeypatch):
    """The widest line that fits."""
    monkeypatch.delenv("COLUMNS", raising=False)
    if request.param:
        monkeypatch.setenv("COLUMNS", request.param)
    return int(request.param or 10**6)


def firsts(text: str) -> str:
    """What stands at the start of the lines, without blanks: the first column, whose cells may be broken."""
    lines = (line.strip(" │") for line in text.splitlines())
    return "".join(re.split(r"\s{2,}|│", line)[0].replace(" ", "") for line in lines)


def check(text: str, width: int, names: list[str], others: list[str]) -> None:
    """Are the names in the first column whole, and are all others there?"""
    found = firsts(text)
    assert [name for name in names if name.replace(" ", "") not in found] == []
    squeezed = re.sub(r"[\s│]", "", text)
    assert [other for other in others if other.replace(" ", "") not in squeezed] == []
    table = [line for line in text.splitlines() if line.startswith((" ", "│", "╭"))]
    assert max(map(len, table)) <= width


def one(**options) -> Table:
    out = Table(**options)
    for k, name in enumerate(("case", "sampling s", "optimization s", "steps/s", "said")):
        out.add_column(name, justify="right" if k else "left", overflow="fold" if name == "said" else "ellipsis")
    out.add_row("maml-half-cheetah-vel-rollout", "0.123", "1,000.4", "1,234,567", "words " * 30 + "at last")
    return out


def test_a_table_that_is_too_wide_is_stacked_beside_its_first_column(width, capsys):
    show(one(title="The title", caption="The caption"))
    text = capsys.readouterr().out
    check(text, width, ["case", "maml-half-cheetah-vel-rollout"], ["sampling s", "0.123", "1,000.4", "1,234,567"])
    assert text.count("case") == (1 if width > 100 else text.count("maml-half"))
    assert text.count("The title") == text.count("The caption") == 1
    assert text.count("words") == 30 and "last" in text


def test_a_width_that_the_user_sets_counts_and_a_script_may_use_less(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "300")
    show(one(), most=90)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 90


@pytest.fixture
def compared(make_run, script):
    """Folders of two evaluated runs with long names."""
    paths = []
    for inner_lr in (0.1, 0.02):
        run = make_run(f"lr{inner_lr}", inner_lr=inner_lr, num_iterations=1)
        train(run, quiet=True)
        assert script("evaluate", run.path, "--num-tasks", 6, "--num-steps", 3).status == 0
        paths.append(run.path)
    return paths


def test_compare_and_evaluate(script, compared, width, tmp_path):
    text = script("evaluate", compared[0], "--num-tasks", 6).out
    check(text, width, ["after 0 steps", "straight line"], ["95 % of mean", "IQM", "95 % of IQM", "std"])
    text = script("compare", *compared, "--output", tmp_path / "c.md").out
    (tables, _) = text.split("IQM: interquartile")
    names = ["MAML, inner_lr 0.1", "MAML, inner_lr 0.02", "straight line"]
    numbers = [f"{x:.2f}".replace("-", "−") for m in json.loads((tmp_path / "c.json").read_text())["methods"]
               for key in ("iqm", "mean") for x in m[key]]  # fmt: skip
    check(tables, width, ["method", *names], ["env steps", "train s", "0 steps", "3 steps", *numbers])


def test_benchmark(script, width, monkeypatch):
    figures = {"sampling_seconds": 0.123, "optimization_seconds": 1.456, "total_seconds": 1.579,
               "env_steps_per_second": 1_234_567.0, "share_of_plain_c": 0.85, "peak_memory_mb": 1240.0,
               "work_seconds": 1.0, "work_flops": 0.5, "work_bytes": 0.25}  # fmt: skip

    def apply(function, arguments):
        limits = SimpleNamespace(flops=1.0, bytes=1.0)
        return limits if function.__name__ == "machine_limits" else {"name": arguments[0], **figures}

    class Pool:
        def __init__(self, count):
            self.apply = apply

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "scripts")
    monkeypatch.setattr("multiprocessing.get_context", lambda kind: SimpleNamespace(Pool=Pool))
    result = script("benchmark", "maml-half-cheetah-vel", "point@64", "--device", "cpu")
    assert result.status == 0
    headers = ["sample s", "optim. s", "total s", "steps/s", "of C loop", "of FLOP/s", "of bytes/s", "peak MB"]
    numbers = ["0.123", "1.456", "1.579", "1,234,567", "0.85", "0.50", "0.25", "1,240"]
    check(result.out, width, ["case", "maml-half-cheetah-vel", "point@64"], [*headers, *numbers])


def test_list_envs(script, width):
    text = script("list_envs", "--family", "point").out
    check(text, min(width, 10**6), ["presets (steps)", "goal_tolerance", "observation"], ["meaning", "value", "0.01"])


def test_diagnose(script, trained, width):
    result = script("diagnose", trained, "--num-tasks", 16)
    assert result.status == 0
    found = json.loads((trained / "diagnosis.json").read_text())["findings"]
    sentences = [finding["sentence"] for finding in found] if width > 100 else []
    check(result.out, width, [finding["name"] for finding in found], sentences)
