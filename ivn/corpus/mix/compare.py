"""Comparison of two clips frame by frame, at whatever moment one starts in the other.

Hashes find pairs that look alike; a second video of the same room or person looks alike too. What
tells them apart is what moves: the differences of small pictures from their own mean over time.
"""

import math
from functools import lru_cache

import numpy as np

from ivn.corpus.mix.phash import thumbnails
from ivn.media.decode import frames_in_order
from ivn.media.source import Source

_SIDE = 16
# A clip is sampled 32 times a second, and half as often as long as it gives more than _MOST
# pictures. At 16 times a second, cut copies of fast movement are missed: their frames lie between
# two samples of the original.
_STEP = 1 / 32
_MOST = 4096
# Seconds between the pictures of the shorter clip that are compared, and the number of pictures
# below which they are taken closer together.
_APART = 0.25
_FEWEST = 8
# Each picture may match one that is up to this many seconds earlier or later: a copy with fewer
# frames a second shows each frame for longer, and a cut one shows its frames at shifted times.
# Of 64 rendered clips, this finds 29 copies at half the frame rate and 55 cut ones; without it, 4
# and 31 are found. The strongest pair that is no copy then correlates with 0.897, not with 0.890.
_LATE = 1 / 16
# Same moment, other encoding: mostly 0.93 and more on real clips down to a third of the size and
# the worst quality (0.90 at times altered); at most 0.90 for two videos of the same signer before
# the same wall. Chosen on the clips that it was measured on; on others see docs/data.md.
_MOVES_ALIKE = 0.915
_LOOKS_ALIKE = 0.9
# How much two clips must look alike at a moment before each picture is also compared with earlier
# and later ones, which takes longer.
_PERHAPS_ALIKE = 0.8
# Where nothing moves (grey levels of 255, root of the mean square) looks alone must tell.
_STILL = 1.5
_STILL_LOOKS_ALIKE = 0.99


def same_content(pair: tuple[Source, Source]) -> bool:
    """Returns whether the shorter clip is in the longer: a copy, a re-encoding, a cut, or both.

    Played at the same speed and not mirrored; cropped at most by a few pixels.

    Raises:
        DecodeError: one of them cannot be decoded.
    """
    long, short = sorted((_pictures(source) for source in pair), key=_seconds, reverse=True)
    (step, longer), (finer_step, shorter) = long, short
    if finer_step < step:
        shorter = shorter[:: round(step / finer_step)]
    every = max(1, round(_APART / step))
    while every > 1 and len(shorter) < _FEWEST * every:
        every //= 2
    wanted = shorter[::every]
    places = np.arange(len(wanted)) * every
    for first in range(len(longer) - places[-1]):
        if _looks_alike(longer[first + places], wanted) < _PERHAPS_ALIKE:
            continue
        if _alike(_nearest(longer, first + places, wanted, round(_LATE / step)), wanted):
            return True
    return False


def _seconds(pictures: tuple[float, np.ndarray]) -> float:
    return pictures[0] * len(pictures[1])


def _nearest(longer: np.ndarray, places: np.ndarray, wanted: np.ndarray, late: int) -> np.ndarray:
    """Returns for each wanted picture the most similar one at most ``late`` from its place."""
    around = np.clip(places + np.arange(-late, late + 1)[:, None], 0, len(longer) - 1)
    some = longer[around]
    apart = np.square(_centred(some, (2, 3)) - _centred(wanted, (1, 2))).sum((2, 3))
    return some[apart.argmin(0), np.arange(len(wanted))]


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    looks = _looks_alike(one, other)
    if looks < _LOOKS_ALIKE:
        return False
    move, also = _centred(one, 0), _centred(other, 0)
    if min(math.sqrt(np.square(part).mean()) for part in (move, also)) < _STILL:
        return looks >= _STILL_LOOKS_ALIKE
    return _correlation(move, also) >= _MOVES_ALIKE


def _looks_alike(one: np.ndarray, other: np.ndarray) -> float:
    return _correlation(_centred(one, (1, 2)), _centred(other, (1, 2)))


def _centred(pictures: np.ndarray, over: int | tuple[int, int]) -> np.ndarray:
    return pictures - pictures.mean(axis=over, keepdims=True)


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    both = math.sqrt(float(np.square(one).sum()) * float(np.square(other).sum()))
    return float((one * other).sum()) / both if both else 0.0


# A clip that looks like many is decoded once.
@lru_cache(maxsize=32)
def _pictures(source: Source) -> tuple[float, np.ndarray]:
    """Returns seconds from picture to picture, and the pictures, float32 ``[T, 16, 16]``."""
    step, end = _STEP, 0.0
    kept: list[np.ndarray] = []
    for shown in frames_in_order(source):
        since = shown.time - source.start
        # A picture stays until the next one.
        while kept and len(kept) * step < since - step / 2:
            kept.append(kept[-1])
        if not kept or len(kept) * step < since + step / 2:
            kept.append(thumbnails(shown.image()[None], _SIDE)[0])
        end = since + 1 / shown.rate
        if len(kept) > _MOST:
            step, kept = 2 * step, kept[::2]
    while len(kept) * step < end - step:
        kept.append(kept[-1])
    return step, np.stack(kept)
