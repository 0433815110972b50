"""The report: one well-formed page with everything in it, nothing unescaped, and commands that make the same runs."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from html.parser import HTMLParser

import numpy as np
import pytest

import envs
from envs.errors import InputError
from metarl.figures.appearance import LOOKS, on_dark
from metarl.study.compare import compare
from metarl.study.learning_curves import draw_learning, learning_curve
from metarl.study.plots import plot_comparison
from metarl.study.report import EMBED_LIMIT, charts, check_embedding, html_report, markdown_report, part
from metarl.study.reproduce import evaluate_command, train_command
from metarl.study.runs import group, read_run
from metarl.training.config import from_dict
from metarl.training.presets import preset
from metarl.training.run import Run

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


def test_the_page_holds_figure_tables_notes_and_differences(write_run, reports):
    runs = [write_run(), write_run(inner_lr=0.5, name="b"), write_run("metanet-point", num_episodes=2, env_steps=900)]
    page, html, markdown = reports(*runs)
    assert html.startswith("<!doctype html>") and "color-scheme: light dark" in html
    assert not page.all("script") and not page.all("link") and "http" not in html
    for text in (page.text, markdown):
        for name in ("MAML, inner_lr 0.1", "MAML, inner_lr 0.5", "MetaNet", "random"):
            assert name in text
        assert "algorithm.inner_lr" in text and "num_iterations" not in text.split("Commands that make")[0]
        assert "Unequal budgets" in text and "after 4 episodes" in text
    assert "3 methods on point/finn2017" in page.text
    assert len(page.all("table")) == 5
    assert "![Adaptation curves](c.png)" in markdown


def test_videos_are_linked_by_a_path_that_leads_from_the_report(write_run, reports, tmp_path):
    runs = [write_run(name="a run#1"), write_run(seed=1)]
    page, _, markdown = reports(*runs)
    assert not page.all("video")
    command = f"python scripts/record.py '{runs[0]}' --output '{runs[0]}/a run#1.mp4'"
    assert command in page.text and command in markdown
    (runs[0] / "a & b.mp4").touch()
    (runs[1] / "c.mp4").touch()
    page, html, markdown = reports(*runs)
    links = ["../a%20run%231/a%20%26%20b.mp4", "../maml-point-1/c.mp4"]
    assert [video["src"] for video in page.all("video")] == links
    assert all("controls" in video for video in page.all("video"))
    assert "MAML, seed 0: a & b.mp4" in page.text and "a &amp; b.mp4" in html
    assert all(f"]({link})" in markdown for link in links)
    assert (tmp_path / "study" / "../maml-point-1/c.mp4").exists()


def test_nothing_from_files_is_markup(write_run, reports):
    evil = "<script>alert(1)</script>\"'&|x"
    run = write_run(evil, references={evil: np.array([[[-5.0]], [[-3.0]]])}, name="x")
    config = json.loads((run / "config.json").read_text())
    config["train"]["algorithm"]["note"] = "</pre><img src=x onerror=alert(1)>"
    (run / "config.json").write_text(json.dumps(config))
    page, _, markdown = reports(run, write_run(name="<b>"))
    assert not page.all("script") and not page.all("b") and not page.all("img")
    assert page.text.count(evil) >= 4 and "</pre><img src=x" in page.text
    table = [line for line in markdown.splitlines() if line.startswith("|")]
    assert not any("<script" in line or "<img" in line for line in table)
    assert len({line.replace("\\|", "").count("|") for line in table[:5]}) == 1


# --- Charts and videos -------------------------------------------------------------------------------------------


def write_log(run, returns, iteration_steps=50):
    rows = [{"iteration": k + 1, "return_0": -9.0, "return_1": y, "env_steps": iteration_steps * (k + 1)}
            for k, y in enumerate(returns)]  # fmt: skip
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"iteration": 9, "re')


def test_learning_curves_are_the_logged_returns_after_adaptation(write_run):
    first, second = write_run(env_steps=150), write_run(seed=1, env_steps=150)
    write_log(first, [-3.0, -2.0, -1.0, 50.0])  # the last one came after the evaluation
    write_log(second, [-5.0, -4.0, -3.0])
    np.testing.assert_allclose(learning_curve(first, 150), [[50, 100, 150], [-3, -2, -1]])
    (method,) = group([read_run(first), read_run(second)])
    (axes,) = draw_learning([method], ["maml"], ["maml"]).axes
    lines = [line.get_xydata().tolist() for line in axes.lines if line.get_label() in ("MAML", "_seed")]
    assert lines == [[[50, y], [100, y + 1], [150, y + 2]] for y in (-3, -5, -4)]
    assert {line.get_color() for line in axes.lines if line.get_label() in ("MAML", "_seed")} == {LOOKS["maml"].colour}


def test_the_first_returns_do_not_squeeze_the_rest(write_run):
    run = write_run(env_steps=10_000)
    write_log(run, [-9000.0, *np.linspace(-3.0, -2.0, 99)])
    figure = draw_learning(group([read_run(run)]), ["maml"], ["maml"])
    low, high = figure.axes[0].get_ylim()
    assert low > -5 and high < 0
    assert any("cut off at the axis" in text.get_text() for text in figure.texts)


def test_a_long_log_is_thinned_and_keeps_its_mean(write_run):
    run = write_run()
    write_log(run, list(range(1000)), 1)
    curve = learning_curve(run, 1000)
    assert curve.shape[1] <= 300 and curve[0, -1] == 1000 and curve[1].mean() == pytest.approx(499.5)


def test_the_report_has_learning_curves_of_the_runs_that_have_a_log(write_run, reports):
    runs = [write_run(), write_run("rl2-point", name="b")]
    page, html, _ = reports(*runs)
    assert len(page.all("svg")) == 1 and "Learning curves" not in page.text
    write_log(runs[1], [-3.0, -2.0])
    page, html, _ = reports(*runs)
    assert len(page.all("svg")) == 2
    assert "no log: MAML" in html.split("<svg")[-1]
    assert "RL² −2.00" in html.split("<svg")[-1]


def test_charts_follow_the_scheme_of_the_page(write_run, reports):
    _, html, _ = reports(write_run(), write_run("rl2-point", name="b"))
    chart = html[html.index("<svg") : html.rindex("</svg>")]
    used = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", chart)) - {"none"}
    assert used and all(colour.startswith("var(--") for colour in used)
    light, dark = re.findall(r":root { (--[0-9a-f]{6}: .*?)}", html)
    for theme in (light, dark):
        assert {f"var({name})" for name in re.findall(r"--[0-9a-f]{6}", theme)} >= used
    own = LOOKS["rl2"].colour
    assert f"--{own[1:]}: {own};" in light and f"--{own[1:]}: {on_dark(own)};" in dark


def test_embedded_videos_leave_no_reference_to_another_file(write_run, reports):
    run = write_run()
    (run / "a.mp4").write_bytes(b"film")
    page, html, _ = reports(run, embed=True)
    assert [video["src"] for video in page.all("video")] == ["data:video/mp4;base64,ZmlsbQ=="]
    assert "http" not in html and "@import" not in html and "url(" not in html.replace("url(#", "")
    for name in ("href", "src", "srcset", "poster", "data"):
        links = [attributes[name] for _, attributes in page.tags if name in attributes]
        assert all(link.startswith(("#", "data:")) for link in links)


def test_more_video_than_a_page_should_hold_is_refused(write_run, sentence):
    run = write_run()
    with (run / "a.mp4").open("wb") as file:
        file.truncate(EMBED_LIMIT * 10**6)
    check_embedding([run])
    (run / "b.mp4").write_bytes(b"x" * 600_000)
    with pytest.raises(InputError) as error:
        check_embedding([run])
    assert "--embed" in sentence(error) and "2 videos of 51 MB" in sentence(error)


# --- Commands ----------------------------------------------------------------------------------------------------


def made(path, name, changes, **env_fields):
    """The description of a run as train.py makes it, with an evaluation beside it."""
    config = from_dict(preset(name), changes)
    run = Run(path, name, config, envs.make_config(config.env, config.env_preset, **env_fields))
    run.create()
    return run


@pytest.mark.parametrize(
    ("name", "changes", "env_fields", "options"),
    [
        ("maml-point", {"seed": 3}, {}, "--seed 3"),
        ("maml-point", {"shards": 4}, {}, "--seed 0 --shards 4"),
        (
            "promp-point",
            {"num_iterations": 1, "policy": {"hidden_sizes": (4, 3)}, "algorithm": {"outer": {"outer_lr": 1e-05}}},
            {"horizon": 5},
            "--seed 0 --num-iterations 1 --hidden-sizes 4 3 --outer-lr 1e-05 --env.horizon 5",
        ),
        ("reptile-point", {"algorithm": {"halve_test_lr": False}}, {}, "--seed 0 --no-halve-test-lr"),
        (
            "metanet-gridworld",
            {"policy": {"memory": "ring", "action_heads": 0}, "algorithm": {"num_episodes": 2}},
            {"terminate_at_goal": True},
            "--seed 0 --memory ring --action-heads 0 --num-episodes 2 --env.terminate-at-goal",
        ),
        ("maml-point", {"env": "bernoulli-bandit", "env_preset": "k10-n100"}, {}, None),
        ("maml-point", {"env": "half-cheetah-vel", "env_preset": "finn2017"}, {}, None),
    ],
)
def test_the_command_makes_the_same_configuration(
    tmp_path, script, monkeypatch, write_run, name, changes, env_fields, options
):
    """train.py, given the command, writes the same config.json; it is not let to train."""
    run = made(tmp_path / "here", name, changes, **env_fields)
    evaluation = write_run(name="there") / "evaluation-test.json"
    (run.path / evaluation.name).write_bytes(evaluation.read_bytes())
    words = shlex.split(train_command(read_run(run.path)))
    assert words[:3] == ["python", "scripts/train.py", name]
    assert options is None or words[3:-2] == options.split()
    again = tmp_path / "again"
    assert words[-2:] == ["--run-dir", str(run.path)]
    monkeypatch.setattr("metarl.training.loop.train", lambda run, **options: None)
    result = script("train", *words[2:-1], again)
    assert (result.status, result.err) == (0, "")
    assert (again / "config.json").read_text() == (run.path / "config.json").read_text()


def test_what_train_cannot_make_is_said_in_a_comment(tmp_path, write_run):
    assert train_command(read_run(write_run("my-method"))).endswith("it has no preset my-method.")
    run = made(tmp_path / "run", "maml-point", {})
    (run.path / "evaluation-test.json").write_bytes((write_run() / "evaluation-test.json").read_bytes())
    config = json.loads((run.path / "config.json").read_text())
    config["train"]["policy"] = {"kind": "GRUConfig"}
    (run.path / "config.json").write_text(json.dumps(config))
    command = train_command(read_run(run.path))
    assert command.startswith("# ") and "its policy are not those" in command


def test_a_family_of_ones_own_needs_its_module_and_all_its_fields(tmp_path, write_run):
    run = made(tmp_path / "run", "maml-point", {})
    (run.path / "evaluation-test.json").write_bytes((write_run() / "evaluation-test.json").read_bytes())
    config = json.loads((run.path / "config.json").read_text())
    config["train"] |= {"env": "slider", "env_preset": "default"}
    config["env"]["config"] = {"horizon": 20, "speed": 0.2}
    (run.path / "config.json").write_text(json.dumps(config))
    words = "--env slider --env-preset default --env.horizon 20 --env.speed 0.2"
    assert f"{words} --run-dir {run.path} --imports MODULE" in train_command(read_run(run.path))


def test_the_evaluation_is_repeated_with_its_options(write_run):
    run = read_run(write_run())
    assert evaluate_command(run).endswith("maml-point-0 --num-tasks 2 --num-envs 4 --num-steps 1")
    usual = dataclasses.replace(run, train={**run.train, "eval_num_tasks": 2, "eval_num_envs": 4})
    assert evaluate_command(usual).endswith("maml-point-0 --num-steps 1")
    path = write_run(scores=[[0.0] * 4] * 2, name="x", split="ood", seed=1)
    other = dataclasses.replace(read_run(path), train=usual.train)
    other.evaluation["seed"] = 7
    assert evaluate_command(other).endswith("x --split ood --seed 7")
    other.evaluation["split"] = "my tasks.json"
    assert evaluate_command(other).endswith("x --tasks 'my tasks.json' --seed 7")
    other.evaluation["references"] = {}
    assert evaluate_command(other).endswith("--seed 7 --no-references")
    refined = read_run(write_run("metanet-point", scores=[[0.0] * 4] * 2, num_episodes=3))
    assert evaluate_command(refined).endswith("metanet-point-0 --num-tasks 2 --num-envs 4 --refine-steps 1")
