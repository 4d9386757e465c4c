"""``ivn::sample_tokens`` and its kin: draw masks from keys, as ascending indices of tokens.

Legend: B clips, T frames, L tokens of a frame, N = T * L tokens of a clip, K kept tokens.
"""

import torch
from torch import Tensor

from ivn.keys import Purpose

from ._library import TYPES, call, check_index, to_check
from ._register import operation
from .random import draw_kind, random_words, uniform

# Number of times that blocks are drawn if they hide a whole frame: each view has so many layers.
ATTEMPTS = 64


def sample_tokens(weights: Tensor, keys: Tensor, kept: int) -> Tensor:
    """Draws tokens without replacement, each frame by its own weights: ``[B, T * kept]`` int64.

    The chance of the next draw is proportional to the weight (Plackett-Luce), by the exponential
    race: token ``l`` arrives after ``-log(u) / w``, and the first ``kept`` arrivals stay. Every
    device draws the same tokens.

    Args:
        weights: ``[B, T, L]`` fp32 or fp64, at least 0. On a CPU, and on a GPU under
            ``IVN_CHECK_INDEX=1``, a frame with fewer of them above 0 than ``kept`` is a ValueError;
            otherwise a GPU does not check, and takes the first of the rest.
        keys: ``[B, 4]``.
        kept: number of tokens of a frame that stay, at most ``L``.
    """
    _check("sample_tokens", weights, kept)
    _check_keys("sample_tokens", keys, weights)
    return _sample_tokens(weights.contiguous(), keys.contiguous(), kept, True)


def top_tokens(weights: Tensor, kept: int) -> Tensor:
    """Returns each frame's tokens of largest weight, ``[B, T * kept]`` int64, the first of equals.

    ``weights`` is ``[B, T, L]`` fp32 or fp64. On a CPU a NaN among them is a ValueError.
    """
    _check("top_tokens", weights, kept)
    none = torch.zeros(len(weights), 4, dtype=torch.int64, device=weights.device)
    return _sample_tokens(weights.contiguous(), none, kept, False)


def sample_tokens_reference(weights: Tensor, keys: Tensor, kept: int, drawn: bool) -> Tensor:
    """Computes ``ivn::sample_tokens`` in plain PyTorch."""
    B, T, L = weights.shape
    arrival = -weights.double()
    if drawn:
        u = uniform(keys, Purpose.MASK, T * L, dtype=torch.float64).view(B, T, L)
        arrival = -u.log() / weights.double()
    within = arrival.argsort(dim=-1, stable=True)[..., :kept].sort(dim=-1).values
    return (within + torch.arange(T, device=weights.device)[:, None] * L).flatten(1)


def hide_blocks(
    keys: Tensor, rows: int, columns: int, *, count: int, height: int, width: int, view: int = 0
) -> Tensor:
    """Draws blocks, and returns the places of a frame that they hide, ``[B, rows * columns]`` bool.

    Corners are drawn evenly among those that leave a block inside the frame; blocks may overlap.
    A clip whose blocks hide the whole frame draws them again, at most 64 times: a row that is all
    true then never left a place open.

    Args:
        keys: ``[B, 4]``.
        rows, columns: numbers of places down and across a frame.
        count: number of blocks.
        height, width: size of a block, at most ``rows`` and ``columns``.
        view: number of the mask among the masks of a clip; each has its own random numbers.
    """
    _check_keys("hide_blocks", keys, keys)
    draw_kind("hide_blocks", Purpose.MASK, view * ATTEMPTS)
    if not (0 < height <= rows and 0 < width <= columns and count >= 0):
        raise ValueError(
            f"hide_blocks: {count} blocks of {height} x {width} in a frame of {rows} x {columns}, "
            "expected blocks that fit inside"
        )
    return _hide_blocks(keys.contiguous(), rows, columns, count, height, width, view).bool()


