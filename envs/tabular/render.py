"""Pictures of a tabular MDP: a tile for each state, and the rewards of the episode above."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from envs.tabular.task import State, TabularConfig, Task


def draw(task: Task, episode: State, earlier: Sequence[State], size: int, config: TabularConfig) -> np.ndarray:
    """One lane as a `uint8 [size, size, 3]` image; the arguments are those of `Env.render`."""
    return np.asarray(Picture(config, task, episode, earlier, size).image)


class Picture:
    """A tile for each state: mean rewards of its actions as bars, dark where taken; visits as heat. Rewards above."""

    ink, muted, blue, up, down = "#12306e", "#7b8594", "#1f5fd6", "#2e9e6b", "#e2582f"

    def __init__(self, config: TabularConfig, task: Task, episode: State, earlier: Sequence[State], size: int) -> None:
        over = 2  # drawn twice as large and reduced, for smooth lines
        self.size, self.u = size * over, over * size / 480  # the unit of widths
        image = Image.new("RGB", (self.size, self.size), "#f4f6f9")
        self.pen = ImageDraw.Draw(image)
        self.path = episode.index.tolist()
        self.taken = set(zip(self.path, episode.action.tolist()[1:], strict=False))
        s = config.num_states
        self.columns = math.ceil(math.sqrt(s))
        self.top = 92 * self.u
        self.width = self.size / self.columns
        self.height = (self.size - self.top) / math.ceil(s / self.columns)
        self._header(config, episode, earlier)
        past = torch.cat([x.index for x in earlier]).bincount(minlength=s).tolist() if earlier else [0] * s
        self._tiles(task.reward_mean.cpu().numpy(), past)
        self._moves()
        self.image = image.reduce(over)

    def _text(self, x: float, y: float, text: str, height: float, colour: str, anchor: str = "ls") -> None:
        self.pen.text((x, y), text, colour, ImageFont.load_default(height * self.u), anchor)

    def _header(self, config: TabularConfig, episode: State, earlier: Sequence[State]) -> None:
        """Reward and time as numbers, and a bar for each step's reward."""
        u, right = self.u, self.size - 10 * self.u
        self._text(10 * u, 30 * u, f"reward {float(episode.total[-1]):.1f}", 22, self.ink)
        self._text(right, 30 * u, f"step {len(self.path) - 1} of {config.horizon}", 18, self.muted, "rs")
        if earlier:
            totals = "   ".join(f"{float(x.total[-1]):.1f}" for x in earlier[-3:])
            self._text(self.size / 2, 30 * u, f"before: {totals}", 15, self.muted, "ms")
        slot, middle = (self.size - 20 * u) / config.horizon, 65 * u
        self.pen.line((10 * u, middle, right, middle), fill="#cfd6df", width=round(u))
        for t, reward in enumerate(episode.total.diff().tolist()):
            x, tip = 10 * u + t * slot, middle - 22 * u * max(-1.0, min(1.0, reward / 4))
            box = (x + 0.1 * slot, min(tip, middle), x + 0.9 * slot, max(tip, middle))
            self.pen.rectangle(box, fill=self.up if reward > 0 else self.down)

    def _corner(self, state: int) -> tuple[float, float]:
        return state % self.columns * self.width, self.top + state // self.columns * self.height

    def _tiles(self, reward_mean: np.ndarray, past: list[int]) -> None:
        u, w, h = self.u, self.width, self.height
        visits = np.bincount(self.path, minlength=len(reward_mean))
        bar, scale = 0.8 * w / reward_mean.shape[1], h / max(1.0, reward_mean.max() / 0.38, -reward_mean.min() / 0.2)
        for state, row in enumerate(reward_mean):
            x, y = self._corner(state)
            heat = min(1.0, visits[state] / 5)
            fill = tuple(round(255 + heat * (c - 255)) for c in (158, 197, 255))
            here = state == self.path[-1]
            outline, width = (self.ink, 4 * u) if here else ("#dfe4ea", u)
            box = (x + 3 * u, y + 3 * u, x + w - 3 * u, y + h - 3 * u)
            self.pen.rounded_rectangle(box, 8 * u, fill=fill, outline=outline, width=round(width))
            letters = min(15, 0.18 * h / u)
            self._text(x + 12 * u, y + 10 * u, str(state), letters, self.ink if here else self.muted, "lt")
            if visits[state]:
                self._text(x + w - 12 * u, y + 10 * u, f"x{visits[state]}", letters, self.ink, "rt")
            base = y + 0.62 * h
            for action, mean in enumerate(row):
                left, tip = x + 0.1 * w + action * bar, base - mean * scale
                full, pale = (self.up, "#c3e3d3") if mean > 0 else (self.down, "#f6cfc2")
                colour = full if (state, action) in self.taken else pale
                box = (left + 0.12 * bar, min(tip, base), left + 0.88 * bar, max(tip, base))
                self.pen.rectangle(box, fill=colour)
            self.pen.line((x + 0.1 * w, base, x + 0.9 * w, base), fill="#aab3c0", width=round(u))
            if past[state]:  # visits in earlier episodes, as a share of the most visited state's
                end = x + 0.1 * w + 0.8 * w * past[state] / max(past)
                self.pen.line((x + 0.1 * w, y + h - 9 * u, end, y + h - 9 * u), fill="#aab3c0", width=round(4 * u))

    def _moves(self) -> None:
        """The latest moves from tile to tile, older ones paler."""

        def centre(state: int) -> tuple[float, float]:
            x, y = self._corner(state)
            return x + self.width / 2, y + 0.82 * self.height

        moves = list(itertools.pairwise(self.path))[-4:]
        for age, (a, b) in zip(range(len(moves) - 1, -1, -1), moves, strict=True):
            colour = tuple(round(new + age / 4 * (220 - new)) for new in (31, 95, 214))
            self.pen.line((centre(a), centre(b)), fill=colour, width=round((3.5 - 0.6 * age) * self.u))
        x, y = centre(self.path[-1])
        self.pen.circle((x, y), 7 * self.u, fill=self.ink, outline="#ffffff", width=round(2 * self.u))
