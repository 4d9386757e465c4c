"""Labelled videos, what belongs together among them, and how they are split.

Legend: n clips, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ivn.data.source import Source

from .errors import ProbeError
from .extract import Extracted
from .split import check_apart, folds_of, groups_of

LEAST_GROUPS = 2  # of a class: one to learn from, one to judge by


Split = tuple[Tensor, Tensor]  # clips to train on, clips to test


@dataclass(frozen=True)
class Data:
    """Labelled videos.

    Attributes:
        sources: of n clips: those to train on, then those of a test list.
        labels: index into ``classes``, int64 ``[n]``.
        groups: ``[n]``; what no split parts.
        classes: names.
        tests: how many of them are of the test list.
    """

    sources: Sequence[Source]
    labels: np.ndarray
    groups: np.ndarray
    classes: list[str]
    tests: int = 0

    def only(self, kept: Sequence[int]) -> "Data":
        """Of these clips alone."""
        first = len(self.sources) - self.tests
        return Data(
            [self.sources[clip] for clip in kept],
            self.labels[kept],
            self.groups[kept],
            self.classes,
            sum(clip >= first for clip in kept),
        )


def labelled(sources: Sequence[Source], test: Sequence[Source], *, label: str) -> Data:
    """The videos that have ``label``, with what belongs together found out.

    Raises:
        ProbeError: none has it, there is one class alone, or the two lists do not fit together.
    """
    train = [source for source in sources if label in source.labels]
    if not train:
        raise ProbeError(_no_label(sources, label, "training"))
    classes = sorted({source.labels[label] for source in train}, key=_natural)
    if len(classes) < 2:
        raise ProbeError(
            f"all {len(train)} videos are of the class {classes[0]!r} of {label!r}: expected at "
            "least two classes"
        )
    judged = [source for source in test if label in source.labels]
    if test:
        if not judged:
            raise ProbeError(_no_label(test, label, "test"))
        if unknown := sorted({source.labels[label] for source in judged} - set(classes)):
            raise ProbeError(
                f"the test videos have {len(unknown)} classes of {label!r} that no training video "
                f"has: {_few(unknown)}; the training videos have {_few(classes)}"
            )
        check_apart(train, judged)
    every = [*train, *judged]
    number = {name: place for place, name in enumerate(classes)}
    labels = np.array([number[source.labels[label]] for source in every], np.int64)
    return Data(every, labels, groups_of(every), classes, len(judged))


def check(sources: Sequence[Source], *, label: str, folds: int = 5, seed: int = 0) -> None:
    """See that the label can be probed in folds, before anything is decoded.

    Raises:
        ProbeError: as :func:`classify`.
    """
    data = labelled(sources, (), label=label)
    check_classes(data)
    split_of(data, folds=folds, holdout=False, seed=seed)


def usable(data: Data, extracted: Extracted) -> Data:
    """The videos that could be read; a list of which none could is not as if it had not been."""
    kept, skipped = data.only(extracted.kept), extracted.skipped
    before, after = len(data.sources) - data.tests, len(kept.sources) - kept.tests
    # Those skipped are in the order of all: the first is of the training videos, if one is.
    if not after:
        raise ProbeError(f"none of {before} training videos can be used: {skipped[0].reason}")
    if data.tests and not kept.tests:
        raise ProbeError(f"none of {data.tests} test videos can be used: {skipped[-1].reason}")
    return kept


def check_classes(data: Data) -> None:
    """See that every class can be learnt, and without a test list also judged."""
    first = len(data.sources) - data.tests
    least = 1 if data.tests else LEAST_GROUPS
    for number, name in enumerate(data.classes):
        count = len(np.unique(data.groups[:first][data.labels[:first] == number]))
        if count < least:
            raise ProbeError(
                f"class {name!r} has usable videos in {count} group{'s' * (count != 1)}, expected "
                f"at least {least}: one is held out while the others train; give more videos of "
                "it, or a list without it"
            )


def split_of(data: Data, *, folds: int, holdout: bool, seed: int) -> list[Split]:
    clips = torch.arange(len(data.sources))
    if data.tests:
        return [(clips[: -data.tests], clips[-data.tests :])]
    fold = torch.from_numpy(folds_of(data.groups, data.labels, folds, seed=seed))
    held = range(1) if holdout else range(folds)
    return [(clips[fold != one], clips[fold == one]) for one in held]


def majority(data: Data, splits: Sequence[Split]) -> float:
    """The share told right by always guessing the training videos' commonest class."""
    right = count = 0
    for train, test in splits:
        guess = np.bincount(data.labels[train], minlength=len(data.classes)).argmax()
        right, count = right + int((data.labels[test] == guess).sum()), count + len(test)
    return right / count


def described(
    data: Data, splits: Sequence[Split], *, folds: int, holdout: bool, seed: int
) -> dict[str, Any]:
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
    others = sorted({name for source in sources for name in source.labels})
    there = f"they have {_few(others)}" if others else "they have no labels at all"
    return f"none of {len(sources)} {side} videos has the label {label!r}: {there}"


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(map(repr, names[:5])) + more


def _natural(name: str) -> tuple[bool, int, str]:
    """Whole numbers by value, before words."""
    return (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)
