"""Orders the sources of an epoch by a keyed permutation, and chooses keyed substitutes."""

import torch
from torch import Tensor

from ivn.keys import Purpose, make_keys
from ivn.ops.random import random_words

# Sources whose random words are drawn at a time: a million at once would take 200 MB.
_CHUNK = 2**16


# Weights are counted in units of 2**-32, so that their sums are exact.
_UNIT = 2**32


def epoch_order(seed: int, epoch: int, count: int, *, layer: int = 0) -> Tensor:
    """Returns a random permutation of the sources, int64 ``[count]``, by sorting random words.

    Args:
        seed: seed of the run.
        epoch: number of the epoch, from 0.
        count: number of the sources.
        layer: number of the permutation; other layers give independent ones.
    """
    return _sorted(seed, epoch, [torch.arange(count)], layer)


def weighted_order(seed: int, epoch: int, weights: Tensor, *, layer: int = 0) -> Tensor:
    """Returns sources in random order, each as often as its weight says, int64 ``[n]``.

    A source of weight w occurs floor(w) times or once more, w times on average: its number is that
    of the whole steps, from a random start, within its part of the cumulative sum of the weights
    (systematic sampling; Madow 1949). So every range of sources has its share to within one. The
    length n is :func:`epoch_length`, a sum that is not whole being rounded down. With all weights 1
    the result is :func:`epoch_order`.

    Args:
        seed, epoch, layer: key of the order, see :func:`epoch_order`.
        weights: weight of each source, fp64 ``[N]``, at least 0.
    """
    sums = (weights * _UNIT).round().to(torch.int64).cumsum(0)
    start = random_words(make_keys(seed, epoch, [0]), Purpose.WEIGHT, 1, layer=layer)[0, 0]
    times = ((sums + start) // _UNIT).diff(prepend=torch.zeros(1, dtype=torch.int64))
    copies = [(times > copy).nonzero()[:, 0] for copy in range(int(times.max()))]
    return _sorted(seed, epoch, copies, layer)[: int(sums[-1]) // _UNIT]


def epoch_length(weights: Tensor) -> int:
    """Returns the number of draws in an epoch of these weights: their sum, rounded down."""
    return int((weights * _UNIT).round().to(torch.int64).sum()) // _UNIT


def _sorted(seed: int, epoch: int, copies: list[Tensor], layer: int) -> Tensor:
    """Sorts sources by random words, one word for each copy of a source."""
    words = [
        _words(make_keys(seed, epoch, chunk), layer + copy)
        for copy, sources in enumerate(copies)
        for chunk in sources.split(_CHUNK)
    ]
    return torch.cat(copies)[torch.cat(words).argsort(stable=True)]


def _words(keys: Tensor, layer: int) -> Tensor:
    words = random_words(keys, Purpose.ORDER, 2, layer=layer)
    # 63 bits: two sources share a value once in 10**7 epochs of a million, and then keep their
    # order.
    return (words[:, 0] << 31) | (words[:, 1] >> 1)


def substitutes(key: Tensor, index: int, count: int, tries: int) -> list[int]:
    """Returns distinct sources to try one after another instead of an unusable one.

    Args:
        key: key of the sample, int64 ``[1, 4]``.
        index: index of the unusable source, which is not among the substitutes.
        count: number of all sources.
        tries: number of substitutes; there are fewer where there are fewer sources.
    """
    words = random_words(key, Purpose.REPLACE, tries)[0].tolist()
    excluded = [index]
    for word in words[: count - 1]:
        candidate = word * (count - len(excluded)) >> 32
        for other in sorted(excluded):
            candidate += other <= candidate
        excluded.append(candidate)
    return excluded[1:]
