"""Three card games of POPGym (Morad et al. 2023), step for step those of popgym 1.0.7.

Cards are shown one by one, and the right answer depends on earlier ones. A right answer pays 1/m and a wrong one costs
as much, where m is the number of answers in an episode that count: returns lie in [-1, 1]. Answers change nothing else.

A task is a shuffled deck, which an episode deals once. POPGym shuffles at each reset: that is a trial of one episode.
With more episodes, the same cards come again. Observations are popgym's numbers, each of them one-hot.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Generator, Tensor

from envs.core import Env, Reference, StepResult, TaskT, fresh_splits
from envs.errors import require
from envs.popgym.render import Picture, draw
from envs.popgym.task import (
    DECK,
    KINDS,
    MMER_STEPS,
    AutoencodeConfig,
    CountRecallConfig,
    CountTask,
    RepeatPreviousConfig,
    State,
    Task,
)


class CardGame(Env[TaskT, State]):
    """What the games share: their decks, and answers that are right or wrong.

    Args:
        num_answers: m; answers in an episode that count.
        num_actions: how many answers there are to choose from.
        sizes: the number of values of each number that is observed.
        kinds: what tells cards apart.
    """

    mmer_steps = MMER_STEPS
    counting = False
    """Are answers counts? They are suits otherwise."""

    def __init__(
        self,
        config: Any,
        device: torch.device,
        horizon: int,
        num_answers: int,
        num_actions: int,
        sizes: Sequence[int],
        kinds: str = "suits",
    ) -> None:
        self.config, self.device, self.horizon = config, device, horizon
        self.kinds, self.reward_scale = kinds, 1 / num_answers
        self._values = [torch.arange(size, device=device) for size in sizes]
        self.num_cards, self.num_kinds = DECK * config.num_decks, KINDS[kinds]
        self.observation_space = spaces.Box(0.0, 1.0, (sum(sizes),), np.float32)
        self.action_space = spaces.Discrete(num_actions)
        deck = spaces.MultiDiscrete([self.num_kinds] * self.num_cards)
        self.task_space = spaces.Dict({name: deck for name in self.task_type.__annotations__})
        law = f"{self.num_cards} cards, as many of each of {self.num_kinds} {kinds}, in uniformly random order"
        self.splits = fresh_splits(law)

    @abstractmethod
    def shown(self, task: TaskT, time: Tensor) -> Tensor:
        """[N, E, F] int64: what popgym observes after `time` [N, E] steps, F numbers."""

    @abstractmethod
    def answer(self, task: TaskT, time: Tensor) -> Tensor:
        """[N, E] int64: the right answer at step `time` [N, E], from 0; -1 where none counts."""

    def dealt(self, deck: Tensor, number: Tensor) -> Tensor:
        """[N, E]: the card that is dealt as `number` [N, E], from 0; any card where there is none."""
        return deck.gather(1, (self.num_cards - 1 - number).clamp(0, self.num_cards - 1))

    def sample_tasks(self, n: int, generator: Generator, split: str = "train") -> TaskT:
        self.check_split(split)
        require(n >= 1, f"The number of tasks must be at least 1, not {n}.")
        shape = (len(self.task_space), n, self.num_cards)
        order = torch.rand(shape, generator=generator, device=self.device).argsort(-1)
        return self.task_type(*(order % self.num_kinds))

    def _check_task(self, task: Mapping[str, Any]) -> dict[str, np.ndarray]:
        row, each = super()._check_task(task), self.num_cards // self.num_kinds
        for name, deck in row.items():
            whole = bool((np.bincount(deck) == each).all())
            require(whole, f"The task field {name!r} must hold each of 0 to {self.num_kinds - 1} {each} times.")
        return row

    def reset(self, task: TaskT, num_envs: int, generator: Generator) -> tuple[State, Tensor]:
        time = torch.zeros(len(task), num_envs, dtype=torch.int64, device=self.device)
        return State(time, time - 1), self._observe(task, time)

    def step(self, task: TaskT, state: State, action: Tensor, generator: Generator) -> StepResult[State]:
        answer, time = self.answer(task, state.time), state.time + 1
        paid = torch.where(action == answer, self.reward_scale, -self.reward_scale)
        reward = torch.where(answer < 0, 0.0, paid)
        return StepResult(State(time, action), self._observe(task, time), reward, time >= self.horizon)

    def _observe(self, task: TaskT, time: Tensor) -> Tensor:
        """obs [N, E, O]: one-hot by comparison, since torch's `one_hot` reads the largest number back."""
        numbers = zip(self.shown(task, time).split(1, -1), self._values, strict=True)
        return torch.cat([number == values for number, values in numbers], -1).float()

    def references(self) -> dict[str, Reference]:
        return {"random": Reference(self.random_actions), "perfect memory": Reference(self.remember)}

    def remember(self, task: TaskT, state: State, memory: None, generator: Generator) -> Tensor:
        """The right answer, where one counts."""
        return self.answer(task, state.time).clamp(min=0)

    def render(self, task: TaskT, episode: State, earlier: Sequence[State] = (), size: int = 480) -> np.ndarray:
        alone = task.map(lambda x: x[None])

        def outcomes(played: State) -> list[tuple[int, int]]:
            right = self.answer(alone, played.time[None, :-1])[0]
            return list(zip(played.action[1:].tolist(), right.tolist(), strict=True))

        numbers = self.shown(alone, episode.time[None, -1:])[0, 0].tolist()
        cards, question = self.in_words(numbers, int(episode.time[-1]))
        before = [outcomes(x) for x in earlier[-3:]]
        return draw(Picture(cards, question, self.kinds, self.counting, self.horizon, outcomes(episode), before), size)

    @abstractmethod
    def in_words(self, numbers: list[int], time: int) -> tuple[list[int | None], str]:
        """For pictures of what is shown [F]: the cards on the table, None for one face down, and the question."""


