"""Blocks that hide the same places of every frame (V-JEPA), and what is left around them.

Clips of the global batch are counted from 0, and every so many of them are a group: they share the
size of their blocks and the number of tokens that they keep. Which clips those are follows from
the keys alone, so every process can tell for the groups that it has a part of.

Legend: B samples, G samples of a group, T frames, L tokens of a frame, N = T * L, V visible tokens.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ivn.errors import MaskError
from ivn.keys import Purpose
from ivn.model.packed import Packed
from ivn.model.positions import Grid
from ivn.ops.masking import ATTEMPTS, first_open_tokens, hide_blocks, random_open_tokens
from ivn.ops.random import uniform


@dataclass(frozen=True)
class Blocks:
    """Blocks that hide a share of every frame, at the same place in all frames (V-JEPA).

    Attributes:
        count: blocks; they may overlap.
        scale: share of a frame's tokens in one block.
        min_aspect: least height over width of a block, which is drawn once for each group of clips.
        max_aspect: greatest height over width of a block, drawn with the same.
        max_keep: share of the clip's tokens that stay visible at most, where tokens go.
        truncate: which tokens go when a sample has more than all can keep: "prefix" keeps the
            first in time, "random" keeps any; with "none" no token goes and samples differ.
        restart: draw the same block sizes again in each epoch.
        shared_aspect: draw one aspect a step, for all groups of clips and all views that say so.
    """

    count: int
    scale: float
    min_aspect: float = 0.75
    max_aspect: float = 1.5
    max_keep: float = 400 / 2048
    truncate: Literal["prefix", "random", "none"] = "random"
    restart: bool = False
    shared_aspect: bool = False

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count is {self.count}, expected at least 1")
        for name in ("scale", "max_keep"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected above 0 and up to 1")
        if not 0 < self.min_aspect <= self.max_aspect < math.inf:
            raise ValueError(
                f"min_aspect {self.min_aspect}, max_aspect {self.max_aspect}: expected "
                "0 < min_aspect <= max_aspect, both finite"
            )


# A group counts clips, not sources: with `data.repeats` the clips of one source may lie in two.
class Group(NamedTuple):
    """Clips side by side that share a count.

    Attributes:
        rows: of a process's batch, those that are the group's.
        keys: ``[G, 4]``, of all its clips, whichever process has them.
    """

    rows: slice
    keys: Tensor


def batch_keys(keys: Tensor, global_batch: int, repeats: int = 1) -> Tensor:
    """The keys of the whole global batch that ``keys`` ``[B, 4]`` are rows of, in its order.

    Batches are runs of ``global_batch / repeats`` positions of an epoch's order, starting at 0,
    each position ``repeats`` times side by side.
    """
    places = global_batch // repeats
    row = keys[:1].expand(global_batch, -1).clone()
    index = torch.arange(global_batch)
    row[:, 2] = row[:, 2] // places * places + index // repeats
    row[:, 3] = index % repeats if repeats > 1 else row[:, 3]
    return row


def groups_of(keys: Tensor, batch_keys: Tensor, size: int, repeats: int = 1) -> list[Group]:
    """The groups that some clips of a global batch are of.

    Args:
        keys: ``[B, 4]``, rows of ``batch_keys`` side by side, on the CPU.
        batch_keys: of the global batch.
        size: clips of a group, 0 for all; the last group takes what is left.
        repeats: clips of one source.
    """
    size = size or len(batch_keys)
    place = keys[:, 2] - batch_keys[0, 2]
    clip = place * repeats + keys[:, 3] if repeats > 1 else place
    numbers, counts = torch.unique_consecutive(clip // size, return_counts=True)
    ends = counts.cumsum(0).tolist()
    return [
        Group(slice(start, end), batch_keys[number * size : (number + 1) * size])
        for number, start, end in zip(numbers.tolist(), [0, *ends], ends, strict=False)
    ]


def with_shared_aspect(blocks: Blocks, batch_key: Tensor) -> Blocks:
    """The same blocks, of the step's one aspect if they share it; ``batch_key`` ``[1, 4]`` its."""
    if not blocks.shared_aspect:
        return blocks
    aspect = _aspect(batch_key, blocks, 0)
    return replace(blocks, min_aspect=aspect, max_aspect=aspect)


