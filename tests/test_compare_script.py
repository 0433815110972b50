"""scripts/compare.py from run folders to files."""

from __future__ import annotations

import json

import pytest

from metarl.train import train


@pytest.fixture
def evaluated(make_run, script):
    """Folders of two tiny methods with two seeds each."""
    paths = []
    for inner_lr in (0.1, 0.02):
        for seed in (0, 1):
            run = make_run(f"lr{inner_lr}-{seed}", inner_lr=inner_lr, seed=seed, num_iterations=1)
            train(run, quiet=True)
            assert script("evaluate", run.path, "--num-tasks", 6, "--num-steps", 1).status == 0
            paths.append(run.path)
    return paths


def test_tables_markdown_figure_and_numbers(script, evaluated, tmp_path, sentence, files):
    output = tmp_path / "new" / "c.md"
    result = script("compare", *evaluated, "--output", output)
    assert (result.status, result.err) == (0, "")
    assert f"Wrote {output}, {output.with_suffix('.png')} and {output.with_suffix('.json')}" in result.out
    numbers = json.loads(output.with_suffix(".json").read_text())
    assert [(m["name"], m["seeds"]) for m in numbers["methods"]] == [
        ("maml-point, inner_lr 0.1", [0, 1]),
        ("maml-point, inner_lr 0.02", [0, 1]),
    ]
    text = output.read_text()
    assert numbers["references"].keys() == {"random", "straight line"}
    for m in (*numbers["methods"], *({"iqm": [r["iqm"]], "mean": [r["mean"]]} for r in numbers["references"].values())):
        for value in (*m["iqm"], *m["mean"], *m.get("improvement", [])):
            shown = f"{value:.2f}".replace("-", "−")
            assert shown in text and shown in result.out
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == (2 + 4) + (2 + 4) + (2 + 1)
    assert len({line.count("|") for line in rows[:6]}) == 1
    assert "![Adaptation curves](c.png)" in text and output.with_suffix(".png").exists()
    first = files(output.parent)
    assert script("compare", *evaluated, "--output", output).status == 0
    assert files(output.parent) == first

    empty, unevaluated = tmp_path / "empty", evaluated[0]
    empty.mkdir()
    for arguments, said in {
        (): "Name at least one run folder.",
        (empty,): f"{empty} is not a run folder",
        (tmp_path / "none",): f"There is no run folder {tmp_path / 'none'}.",
        (unevaluated, "--split", "ood"): f"run `python scripts/evaluate.py {unevaluated} --split ood` first, or choose",
        (unevaluated, "--output", tmp_path / "c.txt"): "must end in .md",
        (unevaluated, "--output", empty): "must end in .md",
    }.items():
        bad = script("compare", *arguments)
        assert bad.status == 2 and said in sentence(bad.err)
    (unevaluated / "evaluation-test.json").unlink()
    bad = script("compare", *evaluated)
    assert bad.status == 2
    assert f"holds no evaluation-test.json: run `python scripts/evaluate.py {unevaluated}` first." in sentence(bad.err)