def hide_blocks_reference(
    keys: Tensor, rows: int, columns: int, count: int, height: int, width: int, view: int
) -> Tensor:
    """Computes ``ivn::hide_blocks`` in plain PyTorch."""
    hidden = torch.ones(len(keys), rows * columns, dtype=torch.bool, device=keys.device)
    y = torch.arange(rows, device=keys.device)
    x = torch.arange(columns, device=keys.device)
    for attempt in range(ATTEMPTS):
        layer = view * ATTEMPTS + attempt
        words = random_words(keys, Purpose.MASK, 2 * count, layer=layer)
        top = (words[:, ::2] * (rows - height + 1) >> 32)[..., None]
        left = (words[:, 1::2] * (columns - width + 1) >> 32)[..., None]
        in_rows = (y >= top) & (y < top + height)
        in_columns = (x >= left) & (x < left + width)
        drawn = (in_rows[..., :, None] & in_columns[..., None, :]).any(1).flatten(1)
        hidden = torch.where(hidden.all(1, keepdim=True), drawn, hidden)
    return hidden.to(torch.uint8)


def first_open_tokens(hidden: Tensor, frames: int, kept: int) -> Tensor:
    """Returns the first ``kept`` tokens of each clip whose places are open, ``[B, kept]`` int64.

    Args:
        hidden: ``[B, L]`` bool, the same in all frames. On a CPU a row that leaves fewer than
            ``kept`` tokens open is a ValueError.
        frames: number of frames of a clip.
        kept: number of tokens of a clip that stay.
    """
    none = torch.zeros(len(hidden), 4, dtype=torch.int64, device=hidden.device)
    _check_open("first_open_tokens", hidden, frames, kept)
    return _open_tokens(_places(hidden), none, frames, kept, False, 0)


def random_open_tokens(
    hidden: Tensor, keys: Tensor, frames: int, kept: int, *, view: int = 0
) -> Tensor:
    """Draws ``kept`` tokens of each clip evenly among those whose places are open, ``[B, kept]``.

    Takes the arguments of :func:`first_open_tokens`, and ``keys`` ``[B, 4]`` and ``view`` of the
    draw.
    """
    _check_keys("random_open_tokens", keys, hidden)
    _check_open("random_open_tokens", hidden, frames, kept)
    draw_kind("random_open_tokens", Purpose.TRUNCATE, view)
    return _open_tokens(_places(hidden), keys.contiguous(), frames, kept, True, view)


def open_tokens_reference(
    hidden: Tensor, keys: Tensor, frames: int, kept: int, shuffled: bool, view: int
) -> Tensor:
    """Computes ``ivn::open_tokens`` in plain PyTorch."""
    order = hidden.bool().repeat(1, frames).to(torch.int64) << 32
    if shuffled:
        order = order + random_words(keys, Purpose.TRUNCATE, order.shape[1], layer=view)
    return order.argsort(dim=1, stable=True)[:, :kept].sort(dim=1).values


def other_tokens(index: Tensor, N: int) -> Tensor:
    """Returns the tokens of ``[0, N)`` that ``index`` ``[B, M]`` lacks: ``[B, N - M]``, sorted.

    On a CPU a token outside, or twice in a row, is a ValueError.
    """
    if index.ndim != 2 or index.dtype != torch.int64 or index.shape[1] > N:
        raise ValueError(
            f"other_tokens: index is {index.dtype} {list(index.shape)}, expected int64 [B, M] with "
            f"M <= {N}"
        )
    return _other_tokens(index.contiguous(), N)


def other_tokens_reference(index: Tensor, N: int) -> Tensor:
    """Computes ``ivn::other_tokens`` in plain PyTorch."""
    inside = torch.zeros(len(index), N, dtype=torch.int8, device=index.device)
    inside.scatter_(1, index, 1)
    return inside.argsort(dim=1, stable=True)[:, : N - index.shape[1]]


def _places(hidden: Tensor) -> Tensor:
    return hidden.contiguous().view(torch.uint8)


def _check_open(op: str, hidden: Tensor, frames: int, kept: int) -> None:
    if hidden.ndim != 2 or hidden.dtype != torch.bool:
        raise ValueError(
            f"{op}: hidden is {hidden.dtype} {list(hidden.shape)}, expected bool [B, L]"
        )
    if frames < 1 or not 0 <= kept <= frames * hidden.shape[1]:
        raise ValueError(
            f"{op}: {kept} tokens to keep of {frames} frames of {hidden.shape[1]}, expected at "
            "most all of them, and 1 frame or more"
        )
    host = to_check(hidden)
    if host is not None:
        fewest = int((~host).sum(1).min()) * frames
        if kept > fewest:
            raise ValueError(f"{op}: {kept} tokens to keep, but a clip has only {fewest} open ones")


