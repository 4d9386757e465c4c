"""Blocks that hide the same places of every frame (V-JEPA), and what is left around them.

Legend: B samples, G samples of the global batch, T frames, L tokens of a frame, N = T * L,
V visible tokens.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ivn.model.packed import Packed
from ivn.model.positions import Grid
from ivn.ops.masking import ATTEMPTS, first_open_tokens, hide_blocks, random_open_tokens
from ivn.ops.random import Purpose, uniform


@dataclass(frozen=True)
class Blocks:
    """Blocks that hide a share of every frame, at the same place in all frames (V-JEPA).

    Attributes:
        count: blocks; they may overlap.
        scale: share of a frame's tokens in one block.
        min_aspect: least height over width of a block, which is drawn once a batch.
        max_aspect: greatest height over width of a block, which is drawn once a batch.
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

    def __post_init__(self) -> None:
        fits = self.count >= 1 and 0 < self.scale <= 1 and 0 < self.max_keep <= 1
        if not (fits and 0 < self.min_aspect <= self.max_aspect < math.inf):
            raise ValueError(
                f"{self}: expected count >= 1, 0 < scale <= 1, 0 < min_aspect <= max_aspect and "
                "0 < max_keep <= 1"
            )


class MaskError(ValueError):
    """No mask of a batch can be drawn; the message names the setting."""


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
        raise MaskError(f"max_keep {blocks.max_keep} leaves none of {T * L} tokens visible")
    hidden = places[keys[:, 2] - batch_keys[0, 2]]
    if blocks.truncate == "prefix":
        return first_open_tokens(hidden, T, V)
    return random_open_tokens(hidden, keys, T, V, view=view)


def multi_block_packed(
    keys: Tensor, batch_keys: Tensor, grid: Grid, blocks: Blocks, *, view: int = 0
) -> tuple[Packed, Packed]:
    """All tokens around the blocks, and all tokens under them: as many as each row has.

    Arguments as for :func:`multi_block`; of the global batch only the blocks' size is taken.
    """
    size = _block_size(batch_keys[:1], grid, blocks, view)
    hidden = _hidden(keys, grid, blocks, size, view).repeat(1, grid[0])
    return Packed.where(~hidden), Packed.where(hidden)


def batch_keys(keys: Tensor, global_batch: int, repeats: int = 1) -> Tensor:
    """The keys of the whole global batch that ``keys`` ``[B, 4]`` are rows of, ``[G, 4]``.

    Batches are runs of ``global_batch / repeats`` positions of an epoch's order, starting at 0,
    each position ``repeats`` times side by side.
    """
    places = global_batch // repeats
    row = keys[:1].expand(global_batch, -1).clone()
    index = torch.arange(global_batch)
    row[:, 2] = row[:, 2] // places * places + index // repeats
    row[:, 3] = index % repeats if repeats > 1 else row[:, 3]
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
    """Which places of a frame the blocks cover, ``[B, L]`` bool; never all of them."""
    height, width = size
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
