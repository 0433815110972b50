"""Struct: mapping, joining and indexing, also when nested or partly empty."""

import dataclasses
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from envs.structs import Struct


@dataclass(frozen=True, eq=False)
class Inner(Struct):
    x: Tensor


@dataclass(frozen=True, eq=False)
class Outer(Struct):
    inner: Inner
    y: Tensor
    z: Tensor | None = None


def outer(value: float = 0.0, rows: int = 3) -> Outer:
    return Outer(Inner(torch.full((rows, 2), value)), torch.arange(rows) + value)


def test_map_reaches_nested_tensors_and_leaves_none():
    struct = outer(1.0)
    doubled = struct.map(lambda t: 2 * t)
    assert isinstance(doubled, Outer) and isinstance(doubled.inner, Inner)
    assert doubled.inner.x.tolist() == [[2, 2]] * 3 and doubled.y.tolist() == [2, 4, 6] and doubled.z is None
    assert struct.y.tolist() == [1, 2, 3]


def test_dicts_of_structs_and_tensors_are_mapped_and_joined_too():
    struct = dataclasses.replace(outer(1.0), z={"a": Inner(torch.ones(3)), "b": torch.zeros(3), "c": None})
    joined = Outer.cat([struct, struct[:1]])
    assert joined.z["a"].x.tolist() == [1, 1, 1, 1] and joined.z["b"].tolist() == [0, 0, 0, 0] and joined.z["c"] is None


def test_zip_map_pairs_fields_in_order():
    difference = Outer.zip_map(lambda pair: pair[0] - pair[1], [outer(5.0), outer(2.0)])
    assert difference.inner.x.tolist() == [[3, 3]] * 3 and difference.y.tolist() == [3, 3, 3]


def test_stack_adds_an_axis_and_cat_extends_one():
    stacked = Outer.stack([outer(0.0), outer(1.0)])
    assert stacked.inner.x.shape == (2, 3, 2) and stacked.y.shape == (2, 3)
    assert Outer.stack([outer(), outer()], dim=1).inner.x.shape == (3, 2, 2)
    joined = Outer.cat([outer(0.0, 1), outer(1.0, 2)])
    assert joined.inner.x[:, 0].tolist() == [0, 1, 1] and joined.y.tolist() == [0, 1, 2]


def test_indexing_takes_the_same_rows_of_every_field():
    struct = outer(1.0)
    assert struct[1].inner.x.shape == (2,) and struct[1].y.item() == 2
    assert struct[torch.tensor([2, 0])].y.tolist() == [3, 1]
    assert struct[1:2].inner.x.shape == (1, 2)


def test_to_moves_every_tensor():
    moved = outer().to("meta")
    assert moved.inner.x.device.type == moved.y.device.type == "meta"


def test_structs_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        outer().y = torch.zeros(3)
