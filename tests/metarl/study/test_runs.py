"""Policies with a memory beside methods that adapt by gradient steps: numbers, tables and the figure."""

from __future__ import annotations

import json

import numpy as np
import pytest
from matplotlib.figure import Figure

from envs.errors import InputError
from metarl.figures.appearance import label, looks
from metarl.study.compare import compare, overview
from metarl.study.plots import draw_comparison, draw_intervals, plot_comparison
from metarl.study.runs import by_environment, group, read_run
from metarl.study.sheets import overview_sheet, sheets

STEPS = [[0.0, 1.0, 6.0], [2.0, 3.0, 8.0]]
TRIAL = [[1.0, 4.0, 5.0], [3.0, 4.0, 9.0]]


def compared(*paths):
    return compare(group([read_run(path) for path in paths]))


@pytest.fixture
def maml(write_run):
    """Its stages come after 0, 4 and 8 episodes."""
    return write_run(scores=STEPS)


@pytest.fixture
def metanet(write_run):
    """Trials of three episodes."""
    return write_run("metanet-point", scores=TRIAL, num_episodes=3)


# --- Numbers -----------------------------------------------------------------------------------------------------


def test_the_episodes_before_each_stage(write_run, maml):
    assert read_run(maml).episodes_before == [0, 4, 8]
    refined = read_run(write_run("metanet-point", scores=np.zeros((2, 5)), num_episodes=3))
    assert refined.episodes_before == [0, 1, 2, 2, 2]
    assert refined.stages == ["episode 1", "episode 2", "episode 3", "refined 1×", "refined 2×"]
    whole = read_run(write_run("rl2-point", scores=[[1.0], [2.0]], num_episodes=1))
    assert (whole.stages, whole.episodes_before) == (["whole trial"], [0])
    assert read_run(write_run("ppo-point", scores=[[1.0], [2.0]])).stages == ["0 steps"]


def test_last_stages_are_compared_and_stages_of_other_units_are_not(maml, metanet):
    result = compared(maml, metanet)
    method = result["methods"][1]
    assert method["improvement"] == [None, None, None]
    assert method["last_improvement"] == 0.5  # 5 < 6 and 9 > 8
    assert result["unit"] == "gradient steps or episodes"
    assert json.loads(json.dumps(result)) == result


def test_the_return_of_a_trial(write_run, metanet):
    """By hand over two seeds; a single seed has what its evaluation says. Stages after batches make no trial."""
    second = write_run("metanet-point", 1, scores=[[0.0, 0.0, 0.0], [0.0, 0.0, 4.0]], num_episodes=3)
    alone = write_run("rl2-point", scores=TRIAL, num_episodes=3, name="alone")
    batches = write_run(scores=STEPS)
    trials = {m["method"]: m["trials"] for m in compared(metanet, second, alone, batches)["methods"]}
    own = trials["metanet"]["3"]  # 10, 16, 0 and 4
    assert (own["mean"], own["iqm"], own["ci95"]) == (7.5, 7.0, [2.0, 13.0])
    evaluation = json.loads((alone / "evaluation-test.json").read_text())["trial"]
    assert {key: trials["rl2"]["3"][key] for key in own} == {key: evaluation[key] for key in own}
    assert trials["rl2"]["3"]["improvement"] == 0.75  # 10 = 10, 10 > 0, 16 = 16, 16 > 4
    assert trials["maml"] == {}


def test_adapting_after_every_episode_makes_a_trial(write_run):
    metanet = write_run("metanet-point", scores=TRIAL, num_episodes=3, num_envs=1)
    result = compared(write_run(scores=STEPS, num_envs=1), metanet)
    first, second = (m["trials"]["3"] for m in result["methods"])
    assert (first["mean"], second["mean"], second["improvement"]) == (10.0, 13.0, 1.0)
    short = compared(write_run("promp-point", scores=[[0.0, 1.0]] * 2, num_envs=1), metanet)
    assert short["methods"][0]["trials"] == {}


