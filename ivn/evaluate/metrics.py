"""Accuracy and average precision with their intervals, confusion, and scores per class.

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
# For means over classes: a draw costs a pass over all clips of every class.
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
    """Returns the mean of ``scores [n]``, such as 1 where a prediction is right, as a share."""
    low, high = interval(scores.astype(np.float64), groups, seed=seed)
    return Share(float(scores.mean()), low, high)


def class_mean(right: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, seed: int) -> Share:
    """Returns the mean over classes of their accuracies.

    Args:
        right: 1 where a prediction is right, float64 ``[n]``.
        labels: index of each clip's class, ``[n]``; a class without clips does not count.
        groups: group of each clip, ``[n]``.
        seed: seed of the interval.
    """
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    rights = right[order].astype(np.float32)[:, None]

    def mean(weights: np.ndarray) -> np.ndarray:
        weights = weights[order]
        counts = np.add.reduceat(weights, starts).astype(np.float64)
        hit = np.add.reduceat(weights * rights, starts)
        # A draw may have no clip of a class.
        return np.nanmean(np.where(counts > 0, hit / np.maximum(counts, 1), np.nan), axis=0)

    return _drawn(mean, groups, seed=seed)


def mean_average_precision(
    scores: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, seed: int
) -> Share:
    """Returns the mean over classes of the average precision of their scores (macro average).

    Args:
        scores: score of each class for each clip, ``[n, K]``.
        labels: membership of each clip in each class, bool ``[n, K]``; a class without clips does
            not count.
        groups: group of each clip, ``[n]``.
        seed: seed of the interval.
    """
    present = np.flatnonzero(labels.any(0))

    def mean(weights: np.ndarray) -> np.ndarray:
        total, count = np.zeros(weights.shape[1]), np.zeros(weights.shape[1])
        for k in present:
            precision = average_precision(scores[:, k], labels[:, k], weights)
            total, count = total + np.nan_to_num(precision), count + ~np.isnan(precision)
        return total / count

    return _drawn(mean, groups, seed=seed)


def average_precision(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns the sum over thresholds of the gain in recall times the precision, float64 ``[r]``.

    It is scikit-learn's ``average_precision_score``: no threshold separates clips of equal scores.

    Args:
        scores: score of each clip, ``[n]``.
        positive: positive clips, bool ``[n]``.
        weights: number of times that each draw has each clip, float32 ``[n, r]``; a draw without a
            positive clip gives NaN.
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
    retrieved = np.add.reduceat(weights[order[: last[-1] + 1]], starts).cumsum(0, np.float64)
    gain = np.add.reduceat(weights[order[hits]], first).astype(np.float64)
    correct = gain.cumsum(0)
    total = np.where(correct[-1] > 0, correct[-1], np.nan)
    return (gain * correct / np.maximum(retrieved, 1)).sum(0) / total


def _drawn(mean: Callable[[np.ndarray], np.ndarray], groups: np.ndarray, *, seed: int) -> Share:
    """Returns ``mean`` of all clips, and its interval over draws of groups.

    A draw has some clips twice, which raises an average precision. So the interval is that of the
    draws' differences from their median, about the value.

    Args:
        mean: function from the number of times that each draw has each clip, ``[n, r]``, to the
            draws' means, ``[r]``.
        groups: group of each clip, ``[n]``.
        seed: seed of the draws.
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
    """Returns 1 where the class is among the ``count`` most probable, float64 ``[n]``.

    Equally probable classes are ranked in their order.
    """
    top = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
    return (top == labels[:, None]).any(1).astype(np.float64)


def confusion(predicted: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Returns the number of clips per true class (row) and predicted one (column), ``[K, K]``."""
    table = np.zeros((classes, classes), np.int64)
    np.add.at(table, (labels, predicted), 1)
    return table


def per_class(table: np.ndarray, classes: list[str]) -> list[dict[str, Any]]:
    """Returns each class's clips and accuracy from a confusion table; None without clips."""
    rows = []
    for number, name in enumerate(classes):
        count = int(table[number].sum())
        right = float(table[number, number] / count) if count else None
        rows.append({"class": name, "n": count, "top1": right})
    return rows


def precisions(scores: np.ndarray, labels: np.ndarray, classes: list[str]) -> list[dict[str, Any]]:
    """Returns each class's clips and average precision; None without clips.

    Args:
        scores, labels: scores and labels, as for :func:`mean_average_precision`.
        classes: names of the classes.
    """
    once = np.ones((len(labels), 1), np.float32)
    rows = []
    for number, name in enumerate(classes):
        count = int(labels[:, number].sum())
        precision = float(average_precision(scores[:, number], labels[:, number], once)[0])
        rows.append({"class": name, "n": count, "ap": precision if count else None})
    return rows


def interval(scores: np.ndarray, groups: np.ndarray, *, seed: int) -> tuple[float, float]:
    """Returns the 95% interval of the mean of ``scores``, by resampling whole groups (bootstrap).

    Clips of one group are alike: the interval of single clips would be too narrow. Heads are not
    fitted again, so the interval does not cover the choice of training groups.

    Args:
        scores: score of each clip, such as 1 where a prediction is right, float ``[n]``.
        groups: group of each clip, ``[n]``.
        seed: seed of the draws.
    """
    names, index = np.unique(groups, return_inverse=True)
    sums, counts = np.bincount(index, scores), np.bincount(index)
    drawn = resamples(len(names), RESAMPLES, seed=seed)
    return middle(np.concatenate([sums[part].sum(1) / counts[part].sum(1) for part in drawn]))


def resamples(groups: int, count: int, *, seed: int, width: int = 1) -> Iterator[np.ndarray]:
    """Yields ``count`` draws of ``groups`` groups with replacement, in parts, int64 ``[r, G]``.

    The size of a part bounds memory, where a draw needs ``width`` numbers per group.
    """
    at_once = max(1, _DRAWS_AT_ONCE // (groups * width))
    for keys in make_keys(seed, 0, range(count)).split(at_once):
        yield integers(keys, Purpose.BOOTSTRAP, groups, groups).numpy()


def middle(values: np.ndarray) -> tuple[float, float]:
    """Returns the bounds of the middle 95% of ``values``."""
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
