"""Videos of several labels: each label is told by itself, from the list to the prediction."""

import json

import numpy as np
import pytest
import torch

from ivn.ablation.run import _labels
from ivn.errors import DataError
from ivn.evaluate.dataset import check, labelled
from ivn.evaluate.heads import file as headfile
from ivn.evaluate.heads import search as fit
from ivn.evaluate.heads.search import NAMES, kinds
from ivn.evaluate.heads.training import Training
from ivn.evaluate.objective import ONE_CLASS, SEVERAL_LABELS
from ivn.evaluate.splits import folds_of
from ivn.evaluate.tasks.classify.task import classify
from ivn.evaluate.tasks.retrieve.task import retrieve
from ivn.media.source import Source
from ivn.report.page.probes import probe
from tests.command import command
from tests.evaluate.commanded import RAW, result, write_list
from tests.evaluate.commanded import labelled as rows_of
from tests.evaluate.planted import Brightness, draw, task
from tests.media.videos import write_video

pytest.importorskip("av")
PARTS = ("red", "green", "blue")
BRIEF = Training(2, 60)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """28 videos that are red, green and blue in every mixture of these, which are their labels."""
    folder = tmp_path_factory.mktemp("videos")
    sources = []
    for number in range(28):
        bits = [(number % 7 + 1) >> bit & 1 for bit in range(3)]
        pixels = 150 * np.array(bits) + number + np.zeros((6, 16, 24, 3))
        file = write_video(folder / f"{number}.mkv", pixels.astype(np.uint8))
        label = ";".join(part for part, bit in zip(PARTS, bits, strict=True) if bit)
        sources.append(Source(str(file), label=label, group=f"film {number}"))
    return sources


@pytest.fixture(scope="module")
def found(videos, tmp_path_factory):
    """Every kind of head on them; a third of the videos is judged."""
    return classify(
        [Brightness()],
        videos,
        heads=NAMES,
        folds=3,
        holdout=True,
        training=BRIEF,
        lr=[1e-2],
        wd=[0.0],
        cache=tmp_path_factory.mktemp("cache"),
    )


def test_every_kind_of_head_tells_each_label_by_itself(found):
    plain = found.json()
    assert plain["classes"] == sorted(PARTS) and plain["multi_label"]
    assert plain["several"] == 16 and "confusion" not in plain and plain["majority"] is None
    assert any("16 of 28 videos have several labels" in note for note in plain["notes"])
    for row, told in zip(found.rows, found.predicted, strict=True):
        assert set(row.scores) == {"map"}
        assert row.scores["map"].value > (0.8 if row.head in ("linear", "knn") else 0.6), row.head
        # Probabilities of each are its own, and do not share a sum of one.
        assert told.min() >= 0 and told.max() <= 1 and abs(told.sum(1) - 1).max() > 0.3
    labels = np.array([[part in s.label for part in plain["classes"]] for s in found.tested])
    assert [one["n"] for one in plain["per_class"]] == labels.sum(0).tolist()
    best = found.rows[found.best]
    assert np.mean([one["ap"] for one in plain["per_class"]]) == pytest.approx(
        best.scores["map"].value
    )
    assert plain["chance"] == pytest.approx(labels.mean())


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_head_knows_it(name, found, tmp_path):
    place = [head.head for head in found.heads].index(name)
    path = headfile.save(found.heads[place], tmp_path, facts=found.facts)
    head, frozen = headfile.load(path), Brightness()
    told = found.predicted[place][0]
    from ivn.evaluate.predict import predict

    classes = predict(found.tested[0], head, frozen).classes
    assert classes == pytest.approx(dict(zip(found.facts["classes"], told, strict=True)), abs=1e-5)
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["format"] == 2 and card["multi_label"] is True
    # A card from before there were several labels is of one class a video.
    del card["multi_label"]
    path.with_suffix(".json").write_text(json.dumps(card | {"format": 1}))
    if name == "knn":
        with pytest.raises(DataError, match="not a head as it was written"):
            headfile.load(path)
    else:
        first = headfile.load(path).readout
        assert first.objective is ONE_CLASS and head.readout.objective is SEVERAL_LABELS