class RepeatPrevious(CardGame[Task]):
    """Name the suit of the k-th latest card. obs [N, E, 4]: the suit dealt, one-hot. action [N, E]: a suit.

    A card is dealt at each of the C - 1 steps. Answers count once k cards have been dealt.
    """

    task_type = Task

    def __init__(self, config: RepeatPreviousConfig, device: torch.device) -> None:
        cards = DECK * config.num_decks
        super().__init__(config, device, cards - 1, num_answers=cards - config.k, num_actions=4, sizes=(4,))

    def shown(self, task: Task, time: Tensor) -> Tensor:
        return self.dealt(task.cards, time).unsqueeze(-1)

    def answer(self, task: Task, time: Tensor) -> Tensor:
        number = time + 1 - self.config.k
        return self.dealt(task.cards, number).where(number >= 0, -1)

    def in_words(self, numbers: list[int], time: int) -> tuple[list[int | None], str]:
        return [*numbers], "this card" if self.config.k == 1 else f"{self.config.k - 1} cards ago"


class CountRecall(CardGame[CountTask]):
    """Name how many cards of the kind asked for have been dealt, this step's among them. S kinds, at most C/S of each.

    obs [N, E, 2S]: the kind dealt and the kind asked for, one-hot. action [N, E]: a count from 0 to C/S. C - 1 steps.
    """

    task_type = CountTask
    counting = True

    def __init__(self, config: CountRecallConfig, device: torch.device) -> None:
        cards, kinds = DECK * config.num_decks, KINDS[config.kinds]
        counts = cards // kinds + 1
        super().__init__(config, device, cards - 1, cards - 1, counts, sizes=(kinds, kinds), kinds=config.kinds)

    def shown(self, task: CountTask, time: Tensor) -> Tensor:
        return torch.stack([self.dealt(task.cards, time), self.dealt(task.queries, time)], -1)

    def answer(self, task: CountTask, time: Tensor) -> Tensor:
        asked = self.dealt(task.queries, time).unsqueeze(-1)
        number = torch.arange(self.num_cards - 1, -1, -1, device=self.device)  # at which each card is dealt
        return ((task.cards.unsqueeze(1) == asked) & (number <= time.unsqueeze(-1))).sum(-1)

    def references(self) -> dict[str, Reference]:
        return {**super().references(), "expected count": Reference(self.expect)}

    def expect(self, task: CountTask, state: State, memory: None, generator: Generator) -> Tensor:
        """The likeliest count given the time alone, without a look at the cards: the mode of a hypergeometric law."""
        each = self.num_cards // self.num_kinds
        return ((state.time + 2) * (each + 1) // (self.num_cards + 2)).clamp(max=each)

    def in_words(self, numbers: list[int], time: int) -> tuple[list[int | None], str]:
        return [*numbers], "how many so far?"


class Autoencode(CardGame[Task]):
    """Watch a deck of C cards, then name their suits from the last to the first.

    obs [N, E, 6]: 0 for answering and 1 for watching, and the suit dealt, 0 once answering has begun; both one-hot. The
    last card is shown with the first question, which is about it. action [N, E]: a suit. 2C - 1 steps, C answers.
    """

    task_type = Task

    def __init__(self, config: AutoencodeConfig, device: torch.device) -> None:
        cards = DECK * config.num_decks
        super().__init__(config, device, 2 * cards - 1, num_answers=cards, num_actions=4, sizes=(2, 4))

    def shown(self, task: Task, time: Tensor) -> Tensor:
        card = self.dealt(task.cards, time).where(time < self.num_cards, 0)
        return torch.stack([(time < self.num_cards - 1).long(), card], -1)

    def answer(self, task: Task, time: Tensor) -> Tensor:
        return self.dealt(task.cards, 2 * self.num_cards - 2 - time).where(time >= self.num_cards - 1, -1)

    def in_words(self, numbers: list[int], time: int) -> tuple[list[int | None], str]:
        watching, card = numbers
        return [card if time < self.num_cards else None], "watch" if watching else "now backwards"
