"""Which policies the page offers."""

from __future__ import annotations

from pathlib import Path

import pytest

from envs.errors import InputError
from metarl.agent.pretrained import pretrained
from metarl.play.policies import find


def test_run_folders_and_folders_of_them(runs, tmp_path):
    assert list(find([runs])) == ["gradient", "memory"]
    assert list(find([runs / "memory", runs])) == ["memory", "gradient", "memory (2)"]
    offer = find([runs / "gradient"])["gradient"]
    assert (offer.method, offer.family) == ("MAML", "point") and not offer.summary()["shipped"]


def test_policies_that_come_with_the_package_by_name_and_by_default(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (alone,) = find([Path("metanet-gridworld")]).values()
    assert (alone.id, alone.family) == ("metanet-gridworld", "gridworld") and alone.summary()["shipped"]
    assert list(find([])) == list(pretrained())
    (tmp_path / "runs").symlink_to(runs)
    assert list(find([])) == ["gradient", "memory", *pretrained()]  # one's own first


def test_what_is_no_trained_policy_is_refused_and_passed_over_among_others(runs, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json"):
        find([broken])
    with pytest.raises(InputError, match="no trained policy"):
        find([tmp_path])
    with pytest.raises(InputError, match="nowhere"):
        find([tmp_path / "nowhere"])
    (tmp_path / "whole").symlink_to(runs / "memory")
    assert [o.family for o in find([tmp_path]).values()] == ["gridworld"]


def test_details_describe_the_task_and_the_stages(runs):
    offers = find([runs])
    memory, gradient = (offers[name].details for name in ("memory", "gradient"))
    assert (memory["trial"], memory["lanes"], memory["stages"]) == (True, 1, ["episode 1", "episode 2", "episode 3"])
    assert (gradient["trial"], gradient["lanes"], len(gradient["stages"])) == (False, 4, 4)
    (goal,) = gradient["fields"]
    assert (goal["name"], goal["shape"], goal["low"], goal["high"]) == ("goal", [2], -2.0, 2.0)
    assert -0.5 <= goal["typical"][0] < goal["typical"][1] <= 0.5  # where the tasks of the family lie


def test_tasks_are_drawn_by_split_and_seed(runs):
    offer = find([runs])["gradient"]
    assert offer.draw("test", 1) == offer.draw("test", 1) != offer.draw("test", 2)
    with pytest.raises(InputError, match="split"):
        offer.draw("nonsense", 1)
