"""Boards: drawings of walls, the table of moves, distances between cells, and random walls that leave a path.

A cell is a whole number, row * width + column; row 0 is the top one and column 0 the left one.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from envs.errors import require

ACTIONS = ("stay", "up", "right", "down", "left")
OFFSETS = ((0, 0), (-1, 0), (0, 1), (1, 0), (0, -1))
"""(row, column) that each action adds."""

FAR = 2**14
"""Distance of cells that cannot be reached."""

FOUR_ROOMS = """
.....#.....
.....#.....
...........
.....#.....
.....#.....
#.####.....
.....###.##
.....#.....
.....#.....
...........
.....#.....
"""
"""The board of Sutton, Precup & Singh 1999 ("Between MDPs and semi-MDPs"), without its outer wall."""

THREE_ROOMS = """
G.G###G.G###G.G
...............
G.G###G.G###G.G
"""
"""The board of HyperX (Zintgraf et al. 2021): 3 × 3 rooms in a row, corridors of 3 cells, goals in corners of rooms."""


def parse(drawing: str) -> tuple[Tensor, Tensor]:
    """Read a drawing: `#` wall, `.` floor, `G` floor where goals may lie; rows end with newlines or `/`.

    Returns:
        walls [H, W] bool and goals [H, W] bool. A drawing without any `G` allows goals on all its floor.

    Raises:
        InputError: for an empty drawing, rows of different lengths or another character.
    """
    rows = drawing.replace("/", "\n").split()
    require(
        bool(rows) and set("".join(rows)) <= set("#.G"),
        f"layout must be 'open', 'random-walls' or a drawing of '#', '.' and 'G', with rows ended by '/', "
        f"not {drawing!r}.",
    )
    require(len({len(row) for row in rows}) == 1, "The rows of a drawn layout must all have the same length.")
    walls = torch.tensor([[c == "#" for c in row] for row in rows])
    goals = torch.tensor([[c == "G" for c in row] for row in rows])
    return walls, goals if goals.any() else ~walls


def move_table(walls: Tensor) -> Tensor:
    """The cell that each action leads to [H * W * 5] int64, at cell * 5 + action; edges and walls hold it back.

    `walls`: [H, W] bool.
    """
    height, width = walls.shape
    row, column = torch.arange(height * width) // width, torch.arange(height * width) % width
    step = torch.tensor(OFFSETS)
    to_row = (row[:, None] + step[:, 0]).clamp(0, height - 1)
    to_column = (column[:, None] + step[:, 1]).clamp(0, width - 1)
    target = to_row * width + to_column  # [C, 5]
    stays = (row * width + column)[:, None].expand_as(target)
    return torch.where(walls.flatten()[target], stays, target).flatten()


def distances(free: Tensor, source: Tensor) -> Tensor:
    """Steps from each cell to the nearest source [*, H, W] int16, over free cells only; `FAR` where there is no path.

    Args:
        free: [*, H, W] bool, cells without a wall.
        source: [*, H, W] bool.
    """
    field = torch.where(source & free, 0, FAR).to(torch.int16)
    while True:  # a front that advances by one step in every board of the batch
        wide = F.pad(field, (1, 1, 1, 1), value=FAR)
        near = torch.minimum(wide[..., :-2, 1:-1], wide[..., 2:, 1:-1])
        near = torch.minimum(near, torch.minimum(wide[..., 1:-1, :-2], wide[..., 1:-1, 2:])) + 1
        advanced = torch.where(free, torch.minimum(field, near), FAR)
        if torch.equal(advanced, field):
            return field
        field = advanced


def shuffled(count: int, seed: int = 0) -> Tensor:
    """The numbers below `count` [count] int64 in an order that `seed` fixes for good: for splits."""
    return torch.randperm(count, generator=Generator().manual_seed(seed))


def split_goals(
    walls: Tensor,
    allowed: Tensor,
    start: tuple[int, int],
    min_distance: int,
    max_steps: int,
    held_out_every: int,
    shuffle: bool = False,
) -> dict[str, Tensor]:
    """Cells [G] of the goals of each split, in row-major order, or as `shuffled` if so.

    `train`, `validation` and `test` share out the reachable places of `allowed` [H, W] that are at least `min_distance`
    rows or columns from the start and at most `max_steps` steps (0: any number): every `held_out_every`-th one is in
    `test` only, and the one before it in `validation` only; with 0 all three hold them all. `ood` holds the other
    reachable places except the start, where there are any.

    Raises:
        InputError: when no goal is left for train or test.
    """
    origin = torch.zeros_like(walls)
    origin[start] = True
    steps = distances(~walls, origin)
    row, column = torch.meshgrid(*(torch.arange(n) for n in walls.shape), indexing="ij")
    away = torch.maximum((row - start[0]).abs(), (column - start[1]).abs())
    reached = steps < FAR
    eligible = reached & allowed & (away >= min_distance) & (steps <= (max_steps or FAR))
    cells, others = (mask.flatten().nonzero()[:, 0] for mask in (eligible, reached & ~eligible & ~origin))
    require(len(cells) > 0, f"The layout has no path from the start {list(start)} to any goal.")
    if shuffle:
        cells = cells[shuffled(len(cells))]
    require(
        held_out_every <= len(cells),
        f"held_out_every must be at most the number of goals, {len(cells)}, not {held_out_every}.",
    )
    goals = held_out(cells, held_out_every)
    return {**goals, "ood": others} if len(others) > 0 else goals


def held_out(kinds: Tensor, every: int) -> dict[str, Tensor]:
    """Kinds of tasks [K] of each split: every n-th one is in `test` only, the one before it in `validation` only.

    With 0 all three hold them all.
    """
    if every == 0:
        return {"train": kinds, "validation": kinds, "test": kinds}
    place = torch.arange(len(kinds)) % every
    validation, test = place == every - 2, place == every - 1
    return {"train": kinds[~(validation | test)], "validation": kinds[validation], "test": kinds[test]}


def observation_table(walls: Tensor, kind: Literal["position", "one-hot", "local"]) -> Tensor:
    """What is seen from each cell [H * W, O] float32: see `GridWorldConfig.obs`. `walls`: [H, W] bool."""
    height, width = walls.shape
    if kind == "one-hot":
        return torch.eye(height * width)
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    place = torch.stack([2 * row / max(height - 1, 1) - 1, 2 * column / max(width - 1, 1) - 1], -1)
    if kind == "position":
        return place.flatten(0, 1)
    wide = F.pad(walls.float(), (1, 1, 1, 1), value=1.0)
    views = wide.unfold(0, 3, 1).unfold(1, 3, 1).flatten(2)  # [H, W, 9]; the fifth is the cell itself
    return torch.cat([place, views[..., :4], views[..., 5:]], -1).flatten(0, 1)


def random_walls(goal: Tensor, start: int, height: int, width: int, fraction: float, generator: Generator) -> Tensor:
    """Walls [N, H, W] int8 that each cover a cell with probability `fraction`, given that the goal can be reached.

    Boards without a path from the start to the goal are drawn again, so every solvable board is as likely as the
    independent walls make it. `goal`: [N] cells.
    """
    device = goal.device
    walls = torch.zeros(len(goal), height * width, dtype=torch.int8, device=device)
    origin = torch.zeros(height * width, dtype=torch.bool, device=device)
    origin[start] = True
    todo = torch.arange(len(goal), device=device)
    while len(todo) > 0:
        end = goal[todo, None]
        drawn = torch.rand(len(todo), height * width, generator=generator, device=device) < fraction
        drawn[:, start] = False
        drawn.scatter_(1, end, False)
        walls[todo] = drawn.to(torch.int8)
        steps = distances(~drawn.view(-1, height, width), origin.view(height, width).expand(len(todo), -1, -1))
        todo = todo[steps.flatten(1).gather(1, end)[:, 0] == FAR]
    return walls.view(-1, height, width)