def test_references_begin_without_knowledge_and_learn_in_a_trial(maml, metanet):
    """Made up: -4 in the first episode, one more in each of the next."""
    alone, both = compared(metanet)["references"]["random"], compared(maml, metanet)["references"]["random"]
    assert alone["mean"] == -3.0 and both["mean"] == both["iqm"] == -4.0
    for reference in (alone, both):
        assert reference["curve"]["mean"] == reference["curve"]["iqm"] == [-4.0, -3.0, -2.0]
        assert reference["curve"]["episodes_before"] == [0, 1, 2]
        assert reference["trials"]["3"]["mean"] == -9.0


def test_an_evaluation_without_the_references_iqm_by_episode_still_has_their_means(metanet):
    file = metanet / "evaluation-test.json"
    evaluation = json.loads(file.read_text())
    for key in ("curve_iqm", "curve_iqm_ci95"):
        del evaluation["references"]["random"]["trial"][key]
    file.write_text(json.dumps(evaluation))
    result = compared(metanet)
    iqm, mean, _ = sheets(result)
    assert [row[0] for row in iqm.rows] == ["MetaNet"]
    assert [row[0] for row in mean.rows] == ["MetaNet", "random"]
    draw_comparison(Figure().add_subplot(), result)


def test_references_that_only_the_trials_were_evaluated_with_are_shown(maml, metanet, tmp_path):
    file = maml / "evaluation-test.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "references": {}}))
    result = compared(maml, metanet)
    assert (
        result["references"]["random"]["mean"]
        == json.loads((metanet / file.name).read_text())["references"]["random"]["mean"]
    )
    assert plot_comparison(result, tmp_path / "c.png").is_file()


def test_unequal_budgets_and_unequal_averages_are_noted(write_run, maml, metanet):
    assert not any("budget" in note or "A score" in note for note in compared(maml, metanet)["notes"])
    near, far = (write_run("rl2-point", scores=TRIAL, num_episodes=3, env_steps=n, name=str(n)) for n in (660, 661))
    assert not any("budget" in note for note in compared(maml, near)["notes"])
    assert (
        "Unequal budgets on point/finn2017: from 600 environment steps of training (MAML) to 661 (RL²)."
        in compared(maml, far)["notes"]
    )
    one = write_run("rl2-point", scores=TRIAL, num_episodes=3, num_envs=1, name="one")
    assert any("1 of RL², 4 of MAML." in note for note in compared(maml, one)["notes"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda e: e.pop("num_episodes"), "the field 'num_episodes' is missing"),
        (lambda e: e.update(num_episodes=7), "num_episodes is 7, with 3 stages"),
        (lambda e: e["references"]["random"].pop("trial"), "the field 'trial' is missing"),
        (lambda e: e["references"]["random"]["trial"].update(curve=[1.0]), "curve is not 3 finite numbers"),
    ],
)
def test_a_damaged_evaluation_of_trials_is_said(metanet, sentence, change, said):
    file = metanet / "evaluation-test.json"
    evaluation = json.loads(file.read_text())
    change(evaluation)
    file.write_text(json.dumps(evaluation))
    with pytest.raises(InputError) as error:
        read_run(metanet)
    assert said in sentence(error)


# --- Tables ------------------------------------------------------------------------------------------------------


def test_trials_have_a_column_for_each_episode_and_refinement(write_run, metanet):
    refined = write_run("rl2-point", scores=np.arange(6.0).reshape(2, 3), num_episodes=2)
    iqm, _, two, three, better = sheets(compared(metanet, refined))
    assert iqm.header[4:] == ["episode 1", "episode 2", "episode 3", "refined 1×"]
    assert [cell.split("\n")[0] for cell in iqm.rows[0][4:]] == ["2.00", "4.00", "7.00", "–"]
    assert [cell.split("\n")[0] for cell in iqm.rows[1][4:]] == ["1.50", "2.50", "–", "3.50"]
    assert [cell.split("\n")[0] for cell in iqm.rows[2][4:]] == ["−4.00", "−3.00", "−2.00", "–"]
    assert (three.rows[0][0], three.rows[0][2].split("\n")[0]) == ("MetaNet", "13.00")
    assert "sum of 2 episodes" in two.title and [row[0] for row in two.rows] == ["MetaNet", "RL²", "random"]
    assert [cell.split("\n")[0] for cell in better.rows[0][1:]] == ["0.25", "0.25", "–", "–"]


