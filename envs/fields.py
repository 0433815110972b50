"""The fields of configurations: what one may hold stands beside it, as its annotation, and is checked here.

horizon: PositiveInt = 100
goals: Literal["box", "semicircle"] = "box"
goal_scale: Annotated[float, Gt(0), Le(1)] = 0.5
"""

from __future__ import annotations

import dataclasses
import math
import reprlib
from contextlib import suppress
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import BaseMetadata, Ge, Gt, Le, Lt, Predicate

from envs.errors import require, unknown

Finite = Predicate(math.isfinite)
PositiveInt = Annotated[int, Ge(1)]
NonNegativeInt = Annotated[int, Ge(0)]
PositiveFloat = Annotated[float, Gt(0), Finite]
NonNegativeFloat = Annotated[float, Ge(0), Finite]
Fraction = Annotated[float, Ge(0), Le(1)]
Coefficient = Annotated[float, Ge(0), Le(1_000_000)]  # that products in float32 survive
PositiveCoefficient = Annotated[float, Gt(0), Le(1_000_000)]


class Checked:
    """A configuration whose fields are checked when it is made. Rules across fields go into its `__post_init__`."""

    def __post_init__(self) -> None:
        """Raises `InputError` for a value that its field cannot hold."""
        for name, hint in field_types(self).items():
            check_field(name, getattr(self, name), hint)


def field_types(config: Any) -> dict[str, Any]:
    """The annotations of a configuration's fields, by name."""
    return _field_types(type(config))  # type: ignore[arg-type]  # a class is hashable


@cache
def _field_types(config: type) -> dict[str, Any]:
    hints: dict[str, Any] = {}
    for base in reversed(config.__mro__):
        with suppress(NameError):  # names of the function in which the class was defined
            hints |= get_type_hints(base, include_extras=True)
    return {field.name: hints.get(field.name, Any) for field in dataclasses.fields(config)}


def check_field(name: str, value: Any, hint: Any) -> None:
    """Raise `InputError` unless a value is of the annotated type, where an int may stand for a float, and in bounds."""
    kind, args = get_origin(hint), get_args(hint)
    if kind is Annotated:
        check_field(name, value, args[0])
        if value is not None:
            _check_rules(name, value, [rule for rule in args[1:] if isinstance(rule, BaseMetadata)])
    elif kind is Literal:
        if value not in args:
            raise unknown(name, value, args)
    elif kind in (Union, UnionType):
        kinds = [arg for arg in args if arg is not NoneType]
        if value is None and NoneType in args:
            return
        if len(kinds) == 1:
            check_field(name, value, kinds[0])
        else:
            _check_type(name, value, *kinds)
    elif kind is tuple:
        _check_type(name, value, tuple)
        parts = args[:1] * len(value) if args[1:] == (...,) else args
        require(len(value) == len(parts), f"{name} must have {len(parts)} values, not {len(value)}.")
        for part, of in zip(value, parts, strict=True):
            check_field(name, part, of)
    else:
        _check_type(name, value, hint)


def _check_type(name: str, value: Any, *hints: Any) -> None:
    kinds = [get_origin(hint) or hint for hint in hints]
    if Any in kinds or object in kinds or not all(isinstance(kind, type) for kind in kinds):
        return
    right = isinstance(value, (*kinds, int) if float in kinds else tuple(kinds))
    if isinstance(value, bool):
        right = bool in kinds
    words = " or ".join(kind.__name__ for kind in kinds)
    require(right, f"{name} must be of type {words}, not {reprlib.repr(value)}.")


def _check_rules(name: str, value: Any, rules: list[BaseMetadata]) -> None:
    checks = [_rule(value, rule) for rule in rules]
    words = " and ".join(words for _, words in checks)
    require(all(holds for holds, _ in checks), f"{name} must be {words}, not {reprlib.repr(value)}.")


def _rule(value: Any, rule: BaseMetadata) -> tuple[bool, str]:
    """Does it hold, and what it asks for."""
    match rule:
        case Ge(bound):
            return value >= bound, f"at least {bound:,}"
        case Gt(bound):
            return value > bound, f"above {bound:,}"
        case Le(bound):
            return value <= bound, f"at most {bound:,}"
        case Lt(bound):
            return value < bound, f"below {bound:,}"
        case Predicate(function):
            return function(value), function.__name__.removeprefix("is")
    raise TypeError(f"{rule} is a constraint that is not known here")
