"""Splits that never part a group of videos.

Videos are of one group if their list says so (``Source.group``), if they are one file under two
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

Key = tuple[str, str]  # something that videos of a group share: its kind and its value


def groups_of(sources: Sequence[Source]) -> np.ndarray:
    """Returns the group of each video, int64 ``[n]``, numbered from 0 in order.

    A re-encoded copy has other bytes: only the ``group`` column of a list can join it.
    """
    return grouped(keys_of(sources))


def grouped(keys: Sequence[Sequence[Key]]) -> np.ndarray:
    """Returns the group of each video from its keys; see :func:`groups_of`."""
    parent = list(range(len(keys)))

    def root(video: int) -> int:
        while parent[video] != video:
            parent[video] = parent[parent[video]]
            video = parent[video]
        return video

    first: dict[Key, int] = {}
    for video, own in enumerate(keys):
        for key in own:
            low, high = sorted((root(first.setdefault(key, video)), root(video)))
            parent[high] = low
    roots = [root(video) for video in range(len(keys))]
    number = {root: index for index, root in enumerate(dict.fromkeys(roots))}
    return np.array([number[root] for root in roots], np.int64)


def clips_of(sources: Sequence[Source], keys: Sequence[Sequence[Key]]) -> np.ndarray:
    """Returns the clip of each video, int64 ``[n]``, numbered from 0 in order.

    Videos are one clip if they are the same window of one file, however its path is spelled, or of
    files with the same bytes.

    Args:
        sources: the videos.
        keys: their keys, as :func:`keys_of` returns them.
    """
    number: dict[tuple[str, int, float, float], int] = {}
    clips = []
    for source, own in zip(sources, keys, strict=True):
        shared = dict(own)
        # A tar may have several members of one name.
        key = (shared["content"], 0) if "content" in shared else (shared["file"], source.offset)
        clips.append((*key, source.start, max(source.end, -1.0)))  # any below 0 is the end
    return np.array([number.setdefault(clip, len(number)) for clip in clips], np.int64)


def check_apart(
    train: Sequence[Source], test: Sequence[Source], keys: Sequence[Sequence[Key]]
) -> None:
    """Checks that no video of ``test`` is of the group of one of ``train``.

    Args:
        train, test: the videos.
        keys: their keys, those of ``train`` first, as :func:`keys_of` returns them.

    Raises:
        DataError: two are of one group; both are named.
    """
    owner: dict[Key, int] = {}
    for video, own in enumerate(keys[: len(train)]):
        for key in own:
            owner.setdefault(key, video)
    shared = [
        (video, key) for video, own in enumerate(keys[len(train) :]) for key in own if key in owner
    ]
    if not shared:
        return
    video, (kind, value) = shared[0]
    ours, theirs = name_of(train[owner[kind, value]]), name_of(test[video])
    why = {
        "file": "are one file",
        "content": "have the same bytes",
        "group": f"are of the group {value!r}",
    }[kind]
    count = len({video for video, _ in shared})
    raise DataError(
        f"{count} of {len(test)} test videos are of the groups of training videos: {ours} and "
        f"{theirs} {why}; keep a group on one side"
    )


def folds_of(
    groups: np.ndarray, labels: np.ndarray, folds: int, *, seed: int, every_class: bool = True
) -> np.ndarray:
    """Returns the fold of each video, int64 ``[n]`` in ``[0, folds)``; no group is split.

    Groups are dealt out one by one, the most uneven first, each to the fold where it leaves the
    classes most evenly spread.

    Args:
        groups: group of each video, ``[n]``.
        labels: index of each video's class, ``[n]``; or its membership in each class, bool
            ``[n, K]``.
        folds: number of folds, at least 2.
        seed: seed of the order among equally uneven groups.
        every_class: require each class in at least two folds, so that another fold has it when one
            is held out.

    Raises:
        DataError: there are too few groups, or a class cannot be spread over two folds.
    """
    names, index = np.unique(groups, return_inverse=True)
    if folds < 2:
        raise DataError(f"{folds} folds, expected at least 2")
    if len(names) < folds:
        raise DataError(
            f"{len(names)} groups of videos, expected at least {folds}, one per fold: give more "
            "videos, or fewer folds with --folds"
        )
    counts = _Counts.of(index, labels)
    uneven = counts.unevenness()
    for attempt in range(_TRIES):
        fold = _dealt(counts, uneven, folds, make_keys(seed, attempt, range(len(names))))
        present = np.zeros((len(counts.totals), folds), bool)
        present[counts.labels, fold[counts.groups]] = True
        if not every_class or present.sum(1)[counts.totals > 0].min() > 1:
            return fold[index]
    raise DataError(
        f"the classes cannot be spread over {folds} folds without parting a group: one would be in "
        "one fold alone; give more groups of each class, or other folds with --folds"
    )


@dataclass(frozen=True)
class _Counts:
    """Numbers of videos per pair of group and class, without the pairs that have none.

    A video of several classes is counted in each.

    Attributes:
        groups, labels, videos: group, class and number of videos per pair, in order, int64 ``[P]``.
        first: index of each group's first pair, int64 ``[G + 1]``.
        totals: videos of each class, ``[K]``.
    """

    groups: np.ndarray
    labels: np.ndarray
    videos: np.ndarray
    first: np.ndarray
    totals: np.ndarray

    @classmethod
    def of(cls, groups: np.ndarray, labels: np.ndarray) -> "_Counts":
        """Returns the counts of videos.

        Args:
            groups: group of each video, ``[n]``, numbered without gaps.
            labels: labels of each video, as for :func:`folds_of`.
        """
        if labels.ndim == 2:
            videos, labels = np.nonzero(labels)
            groups = groups[videos]
        totals = np.bincount(labels)
        pairs, videos = np.unique(groups * len(totals) + labels, return_counts=True)
        of_group, of_class = np.divmod(pairs, len(totals))
        first = np.searchsorted(of_group, np.arange(groups.max() + 2))
        return cls(of_group, of_class, videos, first, totals)

    def shares(self, start: int, stop: int) -> np.ndarray:
        """Returns the share of each class's videos in groups ``start`` to ``stop``, ``[., K]``."""
        pairs = slice(self.first[start], self.first[stop])
        out = np.zeros((stop - start, len(self.totals)))
        labels = self.labels[pairs]
        out[self.groups[pairs] - start, labels] = self.videos[pairs] / self.totals[labels]
        return out

    def unevenness(self) -> np.ndarray:
        """Returns the deviation over the classes of each group's shares, ``[G]``."""
        G = len(self.first) - 1
        starts = range(0, G, _GROUPS_AT_ONCE)
        return np.concatenate(
            [self.shares(start, min(start + _GROUPS_AT_ONCE, G)).std(1) for start in starts]
        )


