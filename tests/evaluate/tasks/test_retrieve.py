"""Ranks of retrieval, against a count by hand."""

import numpy as np
import pytest
import torch

from ivn.errors import DataError
from ivn.evaluate.tasks.retrieve import task as module
from ivn.evaluate.tasks.retrieve.table import retrieve_table
from ivn.evaluate.tasks.retrieve.task import _answers, _chance, _ranked, retrieve
from ivn.media.source import Source
from tests.evaluate.planted import Brightness, Pooled, draw
from tests.media.videos import write_video


def by_hand(vectors, labels, groups, query):
    order = np.argsort(-(vectors @ vectors[query]), kind="stable")
    order = [one for one in order if groups[one] != groups[query]]
    right = [labels[one] == labels[query] for one in order]
    precisions = [sum(right[: k + 1]) / (k + 1) for k, hit in enumerate(right) if hit]
    recalls = [float(any(right[:k])) for k in (1, 5, 10)]
    return [*recalls, sum(precisions) / len(precisions)]


def test_recall_and_precision_are_those_counted_by_hand():
    vectors = torch.nn.functional.normalize(draw(40, 6), dim=1)
    labels, groups = torch.arange(40) % 7, torch.arange(40) // 3
    asked = torch.tensor([0, 5, 17, 39])
    found = _ranked(vectors, labels, groups, asked)
    for place, query in enumerate(asked.tolist()):
        expected = by_hand(vectors.numpy(), labels.numpy(), groups.numpy(), query)
        mine = [found[name][place] for name in ("recall1", "recall5", "recall10", "map")]
        assert mine == pytest.approx(expected)


def test_chance_is_that_of_a_random_order():
    random = np.random.default_rng(0)
    drawn = [(random.permutation(12)[:5] < 2).any() for _ in range(20_000)]
    assert _chance([(12, 2)], 5) == pytest.approx(np.mean(drawn), abs=0.015)
    assert _chance([(12, 2), (8, 4)], 1) == pytest.approx((2 / 12 + 4 / 8) / 2)
    assert _chance([(3, 1)], 10) == 1


@pytest.fixture
def videos(tmp_path):
    """Twelve videos of three colours, two of a group."""
    sources = []
    for number in range(12):
        pixels = 3 * (number // 3) + 200 * np.eye(3, dtype=np.uint8)[number % 3]
        file = write_video(tmp_path / f"{number}.mkv", pixels + np.zeros((8, 16, 24, 3), np.uint8))
        sources.append(Source(str(file), label="abc"[number % 3], group=f"g{number // 2}"))
    return sources


def test_videos_of_a_class_find_each_other(videos, tmp_path):
    found = retrieve([Brightness()], videos, crops=3, cache=tmp_path / "c")
    (row,) = found.rows
    assert row.scores["recall1"].value == row.scores["map"].value == 1
    assert row.json()["top1"] == row.json()["recall1"]
    assert found.facts["gallery"] == found.facts["n"] == 12 and found.facts["unasked"] == 0


def test_a_baseline_without_the_features_is_read_by_its_mean(videos, tmp_path):
    options = {"pool": "attn", "cache": tmp_path / "c"}
    found = retrieve([Pooled("pooled")], videos, baselines=[Brightness()], **options)
    assert [row.json()["pool"] for row in found.rows] == ["attn", "mean"]
    assert "brightness (mean)" in retrieve_table(found)


def test_answers_are_counted_without_a_table_of_all_pairs():
    labels, groups = torch.arange(60) % 7, torch.arange(60) // 3 % 11
    others = groups[:, None] != groups
    answers, same = _answers(labels, groups)
    assert torch.equal(answers, others.sum(1))
    assert torch.equal(same, ((labels[:, None] == labels) & others).sum(1))
    # All pairs would be 250 GB.
    n = 500_000
    answers, same = _answers(torch.arange(n) % 400, torch.arange(n) // 2)
    assert answers.unique().tolist() == [n - 2] and same.unique().tolist() == [n // 400 - 1]


def test_few_queries_at_once_change_nothing(monkeypatch):
    vectors = torch.nn.functional.normalize(draw(40, 6), dim=1)
    labels, groups = torch.arange(40) % 7, torch.arange(40) // 3
    whole = _ranked(vectors, labels, groups, torch.arange(40))
    monkeypatch.setattr(module, "_COSINES_AT_ONCE", 3 * 40 + 1)
    for name, value in _ranked(vectors, labels, groups, torch.arange(40)).items():
        assert np.allclose(value, whole[name])


def test_who_has_no_other_of_its_class_does_not_ask(videos, tmp_path):
    lonely = [Source(source.path, label="z") for source in videos[:1]]
    found = retrieve([Brightness()], [*videos[3:], *lonely], cache=tmp_path / "c")
    assert (found.facts["n"], found.facts["gallery"], found.facts["unasked"]) == (9, 10, 1)
    alone = [Source(source.path, label=str(k)) for k, source in enumerate(videos)]
    with pytest.raises(DataError, match="there is nothing to retrieve"):
        retrieve([Brightness()], alone, cache=tmp_path / "c")
