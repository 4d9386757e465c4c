"""Scores of predicted probabilities, for one class per clip or several labels.

Legend: n clips, K classes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .dataset import Data, Split, majority
from .metrics import (
    TOP,
    Share,
    class_mean,
    confusion,
    hits,
    mean_average_precision,
    per_class,
    precisions,
    share,
)
from .results import ResultRow


def row_scores(
    probabilities: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, seed: int
) -> dict[str, Share | None]:
    """Returns the scores of one head on tested clips, whose labels are ``[n]`` or ``[n, K]``."""
    if labels.ndim == 2:
        return {"map": mean_average_precision(probabilities, labels, groups, seed=seed)}
    right, top5 = hits(probabilities, labels, 1), None
    if probabilities.shape[1] > TOP:
        top5 = share(hits(probabilities, labels, TOP), groups, seed=seed)
    return {
        "top1": share(right, groups, seed=seed),
        "top5": top5,
        "class_mean": class_mean(right, labels, groups, seed=seed),
    }


def guesses(data: Data, splits: Sequence[Split], labels: np.ndarray) -> dict[str, float | None]:
    """Returns the scores of guessing.

    With several labels per video, chance is the average precision of equal scores: the share of
    videos with the label, averaged over the labels that any tested video has. Scores by the
    frequency of a label give the same.
    """
    if labels.ndim == 2:
        return {"chance": float(labels.mean(0)[labels.any(0)].mean()), "majority": None}
    return {"chance": 1 / len(data.classes), "majority": majority(data, splits)}


def by_class(
    probabilities: np.ndarray, labels: np.ndarray, classes: list[str], *, of: ResultRow
) -> dict[str, Any]:
    """Returns scores class by class, for the head of the row ``of``."""
    named = {"encoder": of.encoder, "head": of.head}
    if labels.ndim == 2:
        return {"per_class": precisions(probabilities, labels, classes), "per_class_of": named}
    table = confusion(probabilities.argmax(1), labels, len(classes))
    return {
        "confusion": table.tolist(),
        "confusion_of": named,
        "per_class": per_class(table, classes),
        "per_class_of": named,
    }
