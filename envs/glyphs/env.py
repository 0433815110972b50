"""One-shot label prediction (Santoro et al. 2016) and active one-shot learning (Woodward & Finn 2017) on letters.

A task is N letters with a label each. An episode shows ten instances of each, in random order, and asks for a label at
every step. The label of an instance is hidden until the answer is given; the next observation then holds it. Predicting
pays 1 when it is right and 0 when not, so that a return is a number of right answers. In the active form the label is
revealed to an action that asks for it, which pays -0.05, and to no other; answers pay 1 or -1, as in the paper.

Both papers show Omniglot's characters, and Santoro et al. train by the likelihood of the labels. Here the letters are
those of the DejaVu faces, and a policy learns from rewards alone: figures of the papers are not comparable with ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Generator, Tensor

from envs.core import Env, Reference, StepResult
from envs.errors import require
from envs.glyphs.letters import SIDE, letters
from envs.glyphs.references import make_references
from envs.glyphs.render import draw
from envs.glyphs.task import GlyphsConfig, State, Task, one_hot
from envs.glyphs.views import draw_instances

ASKING, WRONG = -0.05, -1.0  # in the active form
SCORED = (1, 2, 3, 5, 10)
"""Instances of a letter at which the papers report accuracy."""


class Glyphs(Env[Task, State]):
    """obs [N, E, 784 + L + 1]: the pixels in [0, 1], row by row, and the label before, one-hot; its last number stands
    for none. action [N, E]: a label; in the active form L asks for it."""

    task_type = Task

    def __init__(self, config: GlyphsConfig, device: torch.device) -> None:
        self.config, self.device, self.horizon = config, device, config.horizon
        size = config.num_letters
        self.observation_space = spaces.Box(0.0, 1.0, (SIDE**2 + size + 1,), np.float32)
        self.action_space = spaces.Discrete(size + config.active)
        self.task_space = spaces.Dict(letter=spaces.Box(0, 0x10FFFF, (size,), np.int64))
        of = f"{size} letters of {{}} of the groups of letters that look alike"
        self.splits = {
            "train": of.format("seven tenths"),
            "validation": of.format("another tenth"),
            "test": of.format("the last two tenths"),
        }

    @cached_property
    def code(self) -> Tensor:
        """[A] int64, the code points of all letters, ascending."""
        return torch.as_tensor(letters().code, device=self.device)

    @cached_property
    def image(self) -> Tensor:
        """[A, F, 28, 28] uint8, all letters in all faces."""
        return torch.as_tensor(letters().image, device=self.device)

    def sample_tasks(self, n: int, generator: Generator, split: str = "train") -> Task:
        self.check_split(split)
        require(n >= 1, f"The number of tasks must be at least 1, not {n}.")
        groups = letters().groups(split)
        table = np.zeros((len(groups), max(map(len, groups))), np.int64)
        for row, group in zip(table, groups, strict=True):
            row[: len(group)] = group
        size = torch.tensor([len(group) for group in groups], device=self.device)
        keys = torch.rand(n, len(groups), generator=generator, device=self.device)
        chosen = keys.topk(self.config.num_letters).indices  # [n, L] different groups, in random order
        part = torch.rand(chosen.shape, generator=generator, device=self.device)
        return Task(torch.as_tensor(table, device=self.device)[chosen, (part * size[chosen]).long()])

    def reset(self, task: Task, num_envs: int, generator: Generator) -> tuple[State, Tensor]:
        shape = (len(task.letter), num_envs, self.horizon)
        keys = torch.rand(shape, generator=generator, device=self.device)
        label = (keys.argsort(-1) % self.config.num_letters).to(torch.uint8)
        image = self._instance(task, label[..., 0].long(), generator)
        time = torch.zeros(shape[:2], dtype=torch.int64, device=self.device)
        state = State(image, time, label, torch.full(shape, -1, dtype=torch.int8, device=self.device))
        return state, self._observe(image, torch.full_like(time, self.config.num_letters))

    def step(self, task: Task, state: State, action: Tensor, generator: Generator) -> StepResult[State]:
        size, last = self.config.num_letters, self.horizon - 1
        now = state.time.clamp(max=last).unsqueeze(-1)
        label = state.label.gather(-1, now).squeeze(-1).long()
        right = action == label
        reward, revealed = right.float(), label
        if self.config.active:
            asked = action == size
            reward = torch.where(asked, ASKING, torch.where(right, 1.0, WRONG))
            revealed = torch.where(asked, label, size)
        following = state.label.gather(-1, (now + 1).clamp(max=last)).squeeze(-1).long()
        image = self._instance(task, following, generator)
        answer = state.answer.scatter(-1, now, action.to(torch.int8).unsqueeze(-1))
        after = State(image, state.time + 1, state.label, answer)
        terminated = torch.zeros_like(action, dtype=torch.bool)
        return StepResult(after, self._observe(image, revealed), reward, terminated)

    def _instance(self, task: Task, label: Tensor, generator: Generator) -> Tensor:
        """[N, E, 784] of labels [N, E]."""
        letter = torch.searchsorted(self.code, task.letter.gather(1, label))
        return draw_instances(self.image, letter, self.config, generator)

    def _observe(self, image: Tensor, revealed: Tensor) -> Tensor:
        """[N, E, O]; `revealed` is a label, or their number where there is none."""
        return torch.cat([image / 255, one_hot(revealed, self.config.num_letters + 1).float()], -1)

    def scores(self, task: Task, states: State, action: Tensor, reward: Tensor) -> dict[str, Tensor]:
        """Which part of the letters is answered right when it is shown for the k-th time; in the active form also
        for which part the label is asked for then."""
        size = self.config.num_letters
        label, answer = states.label[:, -1].long(), states.answer[:, -1]  # [N, E, H]
        count = one_hot(label, size).cumsum(-2).gather(-1, label.unsqueeze(-1)).squeeze(-1)
        shown = [k for k in SCORED if k <= self.horizon // size]
        out = {f"instance {k}": ((answer == label) & (count == k)).sum(-1) / size for k in shown}
        if self.config.active:
            out |= {f"asked {k}": ((answer == size) & (count == k)).sum(-1) / size for k in shown}
        return out

    def task_from_dicts(self, dicts: Sequence[Mapping[str, Any]]) -> Task:
        task = super().task_from_dicts(dicts)
        known = torch.isin(task.letter, self.code).all(1)
        distinct = (task.letter.sort(1).values.diff(dim=1) != 0).all(1)
        bad = (~(known & distinct)).nonzero()
        require(
            len(bad) == 0,
            "The task field 'letter' must hold different code points of letters in all DejaVu faces, and "
            f"{task.letter[bad[0, 0]].tolist() if len(bad) else ''} does not.",
        )
        return task

    def references(self) -> dict[str, Reference]:
        return {"random": Reference(self.random_actions), **make_references(self.config)}

    def render(self, task: Task, episode: State, earlier: Sequence[State] = (), size: int = 480) -> np.ndarray:
        return draw(task, episode, earlier, size, self.config)
