"""Which tokens a student sees, frame by frame: ascending indices, equally many in each frame.

Legend: B samples, T frames, L tokens of a frame, N = T * L, V visible tokens, D features.
"""

import torch
from torch import Tensor

from ivn.model.positions import Grid
from ivn.ops.random import Purpose, uniform


def visible_per_frame(tokens: int, ratio: float) -> int:
    """How many of a frame's tokens stay when the share ``ratio`` is masked, rounded down."""
    visible = tokens - int(tokens * ratio)
    if not 0 < visible < tokens:
        raise ValueError(
            f"mask_ratio {ratio} leaves {visible} of {tokens} tokens of a frame visible, "
            "expected some visible and some masked"
        )
    return visible


def semantic_sampled(weights: Tensor, keys: Tensor, visible: int) -> Tensor:
    """Tokens drawn without replacement, each frame by its own weights.

    The chance of the next draw is proportional to the weight (Plackett-Luce), by the exponential
    race: token ``i`` arrives after ``-log(u) / w``, the first ``visible`` arrivals stay.

    Args:
        weights: saliency ``[B, T, L]``, at least 0; a token of weight 0 comes after all others.
        keys: ``[B, 4]``.
        visible: tokens that stay in each frame.

    Returns:
        ``[B, T * visible]`` int64, ascending.
    """
    B, T, L = weights.shape
    u = uniform(keys, Purpose.MASK, T * L, dtype=torch.float64).view(B, T, L)
    arrival = -u.log() / weights.double()
    return _frames_to_clip(arrival.argsort(dim=-1, stable=True)[..., :visible], L)


def semantic_topk(weights: Tensor, visible: int) -> Tensor:
    """The tokens of largest weight in each frame, ``[B, T * visible]``; the first of equals."""
    order = weights.argsort(dim=-1, descending=True, stable=True)
    return _frames_to_clip(order[..., :visible], weights.shape[2])


def random_tokens(keys: Tensor, grid: Grid, visible: int) -> Tensor:
    """Tokens of each frame drawn uniformly, ``[B, T * visible]``."""
    T, L = grid[0], grid[1] * grid[2]
    equal = torch.ones(len(keys), T, L, device=keys.device)
    return semantic_sampled(equal, keys, visible)


def tube(keys: Tensor, grid: Grid, visible: int) -> Tensor:
    """The same places in every frame, drawn uniformly for each clip, ``[B, T * visible]``.

    Tong et al., "VideoMAE", NeurIPS 2022: what one frame hides no other frame shows.
    """
    places = random_tokens(keys, (1, *grid[1:]), visible)
    return _frames_to_clip(places[:, None].expand(-1, grid[0], -1), grid[1] * grid[2])


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
    wide = embeddings.detach().to(torch.promote_types(embeddings.dtype, torch.float32))
    change = torch.linalg.vector_norm(wide[:, 1:] - wide[:, :-1], dim=-1)
    score = torch.cat([change[:, :1], change], dim=1)
    runs = next(count for count in (4, 2, 1) if T % count == 0)
    return semantic_topk(score.view(B, runs, T // runs * L), T // runs * visible)


def complement(index: Tensor, N: int) -> Tensor:
    """The tokens of ``[0, N)`` that are not in ``index`` ``[B, V]``, ``[B, N - V]`` ascending."""
    inside = torch.zeros(len(index), N, dtype=torch.int8, device=index.device)
    inside.scatter_(1, index, 1)
    return inside.argsort(dim=1, stable=True)[:, : N - index.shape[1]]


def _frames_to_clip(within: Tensor, L: int) -> Tensor:
    """Sorted indices into a clip from unsorted ones into its frames, ``[B, T, V]``."""
    start = torch.arange(within.shape[1], device=within.device)[:, None] * L
    return (within.sort(dim=-1).values + start).flatten(1)
