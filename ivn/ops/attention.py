"""Attention over whole sequences, and inside a sliding window.

Legend: B batch, N queries, M keys, H heads, D features of a head.
"""

from collections.abc import Sequence
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor

from ._dtype import wide_dtype


def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Returns softmax attention of every query to every key, scaled by ``D ** -0.5``.

    Args:
        query: ``[B, N, H, D]``.
        key, value: ``[B, M, H, D]``, the same dtype.

    Returns:
        ``[B, N, H, D]``, in that dtype; sums in at least fp32.
    """
    q, k, v = (x.transpose(1, 2) for x in (query, key, value))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)


def packed_attention(
    query: Tensor, key: Tensor, value: Tensor, *, lengths: Sequence[int]
) -> Tensor:
    """Returns :func:`attention` within each of several sequences that lie end to end.

    Neighbouring sequences of one length are computed together.

    Args:
        query, key, value: ``[1, S, H, D]``, one dtype.
        lengths: numbers of tokens of the sequences, on the host; their sum is ``S``.

    Returns:
        ``[1, S, H, D]``.
    """
    runs = [(length, len(list(same))) for length, same in groupby(lengths)]
    totals = [length * count for length, count in runs]
    parts = zip(*(x.split(totals, dim=1) for x in (query, key, value)), strict=True)
    mixed = [
        attention(*(x.unflatten(1, (count, length))[0] for x in part)).flatten(0, 1)[None]
        for (length, count), part in zip(runs, parts, strict=True)
    ]
    return torch.cat(mixed, dim=1)


def local_attention(query: Tensor, key: Tensor, value: Tensor, *, window: int) -> Tensor:
    """Returns attention of query ``i`` to the keys ``j`` with ``|i - j| <= window``.

    Blocks of ``window`` queries attend to their own block of keys and its two neighbours, so the
    cost grows with ``N * window`` and no ``[N, N]`` mask exists.

    Args:
        query, key, value: ``[B, N, H, D]``, one dtype.
        window: number of tokens on either side, at least 1.

    Returns:
        ``[B, N, H, D]``.
    """
    B, N, H, D = query.shape
    if window < 1:
        raise ValueError(f"window is {window}, expected at least 1")
    blocks = -(-N // window)
    padding = blocks * window - N
    queries = F.pad(query, (0, 0, 0, 0, 0, padding)).view(B, blocks, window, H, D)
    # One block of padding on each side: every block then has two neighbours.
    around = (0, 0, 0, 0, window, window + padding)
    keys, values = (_with_neighbours(F.pad(x, around), blocks, window) for x in (key, value))

    i = torch.arange(window, device=query.device)[:, None]
    j = torch.arange(-window, 2 * window, device=query.device)
    start = torch.arange(blocks, device=query.device)[:, None, None] * window
    inside = (start + j >= 0) & (start + j < N) & ((i - j).abs() <= window)
    # A padded query has no key inside. It attends to itself, and its row is cut off below.
    inside = inside | ((start + i >= N) & (i == j))

    out = F.scaled_dot_product_attention(
        queries.flatten(0, 1).transpose(1, 2),
        keys.transpose(1, 2),
        values.transpose(1, 2),
        attn_mask=inside[:, None].repeat(B, 1, 1, 1),
    )
    return out.transpose(1, 2).reshape(B, blocks * window, H, D)[:, :N]


def _with_neighbours(padded: Tensor, blocks: int, window: int) -> Tensor:
    """``[B, (blocks + 2) * window, H, D] -> [B * blocks, 3 * window, H, D]``."""
    B, _, H, D = padded.shape
    triples = padded.unfold(1, 3 * window, window)  # [B, blocks, H, D, 3 * window]
    return triples.permute(0, 1, 4, 2, 3).reshape(B * blocks, 3 * window, H, D)


def rotate(x: Tensor, *, theta: float) -> Tensor:
    """Returns ``x`` ``[B, N, H, D]`` with rotary positions (Su et al. 2021), in halves.

    Features ``d`` and ``d + D/2`` of token ``n`` turn by ``n * theta ** (-2d / D)``. Angles are in
    fp64, so that long sequences lose nothing; the product is in at least fp32, the result in the
    dtype of ``x``.
    """
    N, D = x.shape[1], x.shape[3]
    exponent = torch.arange(0, D, 2, device=x.device, dtype=torch.float64) / D
    turns = torch.arange(N, device=x.device, dtype=torch.float64)[:, None] * theta**-exponent
    wide = wide_dtype(x.dtype)
    cos, sin = turns.cos().to(wide)[:, None], turns.sin().to(wide)[:, None]
    first, second = x.to(wide).chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1).to(x.dtype)
