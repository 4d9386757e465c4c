"""A linear readout, judged on groups that it was not trained on.

Legend: n clips, d features.
"""

from typing import Any

import numpy as np

FOLDS = 5
INNER_FOLDS = 4
# Inverse strengths of the L2 penalty, the same for all features.
STRENGTHS = tuple(10.0**power for power in range(-5, 1))


def check_installed() -> None:
    """Checks that scikit-learn can be imported.

    Raises:
        ImportError: it cannot; the message says how to install it.
    """
    try:
        import sklearn  # noqa: F401
        import threadpoolctl  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f'the linear probe needs scikit-learn ({error}): pip install "ivn[demo]"'
        ) from None


def predict_held_out(features: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Returns the label that a linear classifier of other groups gives each clip, ``[n]``.

    Multinomial logistic regression with an L2 penalty, on features standardised by the training
    groups, in five grouped folds; the penalty is chosen inside each by four more grouped folds.

    Args:
        features: features of each clip, float ``[n, d]``.
        labels: label of each clip, ``[n]``.
        groups: group of each clip, ``[n]``; no split parts a group.

    Raises:
        ImportError: scikit-learn is not installed.
        ValueError: there are too few groups.
    """
    check_installed()
    from sklearn.model_selection import GroupKFold
    from threadpoolctl import threadpool_limits

    if (count := len(np.unique(groups))) < FOLDS:
        raise ValueError(f"{count} groups, expected at least {FOLDS}, one for each fold")
    predicted = np.empty_like(labels)
    # Many fits of small matrices: with several threads most of the time is spent waiting.
    with threadpool_limits(1):
        for train, test in GroupKFold(FOLDS).split(features, labels, groups):
            inner = GroupKFold(INNER_FOLDS).split(train, labels[train], groups[train])
            readout = _readout(list(inner)).fit(features[train].astype(np.float64), labels[train])
            predicted[test] = readout.predict(features[test].astype(np.float64))
    return predicted


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