def _check(op: str, weights: Tensor, kept: int) -> None:
    if weights.ndim != 3 or weights.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"{op}: weights is {weights.dtype} {list(weights.shape)}, expected fp32 or fp64 "
            "[B, T, L]"
        )
    if not 0 <= kept <= weights.shape[2]:
        raise ValueError(
            f"{op}: {kept} tokens to keep, expected 0 to the {weights.shape[2]} of a frame"
        )


def _check_keys(op: str, keys: Tensor, beside: Tensor) -> None:
    good = keys.shape == (len(beside), 4) and keys.dtype == torch.int64
    if not good or keys.device != beside.device:
        raise ValueError(
            f"{op}: keys is {keys.dtype} {list(keys.shape)} on {keys.device}, expected "
            f"int64 [{len(beside)}, 4] on {beside.device}"
        )


def _check_weights(weights: Tensor, kept: int, drawn: bool) -> None:
    op, host = "sample_tokens" if drawn else "top_tokens", to_check(weights)
    if host is None:
        return
    if bool(host.isnan().any()):
        raise ValueError(f"{op}: weights hold NaN, expected numbers")
    if not drawn:
        return
    if bool((host < 0).any()):
        raise ValueError(f"{op}: weights hold numbers below 0, expected at least 0")
    positive = (host > 0).sum(-1)
    if int(positive.min()) < kept:
        clip, frame = divmod(int(positive.argmin()), weights.shape[1])
        raise ValueError(
            f"{op}: frame {frame} of clip {clip} has {int(positive.min())} weights above 0, "
            f"expected at least the {kept} tokens to keep"
        )


@operation(
    check=_check_weights,
    fake=lambda weights, keys, kept: keys.new_empty(weights.shape[0], weights.shape[1] * kept),
)
def _sample_tokens(weights: Tensor, keys: Tensor, kept: int, drawn: bool) -> Tensor:
    B, T, L = weights.shape
    index = keys.new_empty(B, T * kept)
    type_ = TYPES[weights.dtype]
    word = Purpose.MASK << 24
    sizes = (B, T, L, kept, int(drawn), word, type_)
    call("ivn_sample_tokens", weights.device, weights, keys, index, *sizes)
    return index


@operation(
    fake=lambda keys, rows, columns: keys.new_empty(
        keys.shape[0], rows * columns, dtype=torch.uint8
    )
)
def _hide_blocks(
    keys: Tensor, rows: int, columns: int, count: int, height: int, width: int, view: int
) -> Tensor:
    B = len(keys)
    hidden = keys.new_empty(B, rows * columns, dtype=torch.uint8)
    word = Purpose.MASK << 24 | view * ATTEMPTS
    sizes = (B, rows, columns, count, height, width, ATTEMPTS, word)
    call("ivn_hide_blocks", keys.device, keys, hidden, *sizes)
    return hidden


@operation(fake=lambda hidden, keys, kept: keys.new_empty(hidden.shape[0], kept))
def _open_tokens(
    hidden: Tensor, keys: Tensor, frames: int, kept: int, shuffled: bool, view: int
) -> Tensor:
    B, L = hidden.shape
    index = keys.new_empty(B, kept)
    word = Purpose.TRUNCATE << 24 | view
    sizes = (B, frames, L, kept, int(shuffled), word)
    call("ivn_open_tokens", hidden.device, hidden, keys, index, *sizes)
    return index


@operation(
    check=lambda index, N: check_index("other_tokens", index, N),
    fake=lambda index, N: index.new_empty(index.shape[0], N - index.shape[1]),
)
def _other_tokens(index: Tensor, N: int) -> Tensor:
    B, M = index.shape
    rest = index.new_empty(B, N - M)
    call("ivn_other_tokens", index.device, index, rest, B, N, M)
    return rest
