"""Splits that never part what belongs together.

Videos belong together if their list says so (``Source.group``), if they are one file under two
names, or two windows of it, or if their files, or members of tars, have the same bytes.

Legend: n videos, G groups, K classes.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch import Tensor

from ivn.errors import DataError
from ivn.keys import Purpose, make_keys
from ivn.media.source import Source
from ivn.media.storage import name_of
from ivn.ops.random import random_words

_TRIES = 20
_CHUNK = 2**20
_GROUPS_AT_ONCE = 128

Key = tuple[str, str]  # what two videos may share: its kind, and which


def groups_of(sources: Sequence[Source]) -> np.ndarray:
    """Which videos belong together, int64 ``[n]``, groups numbered from 0 in order.

    A re-encoded copy has other bytes: only the ``group`` column of a list can tell of it.
    """
    return grouped(keys_of(sources))


def grouped(keys: Sequence[Sequence[Key]]) -> np.ndarray:
    """As :func:`groups_of`, of videos with these keys."""
    parent = list(range(len(keys)))

    def root(video: int) -> int:
        while parent[video] != video:
            parent[video] = parent[parent[video]]
            video = parent[video]
        return video

    first: dict[Key, int] = {}
    for video, own in enumerate(keys):
        for key in own:
            one, other = root(first.setdefault(key, video)), root(video)
            parent[max(one, other)] = min(one, other)
    roots = [root(video) for video in range(len(keys))]
    number = {root: place for place, root in enumerate(dict.fromkeys(roots))}
    return np.array([number[root] for root in roots], np.int64)


def clips_of(sources: Sequence[Source], keys: Sequence[Sequence[Key]]) -> np.ndarray:
    """Which videos are one clip, int64 ``[n]``, clips numbered from 0 in order.

    They are windows from one time to one time of one file, however its path is spelled, or of files
    with the same bytes.

    Args:
        sources: the videos.
        keys: of :func:`keys_of`.
    """
    number: dict[tuple[str, int, float, float], int] = {}
    found = []
    for source, own in zip(sources, keys, strict=True):
        what = dict(own)
        # A tar may have several members of one name.
        key = (what["content"], 0) if "content" in what else (what["file"], source.offset)
        found.append((*key, source.start, max(source.end, -1.0)))  # any below 0 is the end
    return np.array([number.setdefault(clip, len(number)) for clip in found], np.int64)


def check_apart(
    train: Sequence[Source], test: Sequence[Source], keys: Sequence[Sequence[Key]]
) -> None:
    """See that no video of ``test`` belongs to one of ``train``.

    Args:
        train, test: the videos.
        keys: of :func:`keys_of`, of all of them in this order.

    Raises:
        DataError: one does; both are named.
    """
    seen: dict[Key, int] = {}
    for video, own in enumerate(keys[: len(train)]):
        for key in own:
            seen.setdefault(key, video)
    found = [
        (video, key) for video, own in enumerate(keys[len(train) :]) for key in own if key in seen
    ]
    if not found:
        return
    video, (kind, what) = found[0]
    one, other = (name_of(source) for source in (train[seen[kind, what]], test[video]))
    why = {
        "file": "are one file",
        "content": "have the same bytes",
        "group": f"are of the group {what!r}",
    }[kind]
    count = len({video for video, _ in found})
    raise DataError(
        f"{count} of {len(test)} test videos belong to training videos: {one} and {other} {why}; "
        "keep what belongs together on one side"
    )


def folds_of(
    groups: np.ndarray, labels: np.ndarray, folds: int, *, seed: int, every_class: bool = True
) -> np.ndarray:
    """The fold of each video, int64 ``[n]`` in ``[0, folds)``; no group is parted.

    Groups are dealt out one by one, the most uneven first, each to the fold where it leaves the
    classes most evenly spread.

    Args:
        groups: ``[n]``.
        labels: index of each video's class, ``[n]``; or which classes it has, bool ``[n, K]``.
        folds: how many, at least 2.
        seed: of the order among equals.
        every_class: see to it that each class is in two folds at least, so that whichever is held
            out, another has it.

    Raises:
        DataError: there are too few groups, or ``every_class`` cannot be had.
    """
    names, index = np.unique(groups, return_inverse=True)
    if folds < 2:
        raise DataError(f"{folds} folds, expected at least 2")
    if len(names) < folds:
        raise DataError(
            f"{len(names)} groups of videos, expected at least {folds}, one a fold: give more "
            "videos, or fewer folds with --folds"
        )
    counts = _Counts.of(index, labels)
    uneven = counts.unevenness()
    for attempt in range(_TRIES):
        fold = _dealt(counts, uneven, folds, make_keys(seed, attempt, range(len(names))))
        there = np.zeros((len(counts.totals), folds), bool)
        there[counts.labels, fold[counts.groups]] = True
        if not every_class or there.sum(1)[counts.totals > 0].min() > 1:
            return fold[index]
    raise DataError(
        f"the classes cannot be spread over {folds} folds without parting a group: one would be in "
        "one fold alone; give more groups of each class, or other folds with --folds"
    )


@dataclass(frozen=True)
class _Counts:
    """Videos of each class in each group, where there are any: nearly all pairs have none.

    A video of several classes is counted in each.

    Attributes:
        groups, labels, videos: of each pair that has some, in order, int64 ``[P]``.
        first: where each group begins among the pairs, int64 ``[G + 1]``.
        totals: videos of each class, ``[K]``.
    """

    groups: np.ndarray
    labels: np.ndarray
    videos: np.ndarray
    first: np.ndarray
    totals: np.ndarray

    @classmethod
    def of(cls, groups: np.ndarray, labels: np.ndarray) -> "_Counts":
        """Of each video's group, ``[n]`` without gaps, and labels as :func:`folds_of` has them."""
        if labels.ndim == 2:
            videos, labels = np.nonzero(labels)
            groups = groups[videos]
        totals = np.bincount(labels)
        pairs, videos = np.unique(groups * len(totals) + labels, return_counts=True)
        of_group, of_class = np.divmod(pairs, len(totals))
        first = np.searchsorted(of_group, np.arange(groups.max() + 2))
        return cls(of_group, of_class, videos, first, totals)

    def shares(self, start: int, stop: int) -> np.ndarray:
        """Of each class's videos those in the groups from ``start`` to ``stop``, ``[., K]``."""
        pairs = slice(self.first[start], self.first[stop])
        out = np.zeros((stop - start, len(self.totals)))
        labels = self.labels[pairs]
        out[self.groups[pairs] - start, labels] = self.videos[pairs] / self.totals[labels]
        return out

    def unevenness(self) -> np.ndarray:
        """Deviation over the classes of each group's shares, ``[G]``."""
        G = len(self.first) - 1
        starts = range(0, G, _GROUPS_AT_ONCE)
        return np.concatenate(
            [self.shares(one, min(one + _GROUPS_AT_ONCE, G)).std(1) for one in starts]
        )


