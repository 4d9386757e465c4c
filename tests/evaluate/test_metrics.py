"""Means over classes are those of scikit-learn, and their intervals are over groups."""

import numpy as np
import pytest

from ivn.evaluate.metrics import (
    average_precision,
    class_mean,
    mean_average_precision,
    precisions,
)

metrics = pytest.importorskip("sklearn.metrics")


def drawn(n=60, K=5, seed=0):
    """Scores with many ties, and labels of which some classes are rare."""
    random = np.random.default_rng(seed)
    labels = random.random((n, K)) < np.linspace(0.05, 0.6, K)
    labels[0] = True
    return (random.random((n, K)) + 0.4 * labels).round(1), labels


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_scikit_learns_with_ties_and_repeats(seed):
    scores, labels = drawn(seed=seed)
    times = np.random.default_rng(seed).integers(0, 3, (len(scores), 4)).astype(np.float32)
    times[0] = 1
    for one in range(scores.shape[1]):
        found = average_precision(scores[:, one], labels[:, one], times)
        for draw, mine in enumerate(found):
            rows = np.repeat(np.arange(len(scores)), times[:, draw].astype(int))
            theirs = metrics.average_precision_score(labels[rows, one], scores[rows, one])
            assert mine == pytest.approx(theirs, abs=1e-9)
    nobody = average_precision(scores[:, 0], np.zeros(len(scores), bool), times)
    assert np.isnan(nobody).all()


def test_the_mean_is_over_the_classes_that_occur():
    scores, labels = drawn()
    labels[:, 3] = False
    there = [0, 1, 2, 4]
    macro = metrics.average_precision_score(labels[:, there], scores[:, there], average="macro")
    micro = metrics.average_precision_score(labels[:, there], scores[:, there], average="micro")
    found = mean_average_precision(scores, labels, np.arange(len(scores)), seed=0)
    assert found.value == pytest.approx(macro, abs=1e-9) and abs(macro - micro) > 0.01
    assert 0 <= found.low < found.value < found.high <= 1
    rows = precisions(scores, labels, list("abcde"))
    assert rows[3] == {"class": "d", "n": 0, "ap": None}
    assert np.mean([rows[one]["ap"] for one in there]) == pytest.approx(macro, abs=1e-9)
    assert [row["n"] for row in rows] == labels.sum(0).tolist()


def test_the_class_mean_weighs_classes_alike():
    random = np.random.default_rng(0)
    labels = random.permuted(np.repeat([0, 1, 3], [80, 15, 5]))
    told = np.where(random.random(100) < 0.6, labels, 0)
    right = (told == labels).astype(float)
    found = class_mean(right, labels, np.arange(100), seed=0)
    assert found.value == pytest.approx(metrics.balanced_accuracy_score(labels, told))
    assert found.value < right.mean() - 0.1
    assert found.low < found.value < found.high


def test_intervals_of_means_over_classes_are_over_groups():
    scores, labels = drawn(200, 3)
    right, classes = labels[:, 2].astype(float), np.arange(200) % 4
    for measure, given in (
        (mean_average_precision, (scores, labels)),
        (class_mean, (right, classes)),
    ):
        alone = measure(*given, np.arange(200), seed=0)
        # The same videos ten times over, in groups of ten, say no more than once.
        many = [np.repeat(one, 10, axis=0) for one in given]
        together = measure(*many, np.repeat(np.arange(200), 10), seed=0)
        assert together.value == pytest.approx(alone.value, abs=1e-6)
        width = alone.high - alone.low
        assert together.high - together.low == pytest.approx(width, rel=1e-3)
        single = measure(*many, np.arange(2000), seed=0)
        assert single.high - single.low < 0.5 * width


def test_what_is_always_right_has_no_width():
    labels = np.eye(4, dtype=bool)[np.arange(40) % 4]
    found = mean_average_precision(labels.astype(float), labels, np.arange(40), seed=0)
    assert (found.low, found.value, found.high) == (1, 1, 1)
    found = class_mean(np.ones(40), np.arange(40) % 4, np.arange(40), seed=0)
    assert (found.low, found.value, found.high) == (1, 1, 1)
