"""Files are whole or absent, whoever writes at the same time and whenever a kill comes."""

from __future__ import annotations

import os
from pathlib import Path

import torch

import envs
from envs.files import write_atomically
from envs.tasks import load_tasks, save_tasks


def test_a_file_is_whole_before_it_takes_its_name(tmp_path, monkeypatch):
    path, steps = tmp_path / "file", []
    path.write_text("old")
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (steps.append(("fsync", path.read_text())), fsync(fd)))
    monkeypatch.setattr(Path, "replace", lambda a, b: (steps.append((a.read_text(), b.read_text())), replace(a, b)))
    write_atomically(path, lambda p: p.write_text("new"))
    assert steps == [("fsync", "old"), ("new", "old")]
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_that_somebody_put_there_is_not_followed(tmp_path):
    """The temporary file's name was one that everybody knew, and a link of that name was written through."""
    victim, path = tmp_path / "victim", tmp_path / "shared" / "file.json"
    victim.write_text("mine")
    path.parent.mkdir()
    (path.parent / f".{path.name}.partial").symlink_to(victim)
    write_atomically(path, lambda p: p.write_text("new"))
    assert (path.read_text(), victim.read_text()) == ("new", "mine")
    env = envs.make("point")
    tasks = path.with_name("tasks.json")
    (path.parent / f".{tasks.name}.partial").symlink_to(victim)
    save_tasks(tasks, "point", None, env, env.sample_tasks(1, torch.Generator()))
    assert victim.read_text() == "mine"
    assert load_tasks(tasks, env).goal.shape == (1, 2)


def test_each_writer_has_a_temporary_file_of_its_own(tmp_path):
    path, inner = tmp_path / "file", []

    def write(part: Path) -> None:
        part.write_text("outer")
        write_atomically(path, lambda p: (inner.append(p), p.write_text("inner")))
        assert path.read_text() == "inner"

    write_atomically(path, write)
    assert path.read_text() == "outer"
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_has_the_permissions_of_any_other(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "file", lambda p: p.write_text("new"))
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_what_a_kill_left_behind_goes_with_time_and_what_another_writes_stays(tmp_path):
    old, young, other = (tmp_path / name for name in (".file.1.partial", ".file.2.partial", ".other.1.partial"))
    for part in (old, young, other):
        part.write_text("half")
    for part in (old, other):
        os.utime(part, (0, 0))
    write_atomically(tmp_path / "file", lambda p: p.write_text("new"))
    assert [part.exists() for part in (old, young, other)] == [False, True, True]
