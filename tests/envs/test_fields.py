"""Constraints that stand beside a field are checked when a configuration is made."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Le, Lt, MultipleOf

from envs.errors import InputError
from envs.fields import Checked, Fraction, NonNegativeFloat, PositiveFloat, PositiveInt, check_field


@dataclass(frozen=True)
class Part:
    size: int = 1


@dataclass(frozen=True)
class Config(Checked):
    count: PositiveInt = 1
    rate: NonNegativeFloat = 0.5
    std: PositiveFloat = 1.0
    share: Fraction = 0.5
    few: Annotated[int, Ge(0), Lt(3)] | None = None
    kind: Literal["one", "other"] = "one"
    sizes: tuple[PositiveInt, ...] = (4, 4)
    place: tuple[int, int] = (0, 0)
    flag: bool = False
    name: str = "x"
    part: Part | Config = Part()
    anything: Any = None


@pytest.mark.parametrize(
    "fields",
    [
        {"count": 7, "rate": 0, "std": 1e-9, "share": 1},  # an int may stand for a float
        {"few": 0, "kind": "other", "sizes": (), "place": (-1, 2)},
        {"flag": True, "name": "", "part": Config(), "anything": object()},
    ],
)
def test_what_a_field_can_hold_is_taken_as_it_is(fields):
    made = Config(**fields)
    assert {name: getattr(made, name) for name in fields} == fields


@pytest.mark.parametrize(
    ("field", "value", "right"),
    [
        ("count", 0, "at least 1"),
        ("count", 1.0, "int"),
        ("count", True, "int"),
        ("count", None, "int"),
        ("rate", -0.1, "at least 0"),
        ("rate", float("nan"), "at least 0"),
        ("rate", float("inf"), "finite"),
        ("rate", False, "float"),
        ("rate", "1", "float"),
        ("std", 0.0, "above 0"),
        ("share", 1.5, "at most 1"),
        ("few", 3, "below 3"),
        ("few", "3", "int"),
        ("kind", "othr", "'other'"),
        ("kind", ["one"], "other"),
        ("sizes", (4, 0), "at least 1"),
        ("sizes", [4], "tuple"),
        ("place", (1,), "2 values"),
        ("flag", 1, "bool"),
        ("name", 3, "str"),
        ("part", {"size": 1}, "Part or Config"),
    ],
)
def test_what_it_cannot_hold_is_refused_with_its_name_and_what_is_right(field, value, right, sentence):
    for make in (lambda: Config(**{field: value}), lambda: replace(Config(), **{field: value})):
        with pytest.raises(InputError) as error:
            make()
        assert field in sentence(error) and right in str(error.value)


def test_a_class_of_a_function_keeps_the_checks_of_its_parents():
    class Local:
        pass

    @dataclass(frozen=True)
    class Own(Config):
        local: Local | None = None

    assert Own(local=3).local == 3  # its annotations cannot be read here
    with pytest.raises(InputError, match="count"):
        Own(count=0)


def test_a_constraint_that_is_not_known_is_not_passed_over():
    with pytest.raises(TypeError, match="MultipleOf"):
        check_field("n", 3, Annotated[int, MultipleOf(2)])
    check_field("n", 3, Annotated[int, "a note", Le(3)])
