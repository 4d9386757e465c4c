"""Which source comes when: a keyed permutation an epoch, and keyed substitutes."""

import torch
from torch import Tensor

from ivn.ops.random import Purpose, make_keys, random_words

# Sources whose random words are made at a time: a million at once would take 200 MB.
_CHUNK = 2**16


def epoch_order(seed: int, epoch: int, count: int) -> Tensor:
    """A permutation of ``count`` sources, int64 ``[count]``, by sorting keyed random words."""
    chunks = [
        _ranks(make_keys(seed, epoch, torch.arange(start, min(start + _CHUNK, count))))
        for start in range(0, count, _CHUNK)
    ]
    return torch.cat(chunks).argsort(stable=True)


def _ranks(keys: Tensor, layer: int = 0) -> Tensor:
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
