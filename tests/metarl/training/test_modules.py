"""Modules of one's own are imported from the current folder."""

from __future__ import annotations

import sys

import pytest

from envs import InputError
from metarl.training import modules


def test_a_module_of_the_current_folder_is_imported(tmp_path, monkeypatch):
    (tmp_path / "one_of_mine.py").write_text("x = 3")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    modules.load("one_of_mine")
    assert sys.modules.pop("one_of_mine").x == 3


@pytest.mark.parametrize(("names", "words"), [("not_there", "no module 'not_there'"), ("a/b", "'a/b' is none")])
def test_what_cannot_be_imported_is_told(monkeypatch, sentence, names, words):
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(InputError) as error:
        modules.load(names, "config.json")
    assert words in sentence(error) and "config.json" in str(error.value)
