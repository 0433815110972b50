"""Tables of a comparison."""

from __future__ import annotations

import numpy as np
from comparisons import STEPS, TRIAL, comparison

from metarl.study import compare_runs
from metarl.study.sheets import overview, overview_sheet, sheets

# --- Tables ------------------------------------------------------------------------------------------------------


def test_trials_have_a_column_for_each_episode(write_run, metanet):
    shorter = write_run("rl2-point", scores=[[0.0, 1.0], [3.0, 4.0]], num_episodes=2)
    iqm, _, two, three, better = sheets(comparison(metanet, shorter))
    assert iqm.header[4:] == ["episode 1", "episode 2", "episode 3"]
    assert [cell.split("\n")[0] for cell in iqm.rows[0][4:]] == ["2.00", "4.00", "7.00"]
    assert [cell.split("\n")[0] for cell in iqm.rows[1][4:]] == ["1.50", "2.50", "–"]
    assert [cell.split("\n")[0] for cell in iqm.rows[2][4:]] == ["−4.00", "−3.00", "−2.00"]
    assert (three.rows[0][0], three.rows[0][2].split("\n")[0]) == ("MetaNet", "13.00")
    assert "sum of 2 episodes" in two.title and [row[0] for row in two.rows] == ["MetaNet", "RL²", "random"]
    assert [cell.split("\n")[0] for cell in better.rows[0][1:]] == ["0.25", "0.25", "–"]


def test_a_trial_of_one_episode_is_a_whole_trial(write_run):
    runs = [write_run(f"{name}-bandit", scores=[[1.0], [2.0]], num_episodes=1) for name in ("metanet", "rl2")]
    iqm, mean, better = sheets(comparison(*runs))
    assert iqm.header[4:] == mean.header[1:] == better.header[1:] == ["whole trial"]
    assert iqm.title.endswith("on 2 test tasks, 1 seed, of whole trials")


def test_mixed_methods_have_first_and_last_and_every_cell_says_what_came_before(write_run, maml, metanet):
    baseline = write_run("ppo-point", scores=[[1.0], [2.0]])
    first_last, trial, iqm, mean = sheets(comparison(maml, metanet, baseline))
    rows = {row[0]: row[4:] for row in first_last.rows}
    assert first_last.header[4:] == ["first", "last", "episodes before the last", "P(last better than MAML’s)"]
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


def test_an_overview_of_mixed_units_takes_steps_or_episodes(write_run):
    runs = [write_run(scores=STEPS), write_run("metanet-point", scores=TRIAL, num_episodes=3)]
    runs += [write_run(f"{name}-gridworld", env="gridworld", scores=STEPS) for name in ("maml", "metanet")]
    runs += [write_run("ppo-gridworld", env="gridworld", scores=[[1.0], [2.0]])]
    results = compare_runs(runs).comparisons
    last = overview(results)
    assert [last[name][0][0] for name in ("maml", "metanet", "random")] == ["2 steps", "episode 3", "episode 3"]
    assert (last["metanet"][0][1].iqm, last["random"][0][1].iqm) == (7.0, -2.0)
    assert last["ppo-gridworld"][0] is None
    assert (last["ppo-gridworld"][1][0], last["ppo-gridworld"][1][1].iqm) == ("0 steps", 1.5)
    sheet = overview_sheet(results)
    assert sheet.title == "IQM of the return after the last adaptation step, or in the last episode of a trial, 1 seed"
    assert [cell.split("\n")[-1] for cell in sheet.rows[1][1:]] == ["episode 3", "2 steps"]


def test_the_head_of_every_table_says_how_many_seeds_there_are(write_run):
    """Of memories, of gradient steps, and of both."""
    trials = [write_run("metanet-point", seed, scores=TRIAL, num_episodes=3) for seed in range(3)]
    steps = [write_run(seed=seed, scores=STEPS) for seed in range(2)]
    for runs, said in ((trials, "3 seeds"), (steps, "2 seeds"), (trials + steps, "2 or 3 seeds")):
        assert all(f", {said}" in sheet.title for sheet in sheets(comparison(*runs)))
    elsewhere = write_run("maml-gridworld", env="gridworld", scores=STEPS)
    assert overview_sheet(compare_runs([*steps, elsewhere]).comparisons).title.endswith(", 1 or 2 seeds")


def test_a_long_trial_has_a_column_for_every_episode_in_the_terminal_and_in_the_files(write_run):
    sheet = sheets(comparison(write_run("metanet-point", scores=np.arange(20.0).reshape(2, 10), num_episodes=10)))[0]
    names = [f"episode {k}" for k in range(1, 11)]
    assert [str(column.header) for column in sheet.rich().columns][4:] == names
    assert all(name in sheet.markdown() for name in names)


def test_names_from_files_are_text_in_every_table(write_run):
    name = "[red]a|<b>&"
    sheet = sheets(comparison(write_run(name, name="x"), write_run(name="y")))[0]
    assert "[red]a\\|&lt;b&gt;&amp;" in sheet.markdown()
    assert str(next(sheet.rich().columns[0].cells)) == name
