"""A linear readout that never sees the scenes it is judged on, and how sure its result is.

Legend: n clips, d features, G groups.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from ivn.keys import Purpose, make_keys
from ivn.ops.random import integers

FOLDS = 5
INNER_FOLDS = 4
# Inverse strengths of the L2 penalty, the same for whatever is probed.
STRENGTHS = tuple(10.0**power for power in range(-5, 1))
RESAMPLES = 10_000
CONFIDENCE = 0.95
_DRAWS_AT_ONCE = 2**24


def check_installed() -> None:
    """Raise ImportError, with what to do, unless scikit-learn can be imported."""
    try:
        import sklearn  # noqa: F401
        import threadpoolctl  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f'the linear probe needs scikit-learn ({error}): pip install "ivn[demo]"'
        ) from None


def predict_held_out(features: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The label that a linear classifier gives each clip, trained on other groups only, ``[n]``.

    Multinomial logistic regression with an L2 penalty, on features standardised by the training
    groups, in five grouped folds; the penalty is chosen inside each by four more grouped folds.

    Args:
        features: float ``[n, d]``.
        labels: ``[n]``.
        groups: ``[n]``; clips of one group are always on one side of a split.

    Raises:
        ImportError: scikit-learn is not installed.
        ValueError: there are too few groups.
    """
    check_installed()
    from sklearn.model_selection import GroupKFold
    from threadpoolctl import threadpool_limits

    if (found := len(np.unique(groups))) < FOLDS:
        raise ValueError(f"{found} groups, expected at least {FOLDS}: one is held out a time")
    predicted = np.empty_like(labels)
    # Many fits of small matrices: on several threads most of the time went into waiting.
    with threadpool_limits(1):
        for train, test in GroupKFold(FOLDS).split(features, labels, groups):
            inner = GroupKFold(INNER_FOLDS).split(train, labels[train], groups[train])
            readout = _readout(list(inner)).fit(features[train].astype(np.float64), labels[train])
            predicted[test] = readout.predict(features[test].astype(np.float64))
    return predicted


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


def _readout(inner: list[tuple[np.ndarray, np.ndarray]]) -> Any:
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # All components are kept: a rotation, which changes neither the penalty nor a prediction, but
    # makes thousands of features no more than there are clips.
    classifier = GridSearchCV(LogisticRegression(max_iter=1000), {"C": STRENGTHS}, cv=inner)
    return make_pipeline(StandardScaler(), PCA(svd_solver="full"), classifier)
