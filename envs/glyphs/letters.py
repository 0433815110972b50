"""The letters that all twelve DejaVu faces of Matplotlib hold, drawn once, and how they are split.

Letters are split by what they look like: those with the same base letter (NFKD without marks, case folded), and those
that the upright sans-serif face draws alike, as the A of the Latin, Greek and Cyrillic alphabets, form a group. Groups
are never divided between splits, and a task has letters of different groups.
"""

from __future__ import annotations

import functools
import unicodedata
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SIDE = 28
FONT_SIZE = 20
CATEGORIES = ("Lu", "Ll", "Lt", "Lo")
"""Of Unicode, without the modifier letters (Lm), which are small copies of others, or mere marks."""
ALIKE = 0.005
"""Mean squared difference of pixels in [0, 1] below which two letters are drawn alike."""
SPLITS = ("train",) * 7 + ("validation",) + ("test",) * 2
"""Of ten equal parts of the groups, by a checksum of the group's name."""


@dataclass(frozen=True, eq=False)
class Letters:
    """L letters in F faces."""

    code: np.ndarray  # [L] int64 code points, ascending
    group: list[str]  # [L] the first base letter of the group
    image: np.ndarray  # [L, F, 28, 28] uint8
    upright: np.ndarray  # [L, 28, 28] uint8, in the sans-serif face

    def groups(self, split: str) -> list[np.ndarray]:
        """The code points of each group of a split, by the names of the groups."""
        members: dict[str, list[int]] = {}
        for code, group in zip(self.code.tolist(), self.group, strict=True):
            members.setdefault(group, []).append(code)
        return [np.array(codes) for name, codes in sorted(members.items()) if split_of(name) == split]


def base_letter(letter: str) -> str:
    """Without marks, and lower-case: `é`, `E` and `Ẽ` all give `e`."""
    return unicodedata.normalize("NFKD", letter)[0].casefold()[0]


def split_of(group: str) -> str:
    """The split of a group. It depends on its name alone, not on which other letters there are."""
    return SPLITS[zlib.crc32(group.encode()) % len(SPLITS)]


@functools.cache
def letters() -> Letters:
    """All letters, drawn in about 0.7 s when they are first needed in a process."""
    import matplotlib  # only where the family is used
    from matplotlib.ft2font import FT2Font

    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    faces = sorted(path for path in folder.glob("DejaVu*.ttf") if "Display" not in path.name)
    common = set.intersection(*(set(FT2Font(str(face)).get_charmap()) for face in faces))
    code = [c for c in sorted(common) if unicodedata.category(chr(c)) in CATEGORIES]
    image = np.stack([_draw(face, code) for face in faces], 1)
    upright = image[:, [face.name for face in faces].index("DejaVuSans.ttf")]
    return Letters(np.array(code), group_names([base_letter(chr(c)) for c in code], upright), image, upright)


def group_names(base: Sequence[str], image: np.ndarray) -> list[str]:
    """The name of each letter's group: the first of the base letters that are joined by letters drawn alike.

    Args:
        base: base letter of each of L letters.
        image: [L, 28, 28] uint8, how they are drawn.
    """
    joined: dict[str, str] = {}  # a base letter, and an earlier one of the same group

    def name(letter: str) -> str:
        while letter in joined:
            letter = joined[letter]
        return letter

    pixels = image.reshape(len(image), -1) / 255
    power = (pixels**2).mean(1)
    difference = power[:, None] + power - 2 * pixels @ pixels.T / pixels.shape[1]
    for i, k in np.argwhere(difference < ALIKE).tolist():
        one, other = sorted((name(base[i]), name(base[k])))
        if one != other:
            joined[other] = one
    return [name(letter) for letter in base]


def _draw(face: Path, code: Sequence[int]) -> np.ndarray:
    """Letters of one face, each with its box in the middle: [L, 28, 28] uint8. A few are cut at the edge."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.truetype(str(face), FONT_SIZE, layout_engine=ImageFont.Layout.BASIC)
    out = np.zeros((len(code), SIDE, SIDE), np.uint8)
    for i, letter in enumerate(map(chr, code)):
        left, top, right, bottom = font.getbbox(letter)
        picture = Image.new("L", (SIDE, SIDE))
        corner = (SIDE - left - right) / 2, (SIDE - top - bottom) / 2
        ImageDraw.Draw(picture).text(corner, letter, 255, font)
        out[i] = np.asarray(picture)
    return out
