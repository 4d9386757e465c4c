"""Blocks that hide the same places of every frame (V-JEPA), and the tokens left around them.

The clips of the global batch are numbered from 0 and divided into groups of equal size. Clips of a
group share the size of their blocks and the number of tokens that they keep. The groups follow from
the keys alone, so every process knows those of its own clips.

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
        count: number of blocks; they may overlap.
        scale: share of a frame's tokens in one block.
        min_aspect: least height over width of a block; one aspect is drawn for each ``mask_group``.
        max_aspect: greatest height over width of a block.
        max_keep: largest share of a clip's tokens that stay visible, unless ``truncate`` is "none".
        truncate: choice of the tokens that are dropped where a clip has more visible ones than all
            clips can keep: "prefix" keeps the first in time, "random" keeps any, and "none" drops
            none, so that clips keep different numbers.
        restart: whether each epoch draws the same block sizes again.
        shared_aspect: whether one aspect is drawn per step, for all groups of clips and all views
            with this setting.
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
    """Clips side by side that keep equally many tokens.

    Attributes:
        rows: the group's rows in a process's batch.
        keys: keys of all clips of the group, on whichever process, ``[G, 4]``.
    """

    rows: slice
    keys: Tensor


def batch_keys(keys: Tensor, global_batch: int, repeats: int = 1) -> Tensor:
    """Returns the keys of the global batch, in its order, from some rows ``keys`` ``[B, 4]`` of it.

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
    """Returns the groups of some clips of a global batch.

    Args:
        keys: rows of ``batch_keys`` side by side, on the CPU, ``[B, 4]``.
        batch_keys: keys of the global batch.
        size: clips of a group, 0 for all; the last group takes the clips that are left.
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
    """Returns the blocks, with the aspect of ``batch_key`` ``[1, 4]`` where they share one."""
    if not blocks.shared_aspect:
        return blocks
    aspect = _aspect(batch_key, blocks, 0)
    return replace(blocks, min_aspect=aspect, max_aspect=aspect)


def kept_tokens(group_keys: Tensor, grid: Grid, blocks: Blocks, *, view: int = 0) -> int:
    """Returns how many tokens each clip of a group keeps: the fewest of any, up to the bound."""
    T, L = grid[0], grid[1] * grid[2]
    hidden = _hidden(group_keys, group_keys[:1], grid, blocks, view)
    kept = min(int((~hidden).sum(-1).min()) * T, int(blocks.max_keep * T * L))
    if kept < 1:
        raise MaskError(f"max_keep {blocks.max_keep} leaves none of {T * L} tokens visible")
    return kept


def multi_block(
    keys: Tensor, group_keys: Tensor, grid: Grid, blocks: Blocks, *, view: int = 0
) -> Tensor:
    """Returns the visible tokens around the union of some blocks, equally many in every row.

    The blocks' size and the number kept, the smallest of the clips', belong to the whole group,
    whose keys every process knows: so the result does not depend on how the batch is divided.

    Args:
        keys: rows of ``group_keys``, on the CPU, since the number kept is a size, ``[B, 4]``.
        group_keys: keys of the whole group, ``[G, 4]``.
        grid: frames, rows and columns.
        blocks: number and sizes of the blocks.
        view: number of the mask among those of a clip; each has its own randomness.

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
    """Returns all tokens around the blocks and all tokens under them, as many as each row has.

    Takes the arguments of :func:`multi_block`; rows of a group share only the blocks' size.
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
    """Returns whether blocks cover each place of a frame, ``[B, L]`` bool; never all places."""
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
