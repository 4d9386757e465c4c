"""Blocks that hide the same places of every frame (V-JEPA), and what is left around them.

Legend: B samples, G samples of the global batch, T frames, L tokens of a frame, N = T * L,
V visible tokens.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ivn.model.packed import Packed
from ivn.model.positions import Grid
from ivn.ops.random import Purpose, integers, uniform

_ATTEMPTS = 64


@dataclass(frozen=True)
class Blocks:
    """Blocks that hide a share of every frame, at the same place in all frames (V-JEPA).

    Attributes:
        count: blocks; they may overlap.
        scale: share of a frame's tokens in one block.
        min_aspect, max_aspect: height over width of a block, drawn once a batch.
        max_keep: share of the clip's tokens that stay visible at most, where tokens go.
        truncate: which tokens go when a sample has more than all can keep: "prefix" keeps the
            first in time, "random" keeps any; with "none" no token goes and samples differ.
        restart: draw the same block sizes again in each epoch.
    """

    count: int
    scale: float
    min_aspect: float = 0.75
    max_aspect: float = 1.5
    max_keep: float = 400 / 2048
    truncate: Literal["prefix", "random", "none"] = "random"
    restart: bool = False


def multi_block(
    keys: Tensor, batch_keys: Tensor, grid: Grid, blocks: Blocks, *, view: int = 0
) -> Tensor:
    """Visible tokens around the union of some blocks, equally many in every row.

    The blocks' size and the number kept, the smallest of the samples', belong to the whole global
    batch, whose keys every process can tell: so the result depends on no split of the batch.

    Args:
        keys: ``[B, 4]``, rows of ``batch_keys``, on the CPU: the number kept is a size.
        batch_keys: ``[G, 4]``, of the global batch.
        grid: frames, rows and columns.
        blocks: which blocks.
        view: which of a clip's masks; each has its own randomness.

    Returns:
        ``[B, V]`` int64, ascending.
    """
    T, L = grid[0], grid[1] * grid[2]
    size = _block_size(batch_keys[:1], grid, blocks, view)
    places = _hidden(batch_keys, grid, blocks, size, view)
    kept = int((~places).sum(-1).min()) * T
    V = min(kept, int(blocks.max_keep * T * L))
    if V < 1:
        raise ValueError(f"max_keep {blocks.max_keep} leaves none of {T * L} tokens visible")
    rows = keys[:, 2] - batch_keys[0, 2]
    hidden = places[rows, None].expand(-1, T, -1).flatten(1)
    if blocks.truncate == "prefix":
        order = hidden.to(torch.int8).argsort(dim=1, stable=True)
    else:
        u = uniform(keys, Purpose.TRUNCATE, T * L, layer=view, dtype=torch.float64)
        order = (u + hidden).argsort(dim=1)
    return order[:, :V].sort(dim=1).values


def multi_block_packed(
    keys: Tensor, batch_keys: Tensor, grid: Grid, blocks: Blocks, *, view: int = 0
) -> tuple[Packed, Packed]:
    """All tokens around the blocks, and all tokens under them: as many as each row has.

    Arguments as for :func:`multi_block`; of the global batch only the blocks' size is taken.
    """
    size = _block_size(batch_keys[:1], grid, blocks, view)
    hidden = _hidden(keys, grid, blocks, size, view).repeat(1, grid[0])
    return Packed.where(~hidden), Packed.where(hidden)


def batch_keys(keys: Tensor, global_batch: int) -> Tensor:
    """The keys of the whole global batch that ``keys`` ``[B, 4]`` are rows of, ``[G, 4]``.

    Batches are runs of ``global_batch`` positions of an epoch's order, starting at 0.
    """
    row = keys[:1].expand(global_batch, -1).clone()
    row[:, 2] = row[:, 2] // global_batch * global_batch + torch.arange(global_batch)
    return row


def _block_size(first_key: Tensor, grid: Grid, blocks: Blocks, view: int) -> tuple[int, int]:
    if blocks.restart:
        first_key = first_key.clone()
        first_key[:, 1] = 0
    u = uniform(first_key, Purpose.BLOCK_SIZE, 1, layer=view, dtype=torch.float64).item()
    aspect = blocks.min_aspect + u * (blocks.max_aspect - blocks.min_aspect)
    area = int(blocks.scale * grid[1] * grid[2])
    height, width = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
    return min(max(height, 1), grid[1]), min(max(width, 1), grid[2])


def _hidden(keys: Tensor, grid: Grid, blocks: Blocks, size: tuple[int, int], view: int) -> Tensor:
    """Which places of a frame the blocks cover, ``[B, L]`` bool; never all of them.

    A sample whose blocks cover the whole frame draws them again.
    """
    hidden = torch.ones(len(keys), grid[1] * grid[2], dtype=torch.bool)
    for attempt in range(_ATTEMPTS):
        full = hidden.all(1)
        if not full.any():
            return hidden
        layer = view * _ATTEMPTS + attempt
        hidden[full] = _union(keys[full], grid, blocks.count, size, layer)
    raise ValueError(
        f"{blocks.count} blocks of {size[0]} x {size[1]} tokens cover all of a frame of "
        f"{grid[1]} x {grid[2]} in {_ATTEMPTS} draws: lower the scale {blocks.scale}"
    )


def _union(keys: Tensor, grid: Grid, count: int, size: tuple[int, int], layer: int) -> Tensor:
    tops = integers(keys, Purpose.MASK, 2 * count, grid[1] - size[0] + 1, layer=layer)[:, ::2]
    lefts = integers(keys, Purpose.MASK, 2 * count, grid[2] - size[1] + 1, layer=layer)[:, 1::2]
    rows, columns = torch.arange(grid[1]), torch.arange(grid[2])
    in_rows = (rows >= tops[..., None]) & (rows < tops[..., None] + size[0])
    in_columns = (columns >= lefts[..., None]) & (columns < lefts[..., None] + size[1])
    return (in_rows[..., :, None] & in_columns[..., None, :]).any(1).flatten(1)
