"""Heads find what is there to be found, and nothing else."""

import numpy as np
import pytest
import torch

from ivn.errors import DataError
from ivn.evaluate.heads.fitted import from_state, votes
from ivn.evaluate.heads.heads import Attentive4Head, AttentiveHead, LinearHead
from ivn.evaluate.heads.search import (
    NAMES,
    Grid,
    LabelledFeatures,
    NetworkKind,
    inner_folds,
    kinds,
)
from ivn.evaluate.heads.training import Training
from tests.evaluate.planted import draw, in_a_pair, in_one_token, in_the_mean, task

VECTORS = ("linear", "knn")  # that read one
SOME = Grid((3e-3, 1e-3), (0.01,), judges=1)


def accuracy(kind, planted, *, train, shuffled=False):
    """On clips that were not trained on; the point of the grid is chosen as always."""
    features, labels = planted
    if shuffled:
        labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(9))]
    one = task(features, labels, torch.arange(len(labels)) // 2)
    learn, judge = torch.arange(train), torch.arange(train, len(labels))
    point = kind.points[kind.scores(one, learn).best()]
    found = kind.fitted(one, learn, point).probabilities(one.features, judge, [0])
    return float((found.argmax(1) == labels[judge]).double().mean())


@pytest.mark.parametrize("name", ["linear", "knn"])
def test_classes_that_are_far_apart_are_told(name):
    (kind,) = kinds([name], Training())
    assert accuracy(kind, in_the_mean(200, 8), train=120) == 1


@pytest.mark.parametrize("name", NAMES)
def test_shuffled_labels_are_at_chance(name):
    (kind,) = kinds([name], Training(1, 20), lr=[1e-3, 1e-4], wd=[0.1])
    features, labels = in_the_mean(440, 4)
    if name not in VECTORS:
        features = features[:, :, None, None]
    found = accuracy(kind, (features, labels), train=120, shuffled=True)
    # Four standard deviations of 320 guesses at a quarter.
    assert abs(found - 0.25) < 4 * (0.25 * 0.75 / 320) ** 0.5


def test_one_token_of_many_is_found_by_attention_and_lost_in_the_mean():
    tokens, labels = in_one_token(500)
    mean = tokens.mean((2, 3))
    (linear,) = kinds(["linear"], Training())
    attentive = NetworkKind("attentive", AttentiveHead, SOME, Training(20, 300))
    assert accuracy(attentive, (tokens, labels), train=300) > 0.95
    assert accuracy(linear, (mean, labels), train=300) < 0.8


def test_what_only_a_pair_of_tokens_tells_needs_self_attention():
    planted = in_a_pair(400)
    training = Training(20, 100)
    four = NetworkKind("attentive4", Attentive4Head, Grid((1e-3,), (0.01,), 1), training)
    (linear,) = kinds(["linear"], training, lr=[1e-3], wd=[0.1])
    assert accuracy(four, planted, train=240) > 0.95
    mean = planted[0].mean((2, 3))
    assert accuracy(linear, (mean, planted[1]), train=240) < 0.65
    # One query can look for one of the four pairs, and is wrong about another.
    one = NetworkKind("attentive", AttentiveHead, Grid((3e-3,), (0.01,), 1), training)
    assert accuracy(one, planted, train=240) < 0.85


def test_the_grid_is_judged_on_groups_it_was_not_trained_on(monkeypatch):
    from ivn.evaluate.heads import search as fit

    seen = []

    def train(head, features, samples, weights, **options):
        seen.append((samples.clips, weights))
        return {"bias": torch.zeros(len(weights), 2), "weight": torch.zeros(len(weights), 2, 3)}

    def probabilities(head, parameters, features, clips, views, **options):
        judged.append(clips)
        assert views == [1]
        return torch.full((len(parameters["bias"]), len(clips), 2), 0.5)

    judged = []
    monkeypatch.setattr(fit, "train", train)
    monkeypatch.setattr(fit, "probabilities", probabilities)
    groups = torch.arange(40) // 4
    one = task(draw(40, 2, 3), torch.arange(40) % 2, groups, views=[1, 0])
    clips = torch.arange(0, 32)
    (kind,) = kinds(["linear"], Training())
    scores = kind.scores(one, clips)
    ((samples, weights),) = seen
    assert len(judged) == 4 and torch.equal(torch.cat(judged).sort().values, clips)
    points = len(kind.points)
    assert weights.shape == (4 * points, 64) and scores.count == 32
    for number, held in enumerate(judged):
        rows = weights[number * points : (number + 1) * points]
        trained = samples[rows[0] > 0]
        assert not set(groups[held].tolist()) & set(groups[trained].tolist())
        assert set(trained.tolist()) | set(held.tolist()) == set(clips.tolist())
        assert (rows == rows[:1]).all()


def test_the_grids_are_vjepa2s_and_every_pair_is_a_point():
    points = AttentiveHead.grid.points()
    assert len(points) == 20 and {point["lr"] for point in points} == {5e-3, 3e-3, 1e-3, 3e-4, 1e-4}
    assert {point["wd"] for point in points} == {0.01, 0.1, 0.4, 0.8}
    assert max(LinearHead.grid.lr) == 0.1
    (kind,) = kinds(["linear", "linear"], Training(), lr=[0.5])
    assert {point["lr"] for point in kind.points} == {0.5}
    assert {point["wd"] for point in kind.points} == set(LinearHead.grid.wd)
    with pytest.raises(DataError, match="no head 'linaer', expected some of attentive, attentive4"):
        kinds(["linaer"], Training())


def test_one_training_group_cannot_choose():
    one = task(draw(4, 1, 3), torch.arange(4) % 2, torch.zeros(4))
    with pytest.raises(DataError, match="1 group"):
        inner_folds(one, torch.arange(4), seed=0)


def test_the_nearest_vote_by_their_cosine():
    cosines = torch.tensor([[0.9, 0.8, -torch.inf, 0.1], [-torch.inf, 0.2, 0.3, 0.25]])
    labels = torch.tensor([0, 1, 0, 1])
    one, three = votes(cosines, labels, (1, 3), 2)
    assert one.tolist() == [[1, 0], [1, 0]]
    weight = np.exp(np.array([0.9, 0.8, 0.1]) / 0.07)
    assert float(three[0, 0]) == pytest.approx(weight[0] / weight.sum(), rel=1e-5)
    weight = np.exp(np.array([0.3, 0.25, 0.2]) / 0.07)
    assert float(three[1, 0]) == pytest.approx(weight[0] / weight.sum(), rel=1e-5)


def test_the_own_group_has_no_vote_when_k_is_chosen():
    # Twins in every group: to copy one's twin would always be right.
    x = draw(40, 1, 16).repeat_interleave(2, 0)
    labels = torch.randint(0, 2, (40,), generator=torch.Generator().manual_seed(0))
    one = task(x, labels.repeat_interleave(2), torch.arange(80) // 2)
    (kind,) = kinds(["knn"], Training())
    scores = kind.scores(one, torch.arange(80))
    assert scores.right.max() < 60 and scores.count == 80


@pytest.mark.parametrize("name", NAMES)
def test_a_readout_is_its_state(name):
    (kind,) = kinds([name], Training(1, 3), lr=[1e-3], wd=[0.1])
    features = draw(12, 2, 5, 32)
    one = task(features, torch.arange(12) % 3, torch.arange(12))
    fitted = kind.fitted(one, torch.arange(9), kind.points[0])
    shape = (160,) if name in VECTORS else (5, 32)
    again = from_state(name, fitted.state(), shape, 3, kind.points[0])
    clips = torch.arange(12)
    found = [readout.probabilities(one.features, clips, [0, 1]) for readout in (fitted, again)]
    assert torch.equal(*found) and found[0].std() > 1e-3
    torch.testing.assert_close(found[0].sum(1), torch.ones(12))


def test_ties_go_to_the_least_loss():
    from ivn.evaluate.heads.search import Scores

    scores = Scores(np.array([3.0, 5, 5, 5]), np.array([1.0, 9, 7, 8]), 6)
    assert scores.best() == 2
    assert (scores + scores).count == 12


def test_task_views_are_all_trained_on():
    one = LabelledFeatures(None, torch.tensor([5, 6, 7]), np.arange(3), 8, (0, 2))
    samples = one.samples(torch.tensor([2, 0]))
    found = (samples.clips.tolist(), samples.views.tolist(), samples.labels.tolist())
    assert found == ([2, 2, 0, 0], [0, 2, 0, 2], [7, 7, 5, 5])