def _dealt(counts: _Counts, uneven: np.ndarray, folds: int, keys: Tensor) -> np.ndarray:
    """The fold of each group; the most ``uneven`` are dealt first."""
    words = random_words(keys, Purpose.ORDER, 1)[:, 0].numpy()
    fold = np.zeros(len(uneven), np.int64)
    held = np.zeros((folds, len(counts.totals)))
    size = np.zeros(folds)
    for group in np.lexsort((words, -uneven)):
        share = counts.shares(group, group + 1)[0]
        after = held[None] + np.eye(folds)[:, :, None] * share
        spread = after.std(1).mean(1).round(12)
        best = int(np.lexsort((words[:folds], size, spread))[0])
        fold[group] = best
        held[best] += share
        size[best] += counts.videos[counts.first[group] : counts.first[group + 1]].sum()
    return fold


def keys_of(sources: Sequence[Source]) -> list[list[Key]]:
    """What each video shares with whatever belongs to it.

    Files and members of tars that are as large as another are read whole.
    """
    real = [os.path.realpath(source.path) for source in sources]
    pieces = [
        _Piece(path, source.offset, source.size) if source.member else _Piece(path, 0, _size(path))
        for source, path in zip(sources, real, strict=True)
    ]
    content = _contents(pieces)
    return [
        [("file", f"{piece.path}\0{source.member}" if source.member else piece.path)]
        + ([("group", source.group)] if source.group else [])
        + ([("content", content[piece])] if piece in content else [])
        for source, piece in zip(sources, pieces, strict=True)
    ]


class _Piece(NamedTuple):
    """Bytes of a file: all of them, or those of a member of a tar."""

    path: str
    offset: int
    size: int


def _contents(pieces: Sequence[_Piece]) -> dict[_Piece, str]:
    """SHA-256 of the pieces that are as large as another; the others have no like."""
    by_size: defaultdict[int, list[_Piece]] = defaultdict(list)
    for piece in dict.fromkeys(pieces):
        # What is not there, or of unknown size, is like nothing.
        if 0 < piece.size <= _size(piece.path) - piece.offset:
            by_size[piece.size].append(piece)
    alike = [piece for same in by_size.values() if len(same) > 1 for piece in same]
    return {piece: _digest(piece) for piece in alike}


def _size(path: str) -> int:
    """In bytes; 0 where there is no such file."""
    return os.path.getsize(path) if os.path.isfile(path) else 0


def _digest(piece: _Piece) -> str:
    digest, left = hashlib.sha256(), piece.size
    with open(piece.path, "rb") as file:
        file.seek(piece.offset)
        while chunk := file.read(min(_CHUNK, left)):
            digest.update(chunk)
            left -= len(chunk)
    return digest.hexdigest()
