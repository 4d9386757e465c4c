"""Accuracy with its interval, confusion, and what guessing would give.

Legend: n clips, K classes.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .linear import interval

TOP = 5


@dataclass(frozen=True)
class Share:
    """A mean over clips, and its 95% interval over groups of clips."""

    value: float
    low: float
    high: float

    def json(self) -> dict[str, float]:
        return asdict(self)


def share(scores: np.ndarray, groups: np.ndarray, *, seed: int) -> Share:
    """The mean of ``scores [n]``, such as 1 where a prediction is right."""
    low, high = interval(scores.astype(np.float64), groups, seed=seed)
    return Share(float(scores.mean()), low, high)


def hits(probabilities: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """1 where the class is among the ``count`` most probable, float64 ``[n]``.

    Of classes as probable the first in order goes first.
    """
    top = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
    return (top == labels[:, None]).any(1).astype(np.float64)


def confusion(predicted: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """How many clips of each class (row) were told as each (column), int64 ``[K, K]``."""
    table = np.zeros((classes, classes), np.int64)
    np.add.at(table, (labels, predicted), 1)
    return table


def per_class(table: np.ndarray, classes: list[str]) -> list[dict[str, Any]]:
    """Clips and share told right of each class, of a confusion table; None without clips."""
    rows = []
    for number, name in enumerate(classes):
        count = int(table[number].sum())
        right = float(table[number, number] / count) if count else None
        rows.append({"class": name, "n": count, "top1": right})
    return rows