def test_a_trial_of_one_episode_is_a_whole_trial(write_run):
    runs = [write_run(f"{name}-bandit", scores=[[1.0], [2.0]], num_episodes=1) for name in ("metanet", "rl2")]
    iqm, mean, better = sheets(compared(*runs))
    assert iqm.header[4:] == mean.header[1:] == better.header[1:] == ["whole trial"]
    assert iqm.title.endswith("on 2 test tasks, of whole trials")


def test_mixed_methods_have_first_and_last_and_every_cell_says_what_came_before(write_run, maml, metanet):
    baseline = write_run("ppo-point", scores=[[1.0], [2.0]])
    first_last, trial, iqm, mean = sheets(compared(maml, metanet, baseline))
    rows = {row[0]: row[4:] for row in first_last.rows}
    assert first_last.header[4:] == [
        "first", "last", "episodes before the last", "P(last better than MAML’s)"
    ]  # fmt: skip
    assert [cell.split("\n")[0] for cell in rows["MetaNet"]] == ["2.00", "7.00", "2", "0.50"]
    assert [cell.split("\n")[0] for cell in rows["ppo-point"]] == ["1.50", "1.50", "0", "0.00"]
    assert [cell.split("\n")[-1] for cell in rows["MAML"]] == ["0 steps", "2 steps", "8", "–"]
    assert [cell.split("\n")[0] for cell in rows["random"]] == ["−4.00", "−2.00", "2", "–"]
    assert [row[0] for row in trial.rows] == ["MetaNet", "random"]
    for sheet in (iqm, mean):
        before = {row[0]: [cell.split("\n")[-1] for cell in row[1:]] for row in sheet.rows}
        assert before["MAML"] == ["after 0 episodes", "after 4 episodes", "after 8 episodes"]
        assert before["MetaNet"] == ["after 0 episodes", "after 1 episode", "after 2 episodes"]
        assert before["ppo-point"] == ["after 0 episodes", "–", "–"]


def test_an_overview_of_mixed_units_takes_steps_or_episodes(write_run, sentence):
    runs = [write_run(scores=STEPS), write_run("metanet-point", scores=TRIAL, num_episodes=3)]
    runs += [write_run(f"{name}-gridworld", env="gridworld", scores=STEPS) for name in ("maml", "metanet")]
    runs += [write_run("ppo-gridworld", env="gridworld", scores=[[1.0], [2.0]])]
    results = [compare(group(part)) for part in by_environment([read_run(path) for path in runs])]
    last, second = overview(results), overview(results, 1)
    assert [last[name][0]["stage"] for name in ("maml", "metanet", "random")] == ["2 steps", "episode 3", "episode 3"]
    assert [second[name][0]["stage"] for name in ("maml", "metanet", "random")] == ["1 step", "episode 2", "episode 2"]
    assert (second["metanet"][0]["value"], second["random"][0]["value"]) == (4.0, -3.0)
    assert second["ppo-gridworld"] == [
        None,
        {"stage": "0 steps", "value": 1.5, "ci95": second["ppo-gridworld"][1]["ci95"]},
    ]
    sheet = overview_sheet(results, 1)
    assert sheet.title == "IQM of the return after 1 adaptation step, or in episode 2 of a trial"
    assert [cell.split("\n")[-1] for cell in sheet.rows[1][1:]] == ["episode 2", "1 step"]
    with pytest.raises(InputError) as error:
        overview(results, 3)
    assert "was evaluated after 0 to 2 adaptation steps" in sentence(error)


def test_a_long_trial_leaves_columns_out_of_the_terminal_and_none_out_of_the_files(write_run):
    sheet = sheets(compared(write_run("metanet-point", scores=np.arange(20.0).reshape(2, 10), num_episodes=10)))[0]
    names = [str(column.header) for column in sheet.rich().columns]
    assert names[4:] == ["episode 1", "episode 2", "episode 3", "episode 4", "…", "episode 9", "episode 10"]
    assert all(f"episode {k}" in sheet.markdown() for k in range(1, 11))


