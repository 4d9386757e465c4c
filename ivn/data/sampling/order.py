"""Which source comes when: a keyed permutation an epoch, and keyed substitutes."""

import torch
from torch import Tensor

from ivn.keys import Purpose, make_keys
from ivn.ops.random import random_words

# Sources whose random words are made at a time: a million at once would take 200 MB.
_CHUNK = 2**16


# Of weights, which are sums of 2**-32: their sums are exact.
_UNIT = 2**32


def epoch_order(seed: int, epoch: int, count: int, *, layer: int = 0) -> Tensor:
    """A permutation of ``count`` sources, int64 ``[count]``, by sorting keyed random words.

    Args:
        seed, epoch: of the run.
        count: of the sources.
        layer: other permutations for what is drawn beside.
    """
    return _sorted(seed, epoch, [torch.arange(count)], layer)


def weighted_order(seed: int, epoch: int, weights: Tensor, *, layer: int = 0) -> Tensor:
    """Sources in random order, each as often as its weight says, int64 ``[epoch_length(weights)]``.

    A source of weight w is there floor(w) times or once more, w times on average: the numbers are
    those of whole steps, from a random start, in the sum of the weights up to each source
    (systematic sampling; Madow 1949), so that every stretch of the sources has its share to within
    one. Where the sum is not whole, the last one drawn may be left out. With all weights 1 it is
    :func:`epoch_order`.

    Args:
        seed, epoch, layer: as there.
        weights: fp64 ``[N]``, at least 0.
    """
    sums = (weights * _UNIT).round().to(torch.int64).cumsum(0)
    start = random_words(make_keys(seed, epoch, [0]), Purpose.WEIGHT, 1, layer=layer)[0, 0]
    times = ((sums + start) // _UNIT).diff(prepend=torch.zeros(1, dtype=torch.int64))
    copies = [(times > copy).nonzero()[:, 0] for copy in range(int(times.max()))]
    return _sorted(seed, epoch, copies, layer)[: int(sums[-1]) // _UNIT]


def epoch_length(weights: Tensor) -> int:
    """How many sources an epoch of these weights has: their sum, rounded down."""
    return int((weights * _UNIT).round().to(torch.int64).sum()) // _UNIT


def _sorted(seed: int, epoch: int, copies: list[Tensor], layer: int) -> Tensor:
    """Sources in the order of words of their own, for each copy others."""
    words = [
        _words(make_keys(seed, epoch, chunk), layer + copy)
        for copy, sources in enumerate(copies)
        for chunk in sources.split(_CHUNK)
    ]
    return torch.cat(copies)[torch.cat(words).argsort(stable=True)]


def _words(keys: Tensor, layer: int) -> Tensor:
    words = random_words(keys, Purpose.ORDER, 2, layer=layer)
    # 63 bits: two sources share a value once in 10**7 epochs of a million, and then stay in order.
    return (words[:, 0] << 31) | (words[:, 1] >> 1)


def substitutes(key: Tensor, index: int, count: int, tries: int) -> list[int]:
    """Distinct sources to try in turn in place of a broken one, at most ``tries``.

    Args:
        key: int64 ``[1, 4]`` of the sample.
        index: of the broken source, never among the substitutes.
        count: of all sources.
        tries: how many at most; fewer where there are fewer sources.
    """
    words = random_words(key, Purpose.REPLACE, tries)[0].tolist()
    taken = [index]
    for word in words[: count - 1]:
        candidate = word * (count - len(taken)) >> 32
        for other in sorted(taken):
            candidate += other <= candidate
        taken.append(candidate)
    return taken[1:]
