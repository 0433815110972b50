"""What a method is called and how it looks: one name, colour and mark in every table and figure.

Colours are chosen so that any two differ for people with and without colour-blindness and stand out from white and,
by `on_dark`, from a dark page; marks tell methods apart without colour. References are grey and dashed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

INK, MUTED, FAINT = "#1f2733", "#6d7683", "#dde1e7"
"""Colours of text, of what is beside the point (axes, references), and of grids."""
DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)))
"""Lines of a method's first, second, ... variant."""


@dataclass(frozen=True)
class Look:
    """How a method is named and drawn.

    Attributes:
        colour: as #rrggbb, on white; on a dark page see `on_dark`.
        mark, dashes: Matplotlib's marker and line style.
    """

    label: str
    colour: str
    mark: str | tuple[int, int, int]
    dashes: Any = DASHES[0]


LOOKS = {
    "maml": Look("MAML", "#2f6fde", "o"),
    "fomaml": Look("FOMAML", "#0a99f5", "s"),
    "maml-ppo": Look("MAML-PPO", "#29298f", "D"),
    "maml-vpg": Look("MAML-VPG", "#a37acc", "v"),
    "promp": Look("ProMP", "#b86629", "^"),
    "meta-sgd": Look("Meta-SGD", "#7a2900", "P"),
    "reptile": Look("Reptile", "#5c9970", "h"),
    "metanet": Look("MetaNet", "#ad333d", "X"),
    "meta-networks": Look("Meta Networks", "#764e77", "8"),
    "rl2": Look("RL²", "#7a47a3", "p"),
    "varibad": Look("VariBAD", "#4508fe", (4, 1, 0)),
    "dpt": Look("DPT", "#600201", (6, 1, 0)),
    "pearl": Look("PEARL", "#301050", (5, 1, 0)),
    "sb3-ppo": Look("PPO, all tasks", "#f53dad", "<"),
    "sb3-ppo-informed": Look("PPO, told the task", "#66335c", "d"),
    "sb3-ppo-scratch": Look("PPO from scratch", "#b88f00", ">"),
}
SPARE = (Look("", "#29705c", "*"), Look("", "#1f667a", "H"))
"""Of methods that are not among these."""
ON_DARK = {
    "#29298f": "#8fa3e0",
    "#7a2900": "#ffcc8f",
    "#ad333d": "#ff527a",
    "#7a47a3": "#d6adff",
    "#66335c": "#f5d0ee",
    "#301050": "#af32af",
    "#29705c": "#70d6c2",
    "#1f667a": "#85c4dc",
    INK: "#e4e8ee",
    MUTED: "#9aa5b4",
    FAINT: "#323a46",
    "#ffffff": "#161a20",
}
"""Colours on a dark page that are no plain tints, since tints of the darkest would look alike."""


def method_of(name: str) -> str:
    """The method in a preset's name: maml of maml-point. A name of another kind stays whole."""
    return max((m for m in LOOKS if name == m or name.startswith(f"{m}-")), key=len, default=name)


def label(name: str) -> str:
    """The name that people read: MAML of maml, of maml-point, and "MAML, inner_lr 0.1" of "maml, inner_lr 0.1"."""
    preset, comma, fields = name.partition(",")
    look = LOOKS.get(method_of(preset))
    return f"{look.label}{comma}{fields}" if look else name


def title(preset: str, env: str) -> str:
    """Of a video, a chart or a table: the method, and the environment on which it was trained, FAMILY/PRESET."""
    return f"{label(preset)} on {env}"


def looks(names: Sequence[str]) -> dict[str, Look]:
    """The look of each method in a study, by the names that `metarl.study.compare.compare` gives them.

    Variants of one method have its colour in several shades, and other dashes. Where two have one label, as a method's
    presets of two families, the name is added to it.
    """
    names = list(dict.fromkeys(names))
    labels = [label(name) for name in names]
    out: dict[str, Look] = {}
    seen: dict[str, int] = {}  # variants of each method, and methods not in LOOKS
    for name, own in zip(names, labels, strict=True):
        method = method_of(name.partition(",")[0])
        k = seen.setdefault(method if method in LOOKS else "", 0)
        if method in LOOKS:
            look = replace(LOOKS[method], colour=shade(LOOKS[method].colour, k), dashes=DASHES[k % len(DASHES)])
        else:
            look = replace(SPARE[k % len(SPARE)], dashes=DASHES[k // len(SPARE) % len(DASHES)])
        seen[method if method in LOOKS else ""] += 1
        out[name] = replace(look, label=f"{own} ({name})" if labels.count(own) > 1 else own)
    return out


def labels(names: Sequence[str]) -> dict[str, str]:
    """The label of each method in a study, as in `looks`."""
    return {name: look.label for name, look in looks(names).items()}


def shade(colour: str, k: int) -> str:
    """The k-th shade of a colour: itself, then darker, or lighter where it is dark."""
    target = "#ffffff" if luminance(colour) < 0.12 else "#000000"
    return mix(colour, target, min(0.3 * k, 0.6))


def on_dark(colour: str) -> str:
    """The colour that stands for this one on a dark page: itself, or a light tint of a dark one."""
    if colour in ON_DARK:
        return ON_DARK[colour]
    share = 0.0
    while luminance(mix(colour, "#ffffff", share)) < 0.17:
        share += 0.05
    return mix(colour, "#ffffff", share)


def mix(colour: str, other: str, share: float) -> str:
    """The colour with a share of another."""
    pairs = zip(_channels(colour), _channels(other), strict=True)
    return "#" + "".join(f"{round(255 * ((1 - share) * a + share * b)):02x}" for a, b in pairs)


def luminance(colour: str) -> float:
    """Relative luminance as in WCAG 2, from 0 to 1."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in _channels(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _channels(colour: str) -> list[float]:
    return [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
