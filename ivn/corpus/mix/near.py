"""Search for clips that look alike, without comparing each with each.

Frames that differ in few of their 63 bits mostly agree in one of three bands of 21: each band is
sorted, and only neighbours in it are compared (multi-index hashing, M. Norouzi, A. Punjani, D.
Fleet, Fast search in Hamming space with multi-index hashing, CVPR 2012). All 63 bits then decide.
"""

import numpy as np

from ivn.corpus.mix.phash import BITS, FRAMES

_BANDS = 3
_WIDTH = BITS // _BANDS
# Bits by which the same frame differs in another encoding: at most 8 in all that were measured,
# at a third of the size and the worst quality.
_BITS_APART = 8
# Neighbours in a band that each frame is compared with: what a frame looks like that thousands
# of clips have (a title, a logo) must not cost their number squared.
_NEIGHBOURS = 24
# Frames that two clips must share, or all that the poorer has.
_SHARED = 2
_PAIRS_AT_A_TIME = 65536


def candidates(values: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Returns pairs of clips with frames that look alike, int64 ``[P, 2]``, ascending and sorted.

    The frames may be at any places in the clips. Time and memory grow with the number of clips,
    not with its square.

    Args:
        values: hash of each clip's frames, uint64 ``[R, 8]``.
        present: whether a hash counts, bool ``[R, 8]``.
    """
    present = _once(values, present)
    frames, owners = values[present], np.nonzero(present)[0]
    found = np.unique(np.concatenate([_in_band(frames, owners, n) for n in range(_BANDS)]))
    pairs = np.stack([found >> 32, found & 0xFFFFFFFF], axis=1)
    parts = [
        _share_frames(values, present, pairs[first : first + _PAIRS_AT_A_TIME])
        for first in range(0, len(pairs), _PAIRS_AT_A_TIME)
    ]
    return pairs[np.concatenate(parts)] if parts else pairs


def _once(values: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Returns ``present`` without the frames that a clip has had before."""
    present = present.copy()
    for later in range(1, FRAMES):
        again = (values[:, :later] == values[:, later, None]) & present[:, :later]
        present[:, later] &= ~again.any(axis=1)
    return present


def _in_band(frames: np.ndarray, owners: np.ndarray, band: int) -> np.ndarray:
    """Returns pairs of owners, in 64 bits, of frames alike in the band and nearly elsewhere."""
    keys = (frames >> np.uint64(band * _WIDTH)).astype(np.uint32) & np.uint32((1 << _WIDTH) - 1)
    # Within a key by all bits, so that the nearest are neighbours.
    order = np.lexsort((frames, keys))
    keys, frames, owners = keys[order], frames[order], owners[order]
    found = [np.empty(0, np.int64)]
    for step in range(1, _NEIGHBOURS + 1):
        same = np.nonzero(keys[step:] == keys[:-step])[0]
        if not len(same):
            break
        apart = np.bitwise_count(frames[same] ^ frames[same + step])
        near = same[apart <= _BITS_APART]
        one, other = owners[near], owners[near + step]
        low, high = np.minimum(one, other), np.maximum(one, other)
        found.append(np.unique((low << 32 | high)[low != high]))
    return np.concatenate(found)


def _share_frames(values: np.ndarray, present: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Returns whether each pair shares enough frames, bool ``[P]``."""
    one, other = pairs[:, 0], pairs[:, 1]
    apart = np.bitwise_count(values[one][:, :, None] ^ values[other][:, None, :])
    near = (apart <= _BITS_APART) & present[one][:, :, None] & present[other][:, None, :]
    shared = np.minimum(near.any(axis=2).sum(axis=1), near.any(axis=1).sum(axis=1))
    fewest = np.minimum(present[one].sum(axis=1), present[other].sum(axis=1))
    return shared >= np.minimum(_SHARED, fewest)
