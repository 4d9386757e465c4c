"""The masks that stages draw: which tokens a student sees.

All but multi-block masks keep equally many tokens of each frame. Under multi-block masks clips of
one group keep equally many, and those of different groups do not: such rows are packed.

Legend: B samples, T frames, L tokens of a frame, D features, V visible and P masked tokens.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ivn.data.batch import Batch
from ivn.model.encoder import Encoder
from ivn.model.layers import wide_dtype
from ivn.model.packed import Index, Packed
from ivn.model.patch import patch_grid
from ivn.model.positions import Grid
from ivn.ops.masking import other_tokens, sample_tokens, top_tokens

from .blocks import (
    Blocks,
    Group,
    batch_keys,
    groups_of,
    kept_tokens,
    multi_block,
    multi_block_packed,
    with_shared_aspect,
)
from .teachers import STUDENT

Mask = Literal[
    "semantic_topk", "semantic_sampled", "random", "tube", "frame_difference", "multi_block"
]


@dataclass(frozen=True)
class Masking:
    """A stage's masks.

    Attributes:
        kind: rule by which tokens stay.
        ratio: share of a frame's tokens that is masked, except under multi-block masks.
        blocks: blocks of multi-block masks, one entry for each view.
        global_batch: clips of the global batch, on which multi-block masks depend.
        group: number of clips that keep equally many tokens under multi-block masks, 0 for all.
    """

    kind: Mask
    ratio: float
    blocks: tuple[Blocks, ...]
    global_batch: int
    group: int

    @property
    def views(self) -> int:
        """Number of masks under which each clip is seen."""
        return len(self.blocks) if self.kind == "multi_block" else 1

    @property
    def semantic(self) -> bool:
        """Whether masks follow a teacher's attention."""
        return self.kind.startswith("semantic")

    @property
    def untruncated(self) -> bool:
        """Whether even clips of one group keep different numbers of tokens."""
        truncated = (blocks.truncate for blocks in self.blocks)
        return self.kind == "multi_block" and "none" in truncated

    @property
    def uneven(self) -> bool:
        """Whether clips of the global batch may keep different numbers of tokens."""
        grouped = self.kind == "multi_block" and 0 < self.group < self.global_batch
        return grouped or self.untruncated

    def check_settings(self, frames: int) -> None:
        """Raises ValueError where settings are out of range, or not for clips of so many frames."""
        if not 0 < self.ratio < 1:
            raise ValueError(f"mask_ratio is {self.ratio}, expected above 0 and below 1")
        if self.kind == "frame_difference" and frames < 2:
            raise ValueError(f"mask frame_difference needs 2 frames or more, not {frames}")
        if self.group < 0:
            raise ValueError(
                f"mask_group is {self.group}, expected 0 (all clips of the batch) or more"
            )

    def check(self, side: int) -> None:
        """Raises ValueError where none of a frame's ``side * side`` tokens is visible or masked."""
        if self.kind != "multi_block":
            visible_per_frame(side**2, self.ratio)

    def draw(
        self, batch: Batch, encoder: Encoder, attention: Tensor, *, view: int = 0
    ) -> tuple[Index, Index]:
        """Returns the visible tokens ``[B, V]`` and the masked ``[B, P]``, ascending, or packed.

        Args:
            batch: clips and keys; masks follow from the keys.
            encoder: the student's encoder, whose embeddings show what changes between frames.
            attention: a teacher's attention, ``[B, T, L]``; only semantic masks read it.
            view: number of the mask among those of a clip.
        """
        video, keys = batch.clips[STUDENT], batch.keys
        grid = patch_grid(video, encoder.config.patch_size)
        if self.kind == "multi_block":
            return self._around_blocks(batch, grid, view)
        V = visible_per_frame(grid[1] * grid[2], self.ratio)
        match self.kind:
            case "semantic_topk":
                visible = top_tokens(attention, V)
            case "semantic_sampled":
                visible = sample_tokens(attention, keys, V)
            case "random":
                visible = evenly(keys, grid, V)
            case "tube":
                visible = tube(keys, grid, V)
            case "frame_difference":
                visible = frame_difference(embeddings(encoder, video, grid), V)
        return visible, other_tokens(visible, grid[0] * grid[1] * grid[2])

    def even_parts(self, batch: Batch) -> list[Batch]:
        """Returns ``batch`` in parts of one group each, whose clips keep equally many tokens."""
        if not self.uneven:
            return [batch]
        assert not self.untruncated, "clips of one group keep different numbers of tokens"
        rows = [group.rows for group in self._groups(batch, self.blocks[0])[1]]
        return [batch.part(part.start, part.stop) for part in rows]

    def lengths(self, batch: Batch, patch_size: int, *, view: int = 0) -> list[int]:
        """Returns how many tokens of each clip multi-block masks leave, without drawing any."""
        grid = patch_grid(batch.clips[STUDENT], patch_size)
        blocks, groups = self._groups(batch, self.blocks[view])
        kept: list[int] = []
        for rows, group_keys in groups:
            keys = batch.host_keys[rows]
            if blocks.truncate == "none":
                kept += multi_block_packed(keys, group_keys, grid, blocks, view=view)[0].lengths
            else:
                kept += [kept_tokens(group_keys, grid, blocks, view=view)] * len(keys)
        return kept

    def _groups(self, batch: Batch, blocks: Blocks) -> tuple[Blocks, list[Group]]:
        """Returns the blocks of this step, and the groups of a batch's rows."""
        keys, repeats = batch.host_keys, batch.repeats
        whole = batch_keys(keys, self.global_batch, repeats)
        groups = groups_of(keys, whole, self.group, repeats)
        return with_shared_aspect(blocks, whole[:1]), groups

    def _around_blocks(self, batch: Batch, grid: Grid, view: int) -> tuple[Index, Index]:
        device, N = batch.keys.device, grid[0] * grid[1] * grid[2]
        blocks, groups = self._groups(batch, self.blocks[view])
        drawn = [(batch.host_keys[rows], group_keys) for rows, group_keys in groups]
        if blocks.truncate == "none":
            pairs = [multi_block_packed(*keys, grid, blocks, view=view) for keys in drawn]
            seen, hidden = (Packed.joined(side) for side in zip(*pairs, strict=True))
        else:
            parts = [multi_block(*keys, grid, blocks, view=view) for keys in drawn]
            if len({part.shape[1] for part in parts}) == 1:
                visible = torch.cat(parts).to(device, non_blocking=True)
                return visible, other_tokens(visible, N)
            seen = Packed.joined([Packed.of(part) for part in parts])
            hidden = Packed.joined([Packed.of(other_tokens(part, N)) for part in parts])
        return seen.to(device, non_blocking=True), hidden.to(device, non_blocking=True)


