"""Which tokens a student sees: the masks that both stages draw from.

All but multi-block masks keep equally many tokens of each frame.

Legend: B samples, T frames, L tokens of a frame, D features, V visible and P masked tokens.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ivn.data.clip import Batch
from ivn.model.encoder import Encoder
from ivn.model.layers import wide_dtype
from ivn.model.packed import Index
from ivn.model.patch import patch_grid
from ivn.model.positions import Grid
from ivn.ops.masking import other_tokens, sample_tokens, top_tokens

from .blocks import Blocks, batch_keys, multi_block, multi_block_packed

Mask = Literal[
    "semantic_topk", "semantic_sampled", "random", "tube", "frame_difference", "multi_block"
]


@dataclass(frozen=True)
class Masking:
    """A stage's masks.

    Attributes:
        kind: which tokens stay.
        ratio: share of a frame's tokens that is masked, but for multi-block masks.
        blocks: of multi-block masks, one entry a view.
        global_batch: clips of the global batch, on which multi-block masks depend.
    """

    kind: Mask
    ratio: float
    blocks: tuple[Blocks, ...]
    global_batch: int

    @property
    def views(self) -> int:
        """Under how many masks a clip is seen."""
        return len(self.blocks) if self.kind == "multi_block" else 1

    @property
    def semantic(self) -> bool:
        """Whether masks follow a teacher's attention."""
        return self.kind.startswith("semantic")

    @property
    def packed(self) -> bool:
        """Whether clips may keep different numbers of tokens."""
        truncated = (blocks.truncate for blocks in self.blocks)
        return self.kind == "multi_block" and "none" in truncated

    def check(self, side: int) -> None:
        """Refuse a share that leaves none of a frame's ``side * side`` tokens visible or masked."""
        if self.kind != "multi_block":
            visible_per_frame(side**2, self.ratio)

    def draw(
        self, batch: Batch, encoder: Encoder, attention: Tensor, *, view: int = 0
    ) -> tuple[Index, Index]:
        """The visible tokens ``[B, V]`` and the masked ``[B, P]``, ascending, or both packed.

        Args:
            batch: of which clips; masks follow from its keys.
            encoder: the student's, whose embeddings tell what changes between frames.
            attention: a teacher's, ``[B, T, L]``; only semantic masks read it.
            view: which of a clip's masks.
        """
        video, keys = batch.clips["student"], batch.keys
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

    def _around_blocks(self, batch: Batch, grid: Grid, view: int) -> tuple[Index, Index]:
        blocks, keys, device = self.blocks[view], batch.host_keys, batch.keys.device
        whole = batch_keys(keys, self.global_batch, batch.repeats)
        if blocks.truncate == "none":
            seen, hidden = multi_block_packed(keys, whole, grid, blocks, view=view)
            return seen.to(device, non_blocking=True), hidden.to(device, non_blocking=True)
        visible = multi_block(keys, whole, grid, blocks, view=view).to(device, non_blocking=True)
        return visible, other_tokens(visible, grid[0] * grid[1] * grid[2])


def check_mask(kind: Mask, ratio: float, frames: int) -> None:
    """Refuse a share that is none, and frames that a kind of mask cannot serve."""
    if not 0 < ratio < 1:
        raise ValueError(f"mask_ratio is {ratio}, expected above 0 and below 1")
    if kind == "frame_difference" and frames < 2:
        raise ValueError(f"mask frame_difference needs 2 frames or more, not {frames}")


@torch.no_grad()
def embeddings(encoder: Encoder, video: Tensor, grid: Grid) -> Tensor:
    """The student's embeddings of all patches, ``[B, T, L, C]``."""
    every = torch.arange(grid[0] * grid[1] * grid[2], device=video.device)
    tokens = encoder.patch_embed(video, every.expand(len(video), -1), wide_dtype(encoder.dtype))
    return tokens.unflatten(1, (grid[0], -1))


def visible_per_frame(tokens: int, ratio: float) -> int:
    """How many of a frame's tokens stay when the share ``ratio`` is masked, rounded down."""
    visible = tokens - int(tokens * ratio)
    if not 0 < visible < tokens:
        raise ValueError(
            f"mask_ratio {ratio} leaves {visible} of {tokens} tokens of a frame visible, "
            "expected some visible and some masked"
        )
    return visible


def evenly(keys: Tensor, grid: Grid, visible: int) -> Tensor:
    """Tokens of each frame drawn evenly, ``[B, T * visible]``."""
    equal = torch.ones(len(keys), grid[0], grid[1] * grid[2], device=keys.device)
    return sample_tokens(equal, keys, visible)


def tube(keys: Tensor, grid: Grid, visible: int) -> Tensor:
    """The same places in every frame, drawn uniformly for each clip, ``[B, T * visible]``.

    Tong et al., "VideoMAE", NeurIPS 2022: what one frame hides no other frame shows.
    """
    places = evenly(keys, (1, *grid[1:]), visible)
    starts = torch.arange(grid[0], device=keys.device)[:, None] * (grid[1] * grid[2])
    return (places[:, None] + starts).flatten(1)


def frame_difference(embeddings: Tensor, visible: int) -> Tensor:
    """The tokens that change most from one frame to the next: the release's "dynamic" mask.

    A token's score is the length of its embedding's difference from the frame before; those of the
    first frame are compared with the second. The clip is cut into four runs of frames (two, or one,
    where the frames do not divide), and in each run the tokens of largest score stay: as many as
    ``visible`` in each frame of it, wherever they are.

    Args:
        embeddings: of all patches, ``[B, T, L, D]``.
        visible: tokens that stay, for each frame of a run.

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
