"""Names and colours of methods: one each, told apart by everyone, on white and on a dark page."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from metarl.figures.appearance import INK, LOOKS, MUTED, SPARE, label, looks, luminance, method_of, on_dark
from metarl.training.presets import METHODS, PRESETS

DEFICIENCIES = {  # Machado et al. 2009, severity 1, on linear RGB
    "none": np.eye(3),
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
}


def oklab(colour: str, deficiency: str) -> np.ndarray:
    """Coordinates in which equal distances look alike (Ottosson 2020)."""
    c = np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    linear = np.clip(DEFICIENCIES[deficiency] @ np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4), 0, 1)
    cones = [[0.41222, 0.53633, 0.05145], [0.21190, 0.68070, 0.10740], [0.08830, 0.28172, 0.62998]] @ linear
    to_lab = [[0.21045, 0.79362, -0.00407], [1.97800, -2.42859, 0.45059], [0.02590, 0.78277, -0.80868]]
    return to_lab @ np.cbrt(cones)


def test_every_method_has_a_look_of_its_own():
    assert LOOKS.keys() == METHODS.keys()
    for field in ("label", "colour", "mark"):
        assert len({getattr(look, field) for look in (*LOOKS.values(),)}) == len(METHODS)
    assert not {look.mark for look in SPARE} & {look.mark for look in LOOKS.values()}


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_colours_differ_for_everyone(deficiency):
    for themed, least in ((str, 0.065), (on_dark, 0.035)):
        colours = [themed(colour) for colour in (*(look.colour for look in LOOKS.values()), MUTED)]
        for one, other in itertools.combinations(colours, 2):
            assert np.linalg.norm(oklab(one, deficiency) - oklab(other, deficiency)) > least, (one, other)


def test_colours_stand_out_from_the_page():
    """By WCAG's ratio for graphics, 3:1."""
    for colour in (*(look.colour for look in (*LOOKS.values(), *SPARE)), MUTED, INK):
        assert 1.05 / (luminance(colour) + 0.05) >= 3
        assert (luminance(on_dark(colour)) + 0.05) / (luminance(on_dark("#ffffff")) + 0.05) >= 3


def test_names():
    assert {method_of(name) for name in PRESETS} == METHODS.keys()
    methods = {"maml-ppo-point": "maml-ppo", "maml-slider": "maml", "sb3-ppo": "sb3-ppo", "snail-point": "snail-point"}
    assert {name: method_of(name) for name in methods} == methods
    labels = {
        "rl2-point": "RL²",
        "metanet": "MetaNet",
        "maml-point, inner_lr 0.1": "MAML, inner_lr 0.1",
        "mamluk-point": "mamluk-point",
    }
    assert {name: label(name) for name in labels} == labels


def test_variants_share_a_hue_and_are_told_apart():
    names = ["maml, inner_lr 0.1", "maml, inner_lr 0.5", "promp", "mine", "yours", "maml-ppo, gamma 1", "maml-ppo"]
    found = looks(names)
    assert found["maml, inner_lr 0.1"].colour == LOOKS["maml"].colour
    assert found["maml, inner_lr 0.1"].mark == found["maml, inner_lr 0.5"].mark
    assert len({(look.colour, look.dashes) for look in found.values()}) == len(names)
    assert len({look.colour for look in found.values()}) == len(names)


def test_presets_of_two_families_keep_two_names():
    found = looks(["maml-point", "maml-gridworld", "promp-point"])
    assert [look.label for look in found.values()] == ["MAML (maml-point)", "MAML (maml-gridworld)", "ProMP"]
