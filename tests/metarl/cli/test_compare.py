"""scripts/compare.py from run folders to files."""

from __future__ import annotations

import html
import json
import re
import shlex

import pytest

from metarl.training.loop import train


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
    written = [output.with_suffix(suffix) for suffix in (".html", ".md", ".png", ".json")]
    assert "Wrote {}, {}, {} and {}".format(*written) in result.out
    assert sorted(written) == sorted(output.parent.iterdir())
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
    rows = [line for line in text.split("- IQM:")[0].splitlines() if line.startswith("|")]
    assert len(rows) == (2 + 4) + (2 + 4) + (2 + 1)
    assert "| algorithm.inner_lr | 0.1 | 0.02 |" in text
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
        (unevaluated, "--split", "ood"): f"run `metarl evaluate {unevaluated} --split ood` first, or choose",
        (unevaluated, "--output", tmp_path / "c.txt"): "must end in .md or .html",
        (unevaluated, "--output", empty): "must end in .md or .html",
    }.items():
        bad = script("compare", *arguments)
        assert bad.status == 2 and said in sentence(bad.err)
    (unevaluated / "evaluation-test.json").unlink()
    bad = script("compare", *evaluated)
    assert bad.status == 2
    assert f"holds no evaluation-test.json: run `metarl evaluate {unevaluated}` first." in sentence(bad.err)


def test_runs_on_several_environments_make_one_table_and_one_figure(script, evaluated, tmp_path):
    bandit, output = tmp_path / "bandit", tmp_path / "c.md"
    options = ("--num-iterations", 1, "--meta-batch-size", 2, "--run-dir", bandit)
    assert script("train", "maml-bandit", *options).status == 0
    assert script("evaluate", bandit, "--num-tasks", 6, "--num-steps", 2).status == 0
    result = script("compare", *evaluated, bandit, "--output", output)
    assert (result.status, result.err) == (0, "")
    parts = json.loads(output.with_suffix(".json").read_text())["comparisons"]
    assert [part["env"] for part in parts] == ["point/finn2017", "bernoulli-bandit/k5-n10"]
    rows = [line.split(" | ") for line in output.read_text().splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows[:6]] == [
        "| method",
        "| :--",
        "| MAML, inner_lr 0.1",
        "| MAML, inner_lr 0.02",
        "| MAML",
        "| random",
    ]
    shown = [f"{part['methods'][0]['iqm'][-1]:.2f}<br>".replace("-", "−") for part in parts]
    assert shown[0] in rows[2][1] and rows[2][2] == "– |" and shown[1] in rows[4][2] and rows[4][1] == "–"
    assert output.with_suffix(".png").exists()
    page = output.with_suffix(".html").read_text()
    assert page.count("<svg") == 4 and page.count("Learning curves") == 2


@pytest.mark.slow
def test_memory_and_gradient_steps_make_one_report_which_shows_the_video_that_it_asks_for(script, make_run, tmp_path):
    maml, metanet, output = make_run("maml", num_iterations=1), tmp_path / "metanet", tmp_path / "study.html"
    train(maml, quiet=True)
    sizes = ("--num-iterations", 1, "--meta-batch-size", 2, "--hidden-size", 8, "--num-episodes", 3)
    assert script("train", "metanet-point", *sizes, "--env.horizon", 5, "--run-dir", metanet).status == 0
    for path in (maml.path, metanet):
        assert script("evaluate", path, "--num-tasks", 6, "--num-envs", 4).status == 0
    result = script("compare", metanet, maml.path, "--output", output)
    assert (result.status, result.err) == (0, "")
    (first, second) = json.loads(output.with_suffix(".json").read_text())["methods"]
    assert (first["episodes_before"], second["episodes_before"]) == ([0, 1, 2], [0, 4, 8, 12])
    text = output.read_text()
    assert "after 12 episodes" in text and "sum of 3 episodes" in text and "<video" not in text
    (command,) = re.findall("<code>metarl record (.*?)</code>", text)
    assert script("record", *shlex.split(html.unescape(command)), "--num-tasks", 1).status == 0
    assert script("compare", metanet, maml.path, "--output", output).status == 0
    (link,) = re.findall('<video [^>]*src="(.*?)"', output.read_text())
    assert (tmp_path / link).read_bytes()[4:8] == b"ftyp"