def kept_tokens(group_keys: Tensor, grid: Grid, blocks: Blocks, *, view: int = 0) -> int:
    """How many tokens each clip of a group keeps: as many as the fewest have, up to the bound."""
    T, L = grid[0], grid[1] * grid[2]
    hidden = _hidden(group_keys, group_keys[:1], grid, blocks, view)
    kept = min(int((~hidden).sum(-1).min()) * T, int(blocks.max_keep * T * L))
    if kept < 1:
        raise MaskError(f"max_keep {blocks.max_keep} leaves none of {T * L} tokens visible")
    return kept


def multi_block(
    keys: Tensor, group_keys: Tensor, grid: Grid, blocks: Blocks, *, view: int = 0
) -> Tensor:
    """Visible tokens around the union of some blocks, equally many in every row.

    The blocks' size and the number kept, the smallest of the clips', belong to the whole group,
    whose keys every process can tell: so the result depends on no split of the batch.

    Args:
        keys: ``[B, 4]``, rows of ``group_keys``, on the CPU: the number kept is a size.
        group_keys: ``[G, 4]``, of the group.
        grid: frames, rows and columns.
        blocks: which blocks.
        view: which of a clip's masks; each has its own randomness.

    Returns:
        ``[B, V]`` int64, ascending.
    """
    V = kept_tokens(group_keys, grid, blocks, view=view)
    hidden = _hidden(keys, group_keys[:1], grid, blocks, view)
    if blocks.truncate == "prefix":
        return first_open_tokens(hidden, grid[0], V)
    return random_open_tokens(hidden, keys, grid[0], V, view=view)


def multi_block_packed(
    keys: Tensor, group_keys: Tensor, grid: Grid, blocks: Blocks, *, view: int = 0
) -> tuple[Packed, Packed]:
    """All tokens around the blocks, and all tokens under them: as many as each row has.

    Arguments as for :func:`multi_block`; of the group only the blocks' size is taken.
    """
    hidden = _hidden(keys, group_keys[:1], grid, blocks, view).repeat(1, grid[0])
    return Packed.where(~hidden), Packed.where(hidden)


def _aspect(key: Tensor, blocks: Blocks, view: int) -> float:
    if blocks.restart:
        key = key.clone()
        key[:, 1] = 0
    u = uniform(key, Purpose.BLOCK_SIZE, 1, layer=view, dtype=torch.float64).item()
    return blocks.min_aspect + u * (blocks.max_aspect - blocks.min_aspect)


def _block_size(group_key: Tensor, grid: Grid, blocks: Blocks, view: int) -> tuple[int, int]:
    aspect = _aspect(group_key, blocks, view)
    area = int(blocks.scale * grid[1] * grid[2])
    height, width = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
    return min(max(height, 1), grid[1]), min(max(width, 1), grid[2])


def _hidden(keys: Tensor, group_key: Tensor, grid: Grid, blocks: Blocks, view: int) -> Tensor:
    """Which places of a frame the blocks cover, ``[B, L]`` bool; never all of them."""
    height, width = _block_size(group_key, grid, blocks, view)
    rows, columns = grid[1:]
    hidden = hide_blocks(
        keys, rows, columns, count=blocks.count, height=height, width=width, view=view
    )
    if bool(hidden.all(1).any()):
        raise MaskError(
            f"{blocks.count} blocks of {height} x {width} tokens cover all of a frame of {rows} x "
            f"{columns} in {ATTEMPTS} draws: lower the scale {blocks.scale}"
        )
    return hidden
