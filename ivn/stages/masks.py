"""Which tokens a student sees, frame by frame: ascending indices, equally many in each frame.

Legend: B samples, T frames, L tokens of a frame, D features.
"""

import torch
from torch import Tensor

from ivn.model.layers import wide_dtype
from ivn.model.positions import Grid
from ivn.ops.masking import sample_tokens, top_tokens


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
