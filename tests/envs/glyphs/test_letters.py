"""The letters, and which of them are held out."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest

from envs.glyphs.letters import ALIKE, base_letter, group_names, letters, split_of

SPLITS = ("train", "validation", "test")


def test_every_letter_is_drawn_in_twelve_faces():
    found = letters()
    assert found.image.shape == (len(found.code), 12, 28, 28) and len(found.code) > 1300
    assert (np.diff(found.code) > 0).all()
    assert (found.image.max((2, 3)) > 100).mean() > 0.999
    for name in "AzÉßжЖλ":
        assert ord(name) in found.code


def test_a_letter_is_in_the_middle_of_its_image():
    image = letters().image[letters().code == ord("O")][0, 0]
    rows, columns = (np.nonzero(image.max(axis))[0] for axis in (1, 0))
    for lit in (rows, columns):
        assert abs((lit.min() + lit.max()) / 2 - 13.5) <= 1


def test_no_base_letter_is_in_two_splits():
    """By Unicode's own decomposition, whatever the case, beside the code under test."""
    split_of_base: dict[str, str] = {}
    for split in SPLITS:
        for code in np.concatenate(letters().groups(split)).tolist():
            base = unicodedata.normalize("NFD", chr(code))[0].lower()
            assert split_of_base.setdefault(base, split) == split, chr(code)


def test_no_two_splits_hold_letters_that_are_drawn_alike():
    found = letters()
    pixels = found.upright.reshape(len(found.code), -1).astype(np.float64) / 255
    split = np.array([split_of(name) for name in found.group])
    for name in SPLITS:
        here, elsewhere = pixels[split == name], pixels[split != name]
        difference = (here**2).mean(1)[:, None] + (elsewhere**2).mean(1) - 2 * here @ elsewhere.T / pixels.shape[1]
        assert difference.min() > 0.99 * ALIKE


def test_every_letter_is_in_one_split_and_each_has_enough():
    groups = {split: letters().groups(split) for split in SPLITS}
    codes = np.concatenate([code for found in groups.values() for code in found])
    assert sorted(codes.tolist()) == letters().code.tolist()
    assert len(groups["train"]) > len(groups["test"]) > len(groups["validation"]) >= 20


@pytest.mark.parametrize(("letter", "base"), [("é", "e"), ("E", "e"), ("Ǻ", "a"), ("ﬁ", "f"), ("ё", "е"), ("ß", "s")])
def test_base_letters(letter, base):
    assert base_letter(letter) == base


def test_groups_join_what_is_drawn_alike():
    """A chain: the second `a` is drawn as an `x`, and the second `x` as a `b`."""
    image = np.zeros((5, 28, 28), np.uint8)
    for i, column in enumerate((0, 5, 5, 9, 9)):
        image[i, :, column] = 255
    assert group_names(["a", "a", "x", "x", "b"], image) == ["a"] * 5
    image[4] = 255
    assert group_names(["a", "a", "x", "x", "b"], image) == ["a"] * 4 + ["b"]
