"""Accuracy and average precision with their intervals, confusion, and each class by itself.

Legend: n clips, K classes, G groups, r draws of the clips.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ivn.keys import Purpose, make_keys
from ivn.ops.random import integers

TOP = 5
CONFIDENCE = 0.95
RESAMPLES = 10_000
# Of means over classes: a draw costs a pass over all clips of every class.
CLASS_RESAMPLES = 1_000
_DRAWS_AT_ONCE = 2**24


@dataclass(frozen=True)
class Share:
    """A mean over clips or classes, and its 95% interval over groups of clips."""

    value: float
    low: float
    high: float

    def json(self) -> dict[str, float]:
        return asdict(self)


def share(scores: np.ndarray, groups: np.ndarray, *, seed: int) -> Share:
    """The mean of ``scores [n]``, such as 1 where a prediction is right."""
    low, high = interval(scores.astype(np.float64), groups, seed=seed)
    return Share(float(scores.mean()), low, high)


def class_mean(right: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, seed: int) -> Share:
    """The mean over classes of the share of their clips told right.

    Args:
        right: 1 where a clip is told right, float64 ``[n]``.
        labels: index of each clip's class, ``[n]``; a class without clips does not count.
        groups: ``[n]``.
        seed: of the interval.
    """
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    rights = right[order].astype(np.float32)[:, None]

    def mean(weights: np.ndarray) -> np.ndarray:
        weights = weights[order]
        counts = np.add.reduceat(weights, starts).astype(np.float64)
        hit = np.add.reduceat(weights * rights, starts)
        # A draw may leave a class out.
        return np.nanmean(np.where(counts > 0, hit / np.maximum(counts, 1), np.nan), axis=0)

    return _drawn(mean, groups, seed=seed)


def mean_average_precision(
    scores: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, seed: int
) -> Share:
    """The mean over classes of the average precision of their scores (macro average).

    Args:
        scores: of each clip and class, ``[n, K]``.
        labels: which classes each clip has, bool ``[n, K]``; a class without clips does not count.
        groups: ``[n]``.
        seed: of the interval.
    """
    there = np.flatnonzero(labels.any(0))

    def mean(weights: np.ndarray) -> np.ndarray:
        total, count = np.zeros(weights.shape[1]), np.zeros(weights.shape[1])
        for one in there:
            found = average_precision(scores[:, one], labels[:, one], weights)
            total, count = total + np.nan_to_num(found), count + ~np.isnan(found)
        return total / count

    return _drawn(mean, groups, seed=seed)


def average_precision(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The sum over thresholds of the gain in recall times the precision, float64 ``[r]``.

    As scikit-learn's ``average_precision_score``: clips of equal scores are told apart by no
    threshold.

    Args:
        scores: ``[n]``, the higher the surer.
        positive: bool ``[n]``.
        weights: how often each draw has each clip, whole numbers, float32 ``[n, r]``; a draw
            without a positive gives NaN.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.diff(scores[order], append=np.nan) != 0)  # last of equal scores
    hits = np.flatnonzero(positive[order])
    if not len(hits):
        return np.full(weights.shape[1], np.nan)
    # Precision counts only where recall grows: at the ends of runs that hold a positive.
    own, first = np.unique(np.searchsorted(ends, hits), return_index=True)
    last = ends[own]
    starts = np.concatenate([[0], last[:-1] + 1])
    seen = np.add.reduceat(weights[order[: last[-1] + 1]], starts).cumsum(0, np.float64)
    gain = np.add.reduceat(weights[order[hits]], first).astype(np.float64)
    found = gain.cumsum(0)
    total = np.where(found[-1] > 0, found[-1], np.nan)
    return (gain * found / np.maximum(seen, 1)).sum(0) / total


def _drawn(mean: Callable[[np.ndarray], np.ndarray], groups: np.ndarray, *, seed: int) -> Share:
    """``mean`` of all clips, and the interval of it over draws of groups.

    A draw has some clips twice, which lifts an average precision. So the interval is that of the
    draws' differences from their median, about the value.

    Args:
        mean: of each draw, ``[n, r] -> [r]``; its argument is how often the draw has each clip.
        groups: ``[n]``.
        seed: of the draws.
    """
    names, index = np.unique(groups, return_inverse=True)
    G, means = len(names), []
    for drawn in resamples(G, CLASS_RESAMPLES, seed=seed, width=-(-len(groups) // G)):
        rows = np.arange(len(drawn))[:, None] * G
        times = np.bincount((rows + drawn).ravel(), minlength=len(drawn) * G).reshape(-1, G)
        means.append(mean(times.T[index].astype(np.float32)))
    value = float(mean(np.ones((len(groups), 1), np.float32))[0])
    every = np.concatenate(means)
    low, high = middle(every - np.median(every))
    return Share(value, max(0.0, value + low), min(1.0, value + high))


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


def precisions(scores: np.ndarray, labels: np.ndarray, classes: list[str]) -> list[dict[str, Any]]:
    """Clips and average precision of each class; None without clips. ``[n, K]`` as above."""
    once = np.ones((len(labels), 1), np.float32)
    rows = []
    for number, name in enumerate(classes):
        count = int(labels[:, number].sum())
        found = float(average_precision(scores[:, number], labels[:, number], once)[0])
        rows.append({"class": name, "n": count, "ap": found if count else None})
    return rows


def interval(scores: np.ndarray, groups: np.ndarray, *, seed: int) -> tuple[float, float]:
    """95% interval of the mean of ``scores``, by drawing whole groups again (bootstrap).

    Clips of one group stand or fall together: to draw single clips would claim too much. The
    probes are those that were trained: that other groups would have trained others is left out.

    Args:
        scores: float ``[n]``, such as 1 where a prediction is right.
        groups: ``[n]``.
        seed: of the draws.
    """
    names, index = np.unique(groups, return_inverse=True)
    sums, counts = np.bincount(index, scores), np.bincount(index)
    drawn = resamples(len(names), RESAMPLES, seed=seed)
    return middle(np.concatenate([sums[some].sum(1) / counts[some].sum(1) for some in drawn]))


def resamples(groups: int, count: int, *, seed: int, width: int = 1) -> Iterator[np.ndarray]:
    """``count`` draws of as many groups as there are, with repeats, int64 ``[r, G]`` a part.

    A part has so many that memory is bounded, where each needs ``width`` numbers a group.
    """
    at_once = max(1, _DRAWS_AT_ONCE // (groups * width))
    for keys in make_keys(seed, 0, range(count)).split(at_once):
        yield integers(keys, Purpose.BOOTSTRAP, groups, groups).numpy()


def middle(values: np.ndarray) -> tuple[float, float]:
    """The bounds of the middle 95% of ``values``."""
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
