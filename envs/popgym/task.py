"""The card games: their parameters and presets, the deck that is a task, and where an episode stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le
from torch import Tensor

from envs.errors import require
from envs.fields import Checked, PositiveInt
from envs.structs import Struct

DECK = 52
MMER_STEPS = 65_536
"""Steps in an epoch of the published baselines: 4 workers with 16 environments each, 1,024 steps (baselines/ppo.py)."""
KINDS = {"colors": 2, "suits": 4, "ranks": 13}
"""How many kinds of cards there are, by what tells them apart; a deck holds as many cards of each."""
NumDecks = Annotated[int, Ge(1), Le(100)]


@dataclass(frozen=True)
class RepeatPreviousConfig(Checked):
    """Parameters of RepeatPrevious."""

    num_decks: NumDecks = 1
    """Decks of 52 cards that are shuffled together."""
    k: PositiveInt = 4
    """The suit asked for is that of the k-th latest card; with k = 1, of the card that is shown."""

    def __post_init__(self) -> None:
        super().__post_init__()
        cards = DECK * self.num_decks
        require(self.k < cards, f"k must be below the number of cards, {cards}, not {self.k}.")


@dataclass(frozen=True)
class CountRecallConfig(Checked):
    """Parameters of CountRecall."""

    num_decks: NumDecks = 1
    """Decks of 52 cards that are shuffled together, once to be dealt and once to be asked for."""
    kinds: Literal["colors", "suits", "ranks"] = "colors"
    """What is counted: 2 colors, 4 suits or 13 ranks."""


@dataclass(frozen=True)
class AutoencodeConfig(Checked):
    """Parameters of Autoencode."""

    num_decks: NumDecks = 1
    """Decks of 52 cards that are shuffled together."""


REPEAT_PREVIOUS_PRESETS = {
    "easy": RepeatPreviousConfig(),
    "medium": RepeatPreviousConfig(2, 32),
    "hard": RepeatPreviousConfig(3, 64),
}
COUNT_RECALL_PRESETS = {
    "easy": CountRecallConfig(),
    "medium": CountRecallConfig(2, "suits"),
    "hard": CountRecallConfig(4, "ranks"),
}
AUTOENCODE_PRESETS = {"easy": AutoencodeConfig(), "medium": AutoencodeConfig(2), "hard": AutoencodeConfig(3)}


@dataclass(frozen=True, eq=False)
class Task(Struct):
    cards: Tensor  # [N, C] int64 suit of each card; dealt from the end, as in popgym


@dataclass(frozen=True, eq=False)
class CountTask(Struct):
    cards: Tensor  # [N, C] int64 kind of each card; dealt from the end, as in popgym
    queries: Tensor  # [N, C] int64 kind that is asked for; dealt from the end too


@dataclass(frozen=True, eq=False)
class State(Struct):
    time: Tensor  # [N, E] int64 steps since the episode began
    action: Tensor  # [N, E] int64 the latest answer; -1 at the start
