"""Struct: a frozen dataclass of tensors, and the letters that shapes are written with.

N  tasks (always dim 0)      T  time steps       E  environments (episodes) per task
O  size of an observation    A  size of an action
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Self, TypeVar

import torch
from torch import Tensor

StructT = TypeVar("StructT", bound="Struct")


class Struct:
    """Base of frozen dataclasses whose fields are tensors, other Structs, dicts of those, or None.

    Subclass with `@dataclass(frozen=True, eq=False)`. All fields share their leading axes.
    """

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """Apply `function` to each tensor, also in nested Structs."""
        return self.zip_map(lambda tensors: function(tensors[0]), [self])

    @classmethod
    def zip_map(cls, function: Callable[[list[Tensor]], Tensor], items: Sequence[Self]) -> Self:
        """Apply `function` to the list of tensors that `items` hold in each field."""
        first = items[0]
        columns = {field.name: [getattr(item, field.name) for item in items] for field in dataclasses.fields(first)}  # type: ignore[arg-type]
        return dataclasses.replace(first, **{name: _zip(function, column) for name, column in columns.items()})  # type: ignore[type-var]

    @classmethod
    def stack(cls, items: Sequence[Self], dim: int = 0) -> Self:
        """Join Structs of equal shapes along a new axis `dim`."""
        return cls.zip_map(lambda tensors: torch.stack(tensors, dim), items)

    @classmethod
    def cat(cls, items: Sequence[Self], dim: int = 0) -> Self:
        """Join Structs along the existing axis `dim`."""
        return cls.zip_map(lambda tensors: torch.cat(tensors, dim), items)

    def __len__(self) -> int:
        """Size of the leading axis, that of the first field."""
        first = getattr(self, dataclasses.fields(self)[0].name)  # type: ignore[arg-type]
        return len(first)

    def __getitem__(self, index: Any) -> Self:
        return self.map(lambda tensor: tensor[index])

    def to(self, device: torch.device | str) -> Self:
        return self.map(lambda tensor: tensor.to(device))


def _zip(function: Callable[[list[Tensor]], Tensor], values: list[Any]) -> Any:
    """`Struct.zip_map` of the values of one field."""
    first = values[0]
    if isinstance(first, Struct):
        return first.zip_map(function, values)
    if isinstance(first, dict):
        return {key: _zip(function, [value[key] for value in values]) for key in first}
    return None if first is None else function(values)


def chosen(rows: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """`new` where `rows` (bool, the leading axes) holds, `old` elsewhere."""
    return torch.where(rows.view(*rows.shape, *[1] * (new.dim() - rows.dim())), new, old)


def merged(rows: Tensor, new: StructT, old: StructT) -> StructT:
    """`chosen` for each tensor of two Structs."""
    return type(new).zip_map(lambda pair: chosen(rows, *pair), [new, old])


def tensors_of(struct: Struct | None) -> list[Tensor]:
    """The tensors that a Struct holds, in the order of its fields."""
    found: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    if struct is not None:
        struct.map(keep)
    return found


def with_tensors(like: Any, tensors: Sequence[Tensor]) -> Any:
    """A Struct like another one that holds these tensors."""
    values = iter(tensors)
    return None if like is None else like.map(lambda _: next(values))


def map_tensors(function: Callable[[Tensor], Tensor], x: Any) -> Any:
    """Apply `function` to each tensor in `x`: a tensor, a Struct, or lists and tuples of them. All else stays."""
    if isinstance(x, Tensor):
        return function(x)
    if isinstance(x, Struct):
        return x.map(function)
    if isinstance(x, (list, tuple)):
        return type(x)(map_tensors(function, item) for item in x)
    return x
