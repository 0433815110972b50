"""Instances of letters: a random face, slightly rotated, scaled and shifted."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor
from torch.nn.functional import grid_sample

from envs.glyphs.task import GlyphsConfig


def draw_instances(image: Tensor, letter: Tensor, config: GlyphsConfig, generator: Generator) -> Tensor:
    """An instance of each letter: [N, E, 784] uint8, row by row.

    Args:
        image: [L, F, 28, 28] uint8, each letter in each face.
        letter: [N, E] int64, indices into L.
    """
    face = torch.randint(image.shape[1], letter.shape, generator=generator, device=letter.device)
    parts = 2 * torch.rand(4, letter.numel(), generator=generator, device=letter.device) - 1
    return transform(image[letter, face].flatten(0, 1), parts, config).view(*letter.shape, -1)


def transform(image: Tensor, parts: Tensor, config: GlyphsConfig) -> Tensor:
    """Images [B, S, S] uint8, rotated clockwise, scaled, and shifted to the right and down.

    Args:
        parts: [4, B] in [-1, 1], each of these as a part of its largest.
    """
    turn, zoom, right, down = parts[..., None, None]  # [B, 1, 1] each
    side = image.shape[-1]
    place = torch.arange(side, device=image.device) - (side - 1) / 2  # pixels from the middle
    x, y = place - config.max_shift * right, place[:, None] - config.max_shift * down
    angle, scale = math.radians(config.max_rotation) * turn, 2 / (side * (1 + config.max_zoom * zoom))
    cos, sin = angle.cos() * scale, angle.sin() * scale
    grid = torch.stack([cos * x + sin * y, cos * y - sin * x], -1)  # where each pixel comes from, in [-1, 1]
    moved = grid_sample(image.unsqueeze(1).float(), grid, align_corners=False).squeeze(1)
    return moved.round().to(torch.uint8)
