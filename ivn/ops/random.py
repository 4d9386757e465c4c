"""Random numbers that depend only on their purpose and on the sample that they are drawn for.

Every number is a word of Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as
1, 2, 3", SC 2011). The cipher's key is the run's 64-bit seed. Its counter names the draw:

    word 0  the draw within its purpose      word 2  position in the epoch's global order
    word 1  purpose (8 bits) and layer (24)  word 3  epoch (24 bits) and repeat (8)

so no result depends on workers, processes, batch size, device or restarts.
"""

import torch
from torch import Tensor

from ivn.keys import Purpose

from ._library import TYPES, call
from ._register import operation

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10


def random_words(keys: Tensor, purpose: Purpose, count: int, *, layer: int = 0) -> Tensor:
    """Draws uniform 32-bit words, ``[B, count]`` int64 in ``[0, 2**32)``, the same on every device.

    Args:
        keys: ``[B, 4]`` int64, from :func:`make_keys`.
        purpose: decision that the words are for; other purposes get independent words.
        count: number of words per sample. The first ``n`` are the same for every ``count >= n``.
        layer: number of the layer or view within the purpose, in ``[0, 2**24)``.
    """
    _check_draws("random_words", keys, count)
    return _random_words(keys.contiguous(), count, draw_kind("random_words", purpose, layer))


def random_words_reference(keys: Tensor, count: int, purpose: int) -> Tensor:
    """Computes ``ivn::random_words`` in plain PyTorch; ``purpose`` holds the layer too."""
    blocks = (count + 3) // 4
    seed, epoch, position, repeat = (column[:, None] for column in keys.unbind(1))
    # 32-bit words are held in int64: products wrap to the right bits, shifts are then masked.
    draw = torch.arange(blocks, device=keys.device)[None]
    counter = (
        draw.expand(len(keys), -1),
        torch.full_like(draw, purpose),
        position,
        epoch << 8 | repeat,
    )
    words = torch.stack(philox4x32(counter, (seed & _MASK, seed >> 32)), dim=2)
    return words.flatten(1)[:, :count]


def philox4x32(
    counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns four 32-bit words of ten rounds of Philox4x32; int64 tensors that broadcast."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        high0, low0 = _multiply(_MULTIPLIERS[0], c0)
        high1, low1 = _multiply(_MULTIPLIERS[1], c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = k0 + _KEY_STEPS[0] & _MASK, k1 + _KEY_STEPS[1] & _MASK
    return c0, c1, c2, c3


def uniform(
    keys: Tensor,
    purpose: Purpose,
    count: int,
    *,
    layer: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Draws uniform numbers in the open interval (0, 1), ``[B, count]``.

    A number is 23 bits of a word in fp32, all 32 in fp64, plus half a step: exact, never 0 or 1.
    """
    return _uniform(random_words(keys, purpose, count, layer=layer), dtype)


def _uniform(words: Tensor, dtype: torch.dtype) -> Tensor:
    bits = 32 if dtype == torch.float64 else 23
    return ((words >> (32 - bits)).to(dtype) + 0.5) * 2.0**-bits


def integers(keys: Tensor, purpose: Purpose, count: int, high: int, *, layer: int = 0) -> Tensor:
    """Draws integers in ``[0, high)``, ``[B, count]`` int64; ``high`` is at most ``2**31``.

    The chances of two values differ by less than ``high / 2**32``.
    """
    if not 0 < high <= 2**31:
        raise ValueError(f"integers: high is {high}, expected 1 to 2**31")
    return random_words(keys, purpose, count, layer=layer) * high >> 32


def normal(
    keys: Tensor,
    purpose: Purpose,
    count: int,
    *,
    layer: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Draws standard normal numbers, ``[B, count]``, by Box and Muller's transform of word pairs.

    In fp32 23 bits of each word are used, in fp64 all 32. Every device draws the same bits.
    """
    _check_draws("normal", keys, count)
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"normal: dtype is {dtype}, expected fp32 or fp64")
    return _normal(keys.contiguous(), count, draw_kind("normal", purpose, layer), dtype)


def normal_reference(keys: Tensor, count: int, purpose: int, dtype: torch.dtype) -> Tensor:
    """Computes ``ivn::normal`` in plain PyTorch."""
    even = (count + 1) // 2 * 2
    u = _uniform(random_words_reference(keys, even, purpose), dtype)
    radius = (-2.0 * u[:, 0::2].log()).sqrt()
    angle = 2.0 * torch.pi * u[:, 1::2]
    return torch.stack([radius * angle.cos(), radius * angle.sin()], 2).flatten(1)[:, :count]


@operation(fake=lambda keys, count: keys.new_empty(keys.shape[0], count))
def _random_words(keys: Tensor, count: int, purpose: int) -> Tensor:
    words = keys.new_empty(len(keys), count)
    call("ivn_random_words", keys.device, keys, words, len(keys), count, purpose)
    return words


@operation(fake=lambda keys, count, dtype: keys.new_empty(keys.shape[0], count, dtype=dtype))
def _normal(keys: Tensor, count: int, purpose: int, dtype: torch.dtype) -> Tensor:
    out = keys.new_empty(len(keys), count, dtype=dtype)
    call("ivn_normal", keys.device, keys, out, len(keys), count, purpose, TYPES[dtype])
    return out


def draw_kind(op: str, purpose: Purpose, layer: int = 0) -> int:
    """Returns the counter's second word: purpose and layer."""
    if not 0 <= layer < 2**24:
        raise ValueError(f"{op}: layer is {layer}, expected 0 to {2**24 - 1}")
    return int(purpose) << 24 | layer


def _check_draws(op: str, keys: Tensor, count: int) -> None:
    if keys.ndim != 2 or keys.shape[1] != 4 or keys.dtype != torch.int64:
        raise ValueError(f"{op}: keys is {keys.dtype} {list(keys.shape)}, expected int64 [B, 4]")
    if count < 0:
        raise ValueError(f"{op}: count is {count}, expected at least 0")


def _multiply(constant: int, word: Tensor) -> tuple[Tensor, Tensor]:
    product = word * constant
    return product >> 32 & _MASK, product & _MASK
