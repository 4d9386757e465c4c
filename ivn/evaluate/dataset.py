"""Labelled videos, their groups, and the splits of them.

Legend: n clips, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ivn.errors import DataError
from ivn.media.source import Source
from ivn.media.storage import name_of

from .account import Account
from .features.extract import Extracted
from .objective import ONE_CLASS, SEVERAL_LABELS, Objective
from .splits import Key, check_apart, clips_of, folds_of, grouped, keys_of

LEAST_GROUPS = 2  # groups of a class: one to learn from, one to judge by
SEPARATOR = ";"  # between several labels of a video

Split = tuple[Tensor, Tensor]  # clips to train on, clips to test


@dataclass(frozen=True)
class Data:
    """Labelled videos.

    Attributes:
        sources: n clips: the training clips, then those of a test list.
        labels: index into ``classes``, int64 ``[n]``; if any video has several labels, membership
            of each video in each class, bool ``[n, K]``.
        groups: group of each clip, ``[n]``; no split parts a group.
        classes: names of the classes.
        tests: number of clips from the test list.
        account: account of the lists that the clips come from.
    """

    sources: Sequence[Source]
    labels: np.ndarray
    groups: np.ndarray
    classes: list[str]
    tests: int
    account: Account

    @property
    def objective(self) -> Objective:
        """The objective that fits the labels."""
        return ONE_CLASS if self.labels.ndim == 1 else SEVERAL_LABELS

    def of_class(self, number: int) -> np.ndarray:
        """Returns which clips are of a class, bool ``[n]``."""
        return self.labels == number if self.labels.ndim == 1 else self.labels[:, number]

    def only(self, kept: Sequence[int]) -> "Data":
        """Returns the data of these clips alone."""
        first = len(self.sources) - self.tests
        return replace(
            self,
            sources=[self.sources[clip] for clip in kept],
            labels=self.labels[kept],
            groups=self.groups[kept],
            tests=sum(clip >= first for clip in kept),
        )


def labelled(sources: Sequence[Source], test: Sequence[Source], *, label: str) -> Data:
    """Returns the videos that have ``label``, each once, and their groups.

    Raises:
        DataError: no video has it, there is only one class, a video is listed under several
            classes, or the two lists do not fit together.
    """
    train_rows = [(source, names) for source in sources if (names := _names(source, label))]
    test_rows = [(source, names) for source in test if (names := _names(source, label))]
    if not train_rows:
        raise DataError(_no_label(sources, label, "training"))
    if test and not test_rows:
        raise DataError(_no_label(test, label, "test"))
    # Computed once: files that are as large as another are read whole.
    keys = keys_of([source for source, _ in (*train_rows, *test_rows)])
    train = _once(train_rows, keys[: len(train_rows)], label, "training")
    judged = _once(test_rows, keys[len(train_rows) :], label, "test")
    classes = sorted({name for names in train.labels for name in names}, key=_natural)
    several = sum(len(names) > 1 for names in (*train.labels, *judged.labels))
    if len(classes) < 2:
        raise DataError(
            f"all {len(train.sources)} videos are of the class {classes[0]!r} of {label!r}: "
            "expected at least two classes"
        )
    if unknown := sorted({name for names in judged.labels for name in names} - set(classes)):
        raise DataError(
            f"the test videos have {len(unknown)} classes of {label!r} that no training video "
            f"has: {_few(unknown)}; the training videos have {_few(classes)}"
        )
    shared = [*train.keys, *judged.keys]
    check_apart(train.sources, judged.sources, shared)
    every = [*train.sources, *judged.sources]
    account = Account(
        label,
        listed=len(sources),
        unlabelled=len(sources) - len(train_rows),
        listed_test=len(test),
        unlabelled_test=len(test) - len(test_rows),
        repeated=len(train_rows) + len(test_rows) - len(every),
        several=several,
        ungrouped=sum(all(kind != "group" for kind, _ in own) for own in shared),
        used=len(every),
    )
    labels = _numbered([*train.labels, *judged.labels], classes, several > 0)
    return Data(every, labels, grouped(shared), classes, len(judged.sources), account)


@dataclass(frozen=True)
class _Clips:
    """The clips of one list that have the label, each once.

    Attributes:
        sources: the clips.
        labels: classes of each clip, in the order of the list.
        keys: keys of each clip: those of all of its rows.
    """

    sources: Sequence[Source]
    labels: Sequence[tuple[str, ...]]
    keys: Sequence[Sequence[Key]]


def _once(
    rows: Sequence[tuple[Source, tuple[str, ...]]],
    keys: Sequence[Sequence[Key]],
    label: str,
    side: str,
) -> _Clips:
    """Returns each clip by its first row; all rows of a clip must have the same classes."""
    clips = clips_of([source for source, _ in rows], keys)
    first: dict[int, int] = {}
    shared: dict[int, dict[Key, None]] = {}
    conflicts: dict[int, int] = {}  # clip -> the row that differs from its first
    for row, clip in enumerate(clips.tolist()):
        if set(rows[row][1]) != set(rows[first.setdefault(clip, row)][1]):
            conflicts.setdefault(clip, row)
        shared.setdefault(clip, {}).update(dict.fromkeys(keys[row]))
    if conflicts:
        clip, row = next(iter(conflicts.items()))
        (source, names), (other, others) = rows[first[clip]], rows[row]
        raise DataError(
            f"{len(conflicts)} {side} videos are listed under several classes of {label!r}: "
            f"{_named(source)} is {SEPARATOR.join(names)!r}, and {_named(other)} is "
            f"{SEPARATOR.join(others)!r}, which are one file or have the same bytes; give each "
            f"video one class, or one row with all of its labels, separated by {SEPARATOR!r}"
        )
    kept = list(first.values())
    return _Clips(
        [rows[row][0] for row in kept],
        [rows[row][1] for row in kept],
        [list(own) for own in shared.values()],
    )


def _names(source: Source, label: str) -> tuple[str, ...]:
    """Returns the classes of a video; none if the label is absent or blank."""
    parts = (part.strip() for part in source.labels.get(label, "").split(SEPARATOR))
    return tuple(dict.fromkeys(filter(None, parts)))


def _numbered(labels: Sequence[tuple[str, ...]], classes: list[str], several: bool) -> np.ndarray:
    """Returns labels in the form of :attr:`Data.labels`."""
    number = {name: index for index, name in enumerate(classes)}
    if not several:
        return np.array([number[name] for (name,) in labels], np.int64)
    out = np.zeros((len(labels), len(classes)), bool)
    for row, names in zip(out, labels, strict=True):
        row[[number[name] for name in names]] = True
    return out


def _named(source: Source) -> str:
    """Returns the file of a clip with its member and its window, if it has them."""
    window = f", from {source.start:g} s" if source.start else ""
    window += f", to {source.end:g} s" if source.end >= 0 else ""
    return f"{name_of(source)}{window}"


def check(sources: Sequence[Source], *, label: str, folds: int = 5, seed: int = 0) -> Account:
    """Checks that the label can be evaluated in folds, before anything is decoded.

    Raises:
        DataError: the videos and labels do not fit, as for :func:`labelled` and :func:`split_of`.
    """
    data = labelled(sources, (), label=label)
    check_classes(data)
    split_of(data, folds=folds, holdout=False, seed=seed)
    return data.account


def usable(data: Data, extracted: Extracted) -> Data:
    """Returns the usable videos.

    Raises:
        DataError: no video of the training list, or of the test list, is usable.
    """
    kept, skipped = data.only(extracted.kept), extracted.skipped
    before, after = len(data.sources) - data.tests, len(kept.sources) - kept.tests
    # Unusable videos are in the order of all: the first is a training video, if any is.
    if not after:
        raise DataError(f"none of {before} training videos can be used: {skipped[0].reason}")
    if data.tests and not kept.tests:
        raise DataError(f"none of {data.tests} test videos can be used: {skipped[-1].reason}")
    return kept


def check_classes(data: Data) -> None:
    """Checks that every class can be learnt and, without a test list, also judged.

    Raises:
        DataError: a class has too few groups.
    """
    first = len(data.sources) - data.tests
    least = 1 if data.tests else LEAST_GROUPS
    for number, name in enumerate(data.classes):
        count = len(np.unique(data.groups[:first][data.of_class(number)[:first]]))
        if count < least:
            raise DataError(
                f"class {name!r} has usable videos in {count} group{'s' * (count != 1)}, expected "
                f"at least {least}: one group is held out while heads are fitted to the others; "
                "give more videos of the class, or a list without it"
            )


def split_of(data: Data, *, folds: int, holdout: bool, seed: int) -> list[Split]:
    """Returns the splits: by the test list if there is one, else by folds.

    Args:
        data: the videos.
        folds: number of folds.
        holdout: test on the first fold alone.
        seed: seed of the folds.

    Raises:
        DataError: the groups do not fit into the folds.
    """
    clips = torch.arange(len(data.sources))
    if data.tests:
        return [(clips[: -data.tests], clips[-data.tests :])]
    fold = torch.from_numpy(folds_of(data.groups, data.labels, folds, seed=seed))
    held = range(1) if holdout else range(folds)
    return [(clips[fold != number], clips[fold == number]) for number in held]


def majority(data: Data, splits: Sequence[Split]) -> float:
    """Returns the accuracy of always guessing the most frequent class of the training videos.

    Each video has one class.
    """
    right = count = 0
    for train, test in splits:
        guess = np.bincount(data.labels[train], minlength=len(data.classes)).argmax()
        right, count = right + int((data.labels[test] == guess).sum()), count + len(test)
    return right / count


def described(
    data: Data, splits: Sequence[Split], *, folds: int, holdout: bool, seed: int
) -> dict[str, Any]:
    """Returns a description of the splits as plain values, for ``result.json``."""
    kind = "test list" if data.tests else "hold-out" if holdout else "folds"
    return {
        "kind": kind,
        "folds": len(splits) if kind == "folds" else None,
        "share": 1 / folds if kind == "hold-out" else None,
        "seed": seed,
        "groups": len(np.unique(data.groups)),
        "train": [len(train) for train, _ in splits],
        "test": [len(test) for _, test in splits],
    }


def _no_label(sources: Sequence[Source], label: str, side: str) -> str:
    others = sorted({name for source in sources for name in source.labels if _names(source, name)})
    there = f"they have {_few(others)}" if others else "they have no labels at all"
    if not others:
        there += f"; give a list with a column {label!r} that names the class of each video"
    return f"none of {len(sources)} {side} videos has the label {label!r}: {there}"


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(map(repr, names[:5])) + more


def _natural(name: str) -> tuple[bool, int, str]:
    """Returns a sort key that puts whole numbers, by value, before words."""
    return (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)