def test_names_from_files_are_text_in_every_table(write_run):
    name = "[red]a|<b>&"
    sheet = sheets(compared(write_run(name, name="x"), write_run(name="y")))[0]
    assert "[red]a\\|&lt;b&gt;&amp;" in sheet.markdown()
    assert str(next(sheet.rich().columns[0].cells)) == name


# --- The figure --------------------------------------------------------------------------------------------------


def drawn(result):
    axes = Figure().add_subplot()
    draw_comparison(axes, result)
    return axes, {line.get_label(): line for line in axes.lines}


def test_the_axis_of_mixed_methods_is_experience(write_run, maml, metanet):
    baseline = write_run("ppo-point", scores=[[1.0], [2.0]])
    result = compared(maml, metanet, baseline)
    axes, lines = drawn(result)
    assert axes.get_xlabel().startswith("episodes of experience on the task")
    for method in result["methods"]:
        x, y = lines[label(method["name"])].get_data()
        np.testing.assert_allclose(y, method["iqm"])
        np.testing.assert_allclose(x, method["episodes_before"], atol=0.2)  # beside one another
    assert [lines[name].get_drawstyle() for name in ("MAML", "MetaNet")] == ["steps-post", "default"]
    carried = [line.get_xydata().tolist() for line in axes.lines if line.get_label() == "_carried on"]
    np.testing.assert_allclose(
        carried, [[[2.0, 7.0], [8.0, 7.0]], [[0.0, 1.5], [8.0, 1.5]], [[2.0, -2.0], [8.0, -2.0]]], atol=0.2
    )
    assert axes.get_xscale() == "linear"
    assert {0, 8} <= set(axes.get_xticks()) <= {0, 1, 2, 4, 8}


def test_experience_that_differs_widely_has_a_logarithmic_axis(write_run, metanet):
    axes, _ = drawn(compared(write_run("promp-point", scores=STEPS, num_envs=400), metanet))
    assert axes.get_xscale() == "symlog"
    assert list(axes.get_xticks()) == [0, 1, 2, 400, 800]
    places = axes.transAxes.inverted().transform(axes.transData.transform([[x, 0] for x in axes.get_xticks()]))[:, 0]
    assert np.diff(places).min() > 0.04 and places[0] > 0 and places[-1] < 1


def test_episodes_of_trials_are_counted_from_one(write_run, metanet):
    refined = write_run("rl2-point", scores=np.arange(6.0).reshape(2, 3), num_episodes=2)
    axes, lines = drawn(compared(metanet, refined))
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "2", "3", "refined\n1×"]
    assert list(lines["MetaNet"].get_xdata().round()) == [1, 2, 3]
    assert list(lines["RL²"].get_xdata().round()) == [1, 2]
    np.testing.assert_allclose(lines["_reference"].get_xydata(), [[1, -4.0], [2, -3.0], [3, -2.0]])
    hollow = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
    ((x, y),) = hollow[0].get_xydata()
    assert len(hollow) == 1 and (round(x), y) == (4, 3.5)


def test_single_stages_are_rows_with_intervals(write_run, tmp_path):
    runs = [write_run(f"{name}-bandit", scores=[[1.0], [2.0]], num_episodes=1) for name in ("metanet", "rl2")]
    result = compared(*runs)
    axes = Figure().add_subplot()
    draw_intervals(axes, result)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["MetaNet", "RL²", "random"]
    assert axes.get_xlabel() == "return of the whole trial"
    shown = [text.get_text() for text in axes.texts]
    assert shown[0] == "1.50  (1.00 … 2.00)" and shown[2].startswith("−4.00")
    assert plot_comparison(result, tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_more_methods_than_colours_are_told_apart(write_run, tmp_path):
    names = [f"m{k}$_x-point" for k in range(10)]  # a dollar sign begins no formula
    result = compared(*(write_run(name, scores=[[0.0, k], [1.0, k]]) for k, name in enumerate(names)))
    _, lines = drawn(result)
    assert lines.keys() >= set(names)
    assert len({(look.colour, look.dashes) for look in looks(names).values()}) == 10
    assert plot_comparison(result, tmp_path / "x.png").exists()
