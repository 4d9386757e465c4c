import sys

import numpy as np
import pytest

from ivn.evaluate.linear import predict_held_out
from ivn.evaluate.metrics import interval

pytest.importorskip("sklearn")


def planted(strength: float, *, scenes: int = 20, width: int = 40):
    """Ten clips of each scene, one a class: a scene's own features, its class's, and noise."""
    draw = np.random.default_rng(0)
    scene, label = np.repeat(np.arange(scenes), 10), np.tile(np.arange(10), scenes)
    features = 3 * draw.normal(size=(scenes, width))[scene] + draw.normal(size=(len(scene), width))
    features += strength * draw.normal(size=(10, width))[label]
    return features.astype(np.float32), label, scene


def test_what_is_planted_is_found_and_shuffled_labels_are_at_chance():
    features, labels, scenes = planted(2.0)
    right = predict_held_out(features, labels, scenes) == labels
    assert right.mean() > 0.8
    # Within scenes: an uneven split would by itself put the result below chance.
    shuffled = np.random.default_rng(0).permuted(labels.reshape(-1, 10), axis=1).flatten()
    right = np.float64(predict_held_out(features, shuffled, scenes) == shuffled)
    low, high = interval(right, scenes, seed=0)
    assert low < 0.1 < high < 0.2


def test_knowing_the_scene_does_not_help():
    # Each scene has one label: a split that parted a scene would get all of them right.
    scenes = np.repeat(np.arange(30), 10)
    labels = scenes % 10
    features = 10 * np.random.default_rng(0).normal(size=(30, 60))[scenes]
    assert (predict_held_out(features, labels, scenes) == labels).mean() < 0.3


def test_scenes_are_never_on_both_sides_of_a_split(monkeypatch):
    from sklearn import model_selection

    splits = []

    class Watched(model_selection.GroupKFold):
        def split(self, x, y=None, groups=None):
            for train, test in super().split(x, y, groups):
                splits.append((set(groups[train]), set(groups[test])))
                yield train, test

    monkeypatch.setattr(model_selection, "GroupKFold", Watched)
    predict_held_out(*planted(1.0))
    assert len(splits) == 5 + 5 * 4
    assert all(not train & test for train, test in splits)
    outer = [test for train, test in splits if len(train | test) == 20]
    assert sorted(scene for test in outer for scene in test) == list(range(20))


def test_the_rotation_changes_no_prediction(monkeypatch):
    from sklearn import decomposition
    from sklearn.preprocessing import FunctionTransformer

    data = planted(0.5, scenes=8, width=300)
    rotated = predict_held_out(*data)
    monkeypatch.setattr(decomposition, "PCA", lambda **_: FunctionTransformer())
    plain = predict_held_out(*data)
    assert (rotated == plain).mean() > 0.97 and len(np.unique(plain)) > 3


def test_the_interval_is_of_whole_scenes():
    draw = np.random.default_rng(0)
    scenes = np.repeat(np.arange(40), 10)
    alone = np.float64(draw.random(400) < 0.4)
    together = np.repeat(np.float64(draw.random(40) < 0.4), 10)
    for scores, units in ((alone, 400), (together, 40)):
        low, high = interval(scores, scenes, seed=0)
        mean = scores.mean()
        assert low < mean < high
        normal = 2 * 1.96 * (mean * (1 - mean) / units) ** 0.5
        assert high - low == pytest.approx(normal, rel=0.25)


def test_the_interval_is_the_same_every_time_and_nothing_where_nothing_varies():
    scenes = np.repeat(np.arange(9), 10)
    scores = np.tile(np.eye(10)[3], 9)
    assert interval(scores, scenes, seed=0) == (0.1, 0.1)
    mixed = np.random.default_rng(0).random(90)
    assert interval(mixed, scenes, seed=5) == interval(mixed, scenes, seed=5)
    assert interval(mixed, scenes, seed=5) != interval(mixed, scenes, seed=6)


def test_too_few_scenes_are_refused():
    with pytest.raises(ValueError, match="4 groups, expected at least 5"):
        predict_held_out(*planted(1.0, scenes=4))


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r'pip install "ivn\[demo\]"'):
        predict_held_out(*planted(1.0))