@torch.no_grad()
def embeddings(encoder: Encoder, video: Tensor, grid: Grid) -> Tensor:
    """Returns the student's embeddings of all patches, ``[B, T, L, C]``."""
    every = torch.arange(grid[0] * grid[1] * grid[2], device=video.device)
    tokens = encoder.patch_embed(video, every.expand(len(video), -1), wide_dtype(encoder.dtype))
    return tokens.unflatten(1, (grid[0], -1))


def visible_per_frame(tokens: int, ratio: float) -> int:
    """Returns how many tokens of a frame stay when the share ``ratio`` is masked, rounded down."""
    visible = tokens - int(tokens * ratio)
    if not 0 < visible < tokens:
        raise ValueError(
            f"mask_ratio {ratio} leaves {visible} of {tokens} tokens of a frame visible, "
            "expected some visible and some masked"
        )
    return visible


def evenly(keys: Tensor, grid: Grid, visible: int) -> Tensor:
    """Draws tokens of each frame evenly, ``[B, T * visible]``."""
    equal = torch.ones(len(keys), grid[0], grid[1] * grid[2], device=keys.device)
    return sample_tokens(equal, keys, visible)


def tube(keys: Tensor, grid: Grid, visible: int) -> Tensor:
    """Draws the same places in every frame, evenly for each clip, ``[B, T * visible]``.

    The tube masks of Tong et al., "VideoMAE", NeurIPS 2022: a hidden place shows in no frame.
    """
    places = evenly(keys, (1, *grid[1:]), visible)
    starts = torch.arange(grid[0], device=keys.device)[:, None] * (grid[1] * grid[2])
    return (places[:, None] + starts).flatten(1)


def frame_difference(embeddings: Tensor, visible: int) -> Tensor:
    """Returns the tokens that change most between frames: the release's "dynamic" mask.

    A token's score is the length of its embedding's difference from the frame before; those of the
    first frame are compared with the second. The clip is cut into four runs of frames (two, or one,
    where the frames do not divide), and in each run the tokens of largest score stay: as many as
    ``visible`` in each frame of it, wherever they are.

    Args:
        embeddings: embeddings of all patches, ``[B, T, L, D]``.
        visible: number of tokens that stay, for each frame of a run.

    Returns:
        ``[B, T * visible]`` int64, ascending.
    """
    B, T, L, _ = embeddings.shape
    if T < 2:
        raise ValueError(f"{T} frame, expected at least 2: nothing changes in one")
    wide = embeddings.detach().to(wide_dtype(embeddings.dtype))
    change = torch.linalg.vector_norm(wide[:, 1:] - wide[:, :-1], dim=-1)
    score = torch.cat([change[:, :1], change], dim=1)
    runs = next(count for count in (4, 2, 1) if T % count == 0)
    return top_tokens(score.view(B, runs, T // runs * L), T // runs * visible)