def _dealt(counts: _Counts, uneven: np.ndarray, folds: int, keys: Tensor) -> np.ndarray:
    """Returns the fold of each group; the most ``uneven`` groups are dealt first."""
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
    """Returns the keys of each video; videos that share a key are of one group.

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
    """The bytes of a whole file, or of a member of a tar."""

    path: str
    offset: int
    size: int


def _contents(pieces: Sequence[_Piece]) -> dict[_Piece, str]:
    """Returns the SHA-256 of pieces that are as large as another; others have no duplicate."""
    by_size: defaultdict[int, list[_Piece]] = defaultdict(list)
    for piece in dict.fromkeys(pieces):
        # A piece that does not exist, or of unknown size, has no duplicate.
        if 0 < piece.size <= _size(piece.path) - piece.offset:
            by_size[piece.size].append(piece)
    same = [piece for pieces in by_size.values() if len(pieces) > 1 for piece in pieces]
    return {piece: _digest(piece) for piece in same}


def _size(path: str) -> int:
    """Returns the size of a file in bytes; 0 if there is none."""
    return os.path.getsize(path) if os.path.isfile(path) else 0


def _digest(piece: _Piece) -> str:
    digest, left = hashlib.sha256(), piece.size
    with open(piece.path, "rb") as file:
        file.seek(piece.offset)
        while chunk := file.read(min(_CHUNK, left)):
            digest.update(chunk)
            left -= len(chunk)
    return digest.hexdigest()
