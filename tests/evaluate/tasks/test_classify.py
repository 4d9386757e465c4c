"""The whole probe on videos of known content."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from ivn.errors import DataError
from ivn.evaluate.features.cache import HeldFeatures
from ivn.evaluate.features.views import grid, read_views
from ivn.evaluate.heads.training import Training
from ivn.evaluate.metrics import confusion, hits, per_class, share
from ivn.evaluate.results import check_new, write
from ivn.evaluate.tasks.classify.table import classify_table
from ivn.evaluate.tasks.classify.task import classify
from ivn.media.source import Source
from tests.evaluate.planted import Brightness, Pooled
from tests.media.videos import write_video

pytest.importorskip("av")
BRIEF = Training(2, 30)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """24 wide videos of six colours, darker to the left; the label is the colour."""
    folder = tmp_path_factory.mktemp("videos")
    sources = []
    for number in range(24):
        ramp = np.linspace(0, 30, 48)[None, None, :, None]
        colour = 120 * np.array([(number % 6 + 1) >> bit & 1 for bit in range(3)])
        pixels = colour + 3 * (number // 6) + ramp + np.zeros((12, 16, 48, 3))
        file = write_video(folder / f"{number}.mkv", pixels.astype(np.uint8))
        labels = {"colour": "abcdef"[number % 6], "half": "xy"[number % 2]}
        sources.append(Source(str(file), labels=labels))
    return sources


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def test_what_can_be_seen_is_told_in_every_fold(videos, cache):
    encoder, other = Brightness(), Brightness("dark", bias=-1.0)
    found = classify(
        [encoder],
        videos,
        label="colour",
        heads=["knn", "linear"],
        folds=4,
        baselines=[other],
        training=BRIEF,
        lr=[1e-2],
        cache=cache,
    )
    assert "top-5" in classify_table(found)
    plain = found.json()
    assert json.loads(json.dumps(plain)) == plain
    assert [(row["encoder"], row["head"]) for row in plain["rows"]] == [
        *[(name, head) for name in ("brightness", "dark") for head in ("knn", "linear")]
    ]
    for row in plain["rows"]:
        assert row["top1"]["value"] == 1 and row["top5"]["value"] == 1
    assert plain["confusion"] == (4 * np.eye(6, dtype=int)).tolist()
    assert [row["n"] for row in plain["per_class"]] == [4] * 6
    assert (plain["chance"], plain["n"], plain["groups"]) == (1 / 6, 24, 24)
    assert sorted(source.path for source in found.tested) == sorted(s.path for s in videos)
    assert plain["split"] == {
        **{"kind": "folds", "folds": 4, "share": None, "seed": 0, "groups": 24},
        **{"train": [18] * 4, "test": [6] * 4},
    }
    # The heads for use are fitted to all.
    assert [head.clips for head in found.heads] == [24] * 4


def test_the_labels_of_test_videos_choose_nothing(videos, cache):
    def told(labels):
        test = [
            replace(source, label=None, labels={"half": label})
            for source, label in zip(videos[16:], labels, strict=True)
        ]
        found = classify(
            [Brightness()],
            videos[:16],
            test=test,
            label="half",
            heads=["linear", "knn", "attentive"],
            training=BRIEF,
            cache=cache,
        )
        return found

    one, other = told("xyxyxyxy"), told("yyyxxyxx")
    for first, second in zip(one.heads, other.heads, strict=True):
        assert (first.point, first.validation) == (second.point, second.validation)
    assert one.best == other.best
    for first, second in zip(one.predicted, other.predicted, strict=True):
        assert np.array_equal(first, second)
    assert one.rows[0].scores["top1"] != other.rows[0].scores["top1"]
    assert one.heads[0].clips == 16


def test_probabilities_are_averaged_over_clips_and_crops(videos, cache):
    options = {"label": "half", "heads": ["linear"], "holdout": True, "training": BRIEF}
    found = classify([Brightness()], videos, clips=2, crops=3, cache=cache, **options)
    readout, views = found.heads[0].readout, grid(2, 3)
    for source, expected in zip(found.tested, found.predicted[0], strict=True):
        features = Brightness().features(read_views(source, views, [(2, 16)])[2, 16], "mean")
        single = [
            readout.probabilities(HeldFeatures(view[None, None]), torch.tensor([0]), [0])[0]
            for view in features
        ]
        mean = torch.stack(single).mean(0).numpy()
        assert np.allclose(mean, expected, atol=1e-6)
        assert torch.stack(single).std(0).max() > 1e-4
    # The training was on the central view, however many there are in the test.
    plain = classify([Brightness()], videos, cache=cache, **options)
    for name, value in plain.heads[0].readout.state().items():
        assert torch.equal(value, readout.state()[name])


def test_random_training_views_are_further_samples(videos, cache):
    options = {"label": "half", "heads": ["knn"], "holdout": True, "cache": cache}
    one = classify([Brightness()], videos, **options).heads[0].readout
    three = classify([Brightness()], videos, train_views=3, **options).heads[0].readout
    assert len(three.bank) == 3 * len(one.bank)
    assert len(torch.unique(three.bank, dim=0)) > len(torch.unique(one.bank, dim=0))


def test_attentive_heads_read_tokens_or_their_mean_over_frames(videos, cache):
    options = {"label": "half", "heads": ["attentive", "attentive4"], "training": Training(1, 3)}
    options |= {"holdout": True, "lr": [1e-3], "wd": [0.1], "cache": cache}
    every = classify([Brightness()], videos, **options)
    assert [head.shape for head in every.heads] == [(8, 3)] * 2
    few = classify([Brightness()], videos, tokens="frames", **options)
    assert [(head.pool, head.shape) for head in few.heads] == [("frames", (2, 3))] * 2
    few = classify([Brightness()], videos, pool="frames", **{**options, "heads": ["linear"]})
    assert few.heads[0].shape == (6,)


def test_videos_without_the_label_are_left_out(videos, cache):
    sources = [*videos, Source("elsewhere.mp4", labels={"other": "1"})]
    found = classify([Brightness()], sources, label="half", heads=["knn"], cache=cache)
    assert found.facts["n"] == 24 and not found.skipped


def test_classes_that_are_numbers_are_in_their_order(videos, cache):
    sources = [
        replace(source, labels={"n": str(8 + number % 4)}) for number, source in enumerate(videos)
    ]
    found = classify([Brightness()], sources, label="n", heads=["knn"], cache=cache)
    assert found.facts["classes"] == ["8", "9", "10", "11"]


@pytest.mark.parametrize("clips", [1, 2])
def test_a_side_of_which_no_video_can_be_used_is_told(clips, videos, cache, tmp_path):
    broken = []
    for number in range(4):
        (tmp_path / f"{number}.mkv").write_text(f"no video {number}")
        broken.append(Source(str(tmp_path / f"{number}.mkv"), labels={"half": "xy"[number % 2]}))
    options = {"label": "half", "heads": ["knn"], "clips": clips, "cache": cache}
    with pytest.raises(DataError, match=r"none of 4 test videos can be used: .*3\.mkv"):
        classify([Brightness()], videos, test=broken, **options)
    with pytest.raises(DataError, match=r"none of 4 training videos can be used: .*0\.mkv"):
        classify([Brightness()], broken, test=videos, **options)
    found = classify([Brightness()], videos[:16], test=[*broken, *videos[16:]], **options)
    assert (found.facts["split"]["kind"], found.facts["n"]) == ("test list", 8)
    assert len(found.skipped) == 4


def test_a_baseline_without_the_features_is_read_by_its_mean(videos, cache):
    encoder, floor = Pooled("pooled"), Brightness("dark", bias=-1.0)
    options = {"label": "half", "heads": ["knn", "attentive"], "training": BRIEF, "lr": [1e-3]}
    found = classify([encoder], videos, pool="attn", baselines=[floor], cache=cache, **options)
    assert [(row.encoder, row.json()["pool"]) for row in found.rows] == [
        ("pooled", "attn"),
        ("pooled", "none"),
        ("dark", "mean"),
        ("dark", "none"),
    ]
    assert found.heads[2].shape == (3,)
    table = classify_table(found)
    assert "dark (mean)" in table and "dark (none)" not in table and "pooled (" not in table
    with pytest.raises(DataError, match="dark has no features 'attn'"):
        classify([encoder, floor], videos, pool="attn", cache=cache, **options)


def test_results_are_never_overwritten(videos, cache, tmp_path):
    found = classify([Brightness()], videos, label="half", heads=["knn"], cache=cache)
    write(found, tmp_path / "out")
    with pytest.raises(DataError, match="holds a result already"):
        check_new(tmp_path / "out")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="is a file"):
        check_new(tmp_path / "file")


def test_top_k_confusion_and_classes_are_counted():
    probabilities = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.2, 0.2, 0.6], [0.4, 0.4, 0.2]])
    labels = np.array([2, 0, 2, 1])
    assert hits(probabilities, labels, 1).tolist() == [0, 1, 1, 0]
    assert hits(probabilities, labels, 2).tolist() == [1, 1, 1, 1]
    table = confusion(probabilities.argmax(1), labels, 3)
    assert table.tolist() == [[1, 0, 0], [1, 0, 0], [0, 1, 1]]
    rows = per_class(np.array([[1, 0], [0, 0]]), ["a", "b"])
    assert [row["top1"] for row in rows] == [1.0, None]
    one = share(np.array([1.0, 0, 1, 1]), np.arange(4), seed=0)
    assert one.low <= one.value == 0.75 <= one.high


def test_the_majority_is_that_of_the_training_videos(videos, cache):
    labels = ["x"] * 9 + ["y"] * 7 + ["y"] * 8
    sources = [
        replace(source, labels={"l": label}) for source, label in zip(videos, labels, strict=True)
    ]
    found = classify(
        [Brightness()], sources[:16], test=sources[16:], label="l", heads=["knn"], cache=cache
    )
    assert found.facts["majority"] == 0.0
    table = classify_table(found)
    assert "always the most frequent" not in table and "by chance: 50.0%" in table
    assert "top-5" not in table and "class mean" in table
    found = classify([Brightness()], sources, label="l", heads=["knn"], folds=4, cache=cache)
    assert "always the most frequent class: 62.5%, by chance: 50.0%" in classify_table(found)