def test_one_label_each_is_one_class(videos, tmp_path):
    plain = [
        Source(one.path, label=f"{'ab'[k % 2]};", group=one.group) for k, one in enumerate(videos)
    ]
    data = labelled(plain, (), label="label")
    assert data.classes == ["a", "b"] and data.labels.ndim == 1 and data.objective is ONE_CLASS
    repeated = [Source(one.path, label="a; a" if k % 2 else "b") for k, one in enumerate(videos)]
    assert labelled(repeated, (), label="label").objective is ONE_CLASS
    # Several in the test list alone are several.
    both = [Source(one.path, label="a;b", group=one.group) for one in videos[20:]]
    data = labelled(plain[:20], both, label="label")
    assert data.labels.shape == (28, 2) and data.labels[20:].all()
    with pytest.raises(DataError, match=r"under several classes .* is 'a;b', and .* is 'a'"):
        labelled([*both, plain[20]], (), label="label")


def test_shuffled_labels_are_at_chance():
    features = draw(300, 1, 16)
    labels = torch.rand(300, 4, generator=torch.Generator().manual_seed(1)) < 0.4
    labels[:, 0] = True  # at least one each
    one = fit.LabelledFeatures(
        task(features, torch.zeros(300, dtype=torch.long), torch.arange(300)).features,
        labels,
        np.arange(300),
        4,
        (0,),
        SEVERAL_LABELS,
    )
    for kind in kinds(["linear", "knn"], Training(1, 20), lr=[1e-2], wd=[0.1]):
        scores = kind.scores(one, torch.arange(300))
        chance = labels.double().mean(0).mean().item()
        assert scores.right.max() / scores.count == pytest.approx(chance, abs=0.06)


def test_precision_ranks_all_clips_together():
    probabilities, labels = torch.rand(2, 50, 3), torch.rand(50, 3) < 0.5
    whole = SEVERAL_LABELS.judged([(probabilities, labels)])
    parts = [(probabilities[:, some], labels[some]) for some in torch.arange(50).split(7)]
    split = SEVERAL_LABELS.judged(parts)
    assert np.array_equal(whole.right, split.right) and np.allclose(whole.loss, split.loss)
    first = -torch.where(labels, probabilities[0], 1 - probabilities[0]).log().sum()
    assert whole.loss[0] == pytest.approx(float(first), rel=1e-5)


def test_a_label_of_two_groups_is_in_two_folds():
    labels = np.zeros((12, 3), bool)
    labels[:, 0], labels[::2, 1], labels[[0, 2], 2] = True, True, True
    for seed in range(20):
        fold = folds_of(np.arange(12), labels, 4, seed=seed)
        assert len(set(fold[[0, 2]])) == 2


def test_whoever_shares_a_label_is_found(videos, tmp_path):
    found = retrieve([Brightness()], videos, cache=tmp_path / "c")
    labels = [set(source.label.split(";")) for source in videos]
    right = [sum(bool(own & other) for other in labels) - 1 for own in labels]
    assert found.facts["multi_label"] and found.facts["n"] == 28
    (note,) = found.facts["notes"]
    assert note.startswith("16 of 28 videos") and "shares any with the query is right" in note
    assert found.facts["chance"] == pytest.approx(np.mean(right) / 27)
    assert found.rows[0].scores["recall1"].value == 1


def test_the_command_the_page_and_the_ablation_say_so(patterns, own_cache, tmp_path):
    names = ("walk;sit", "walk;talk", "sit", "walk; talk ;sit")
    data = write_list(tmp_path / "l.csv", rows_of(patterns, lambda number: names[number % 4]))
    out = tmp_path / "out"
    more = ("--heads", "meanquery", "--tokens", "frames", "--lr", "1e-3", "--holdout", "--out", out)
    said = command("evaluate", "classify", *RAW, "--data", data, *more)
    plain = result(said)
    assert plain["classes"] == ["sit", "talk", "walk"]
    assert not (out / "confusion.csv").exists() and "mAP" in said[1] and "top-1" not in said[1]
    told = command("predict", patterns / "0.mkv", "--head", out, "--json")
    assert set(json.loads(told[1])[0]["classes"]) == {"sit", "talk", "walk"}
    page = str(probe("run", "classify", plain))
    assert "mAP" in page and "AP of each class" in page and "have several labels" in page
    assert "top-1" not in page and "Confusion" not in page
    sources = [
        Source(str(path), label=label)
        for path, label, _ in rows_of(patterns, lambda k: names[k % 4])
    ]
    accounts, _ = _labels(sources, ())
    assert accounts["label"] == check(sources, label="label") and accounts["label"].several == 15
