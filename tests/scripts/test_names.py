"""Videos, charts and tables say which method was trained and on what, whichever preset a run started from."""

from __future__ import annotations

import json

import pytest

SMALL = ("--num-iterations", 1, "--meta-batch-size", 2, "--env.horizon", 5, "--num-threads", 1)


@pytest.fixture
def titles(monkeypatch):
    """What charts and videos are headed by; the pictures themselves are not made."""
    seen = []

    def save(figure, path):
        seen.append(figure.texts[0].get_text())
        return path

    def compose(env, recording, title, *rest, **more):
        seen.append(title)
        return []

    monkeypatch.setattr("metarl.evaluation.plot.save_png", save)
    monkeypatch.setattr("metarl.video.record.compose", compose)
    monkeypatch.setattr("metarl.video.record.write_video", lambda frames, path, fps: path)
    return seen


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["rl2-point", "--hidden-size", 8], "RL² on point/finn2017"),
        (["metanet-point", "--hidden-size", 8], "MetaNet on point/finn2017"),
        (["maml-point", "--env", "arena"], "MAML on arena/wide"),
        (["maml-arena"], "MAML on arena/wide"),
    ],
)
def test_titles_name_the_method_and_the_family(script, titles, arena, arguments, expected, tmp_path):
    run = tmp_path / "run"
    assert script("train", *arguments, *SMALL, "--run-dir", run).status == 0
    result = script("evaluate", run, "--num-tasks", 3, "--num-envs", 2)
    assert result.status == 0 and f"{expected}: return on 3 test tasks" in result.out
    assert script("record", run, "--num-tasks", 1).status == 0
    assert titles == [expected, expected]


def test_a_comparison_names_the_family_that_was_trained(script, arena, tmp_path):
    run, output = tmp_path / "run", tmp_path / "c.json"
    assert script("train", "maml-point", "--env", "arena", *SMALL, "--run-dir", run).status == 0
    assert script("evaluate", run, "--num-tasks", 3, "--num-envs", 2).status == 0
    assert script("compare", run, "--output", output.with_suffix(".md")).status == 0
    (method,) = json.loads(output.read_text())["methods"]
    assert (method["name"], method["method"], method["preset"]) == ("maml-arena", "maml", "maml-point")
    assert "metarl train maml-point --env arena" in output.with_suffix(".md").read_text()
