"""The whole probe, on features whose answer is known."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ivn.evaluate.metrics import interval
from ivn.evaluate.motion.features import FIRST_FRAME, TEACHER, collect
from ivn.evaluate.motion.frame_features import clip_features, frame_features
from ivn.evaluate.motion.scenes import procedural_pictures, real_pictures
from ivn.evaluate.motion.summary import probe, summary, table

pytest.importorskip("sklearn")


def flow(clips):
    """How the camera moved since the frame before, ``[B, T, 3]``: right, down, zoom.

    Least squares of brightness change against brightness slopes (Lucas and Kanade 1981).
    """
    grey = torch.nn.functional.avg_pool2d(clips.double().mean(4), 4)
    side = torch.linspace(-1, 1, grey.shape[-1], dtype=torch.float64)
    between = (grey[:, 1:] + grey[:, :-1]) / 2
    down, right = torch.gradient(between, dim=(2, 3))
    slopes = torch.stack([right, down, right * side + down * side[:, None]], -1).flatten(2, 3)
    change = (grey[:, 1:] - grey[:, :-1]).flatten(2)[..., None]
    found = torch.linalg.lstsq(slopes, change).solution[..., 0]
    return torch.nn.functional.pad(found, (0, 0, 1, 0))


def middle(clips):
    """The colours of the middle frame, for every frame, ``[B, T, 3]``."""
    one = clips[:, clips.shape[1] // 2].double().mean((1, 2))
    return one[:, None].expand(-1, clips.shape[1], -1)


class Colours:
    """A teacher that sees the mean colour of a frame."""

    image_size = 128

    def __call__(self, video, *, layers, attention):
        assert not layers and not attention and video.shape[2:] == (128, 128, 3)
        return SimpleNamespace(pooled=video.double().mean((2, 3)))


@pytest.fixture(scope="module")
def samples():
    pictures = [*real_pictures(1, seed=0), *procedural_pictures(7, seed=0)]
    encoders = {"flow": flow, "middle": middle}
    return collect(pictures, encoders, Colours(), frames=8, size=112)


@pytest.fixture(scope="module")
def outcome(samples):
    return probe(samples, seed=0)


def test_motion_that_is_in_the_features_is_found(outcome):
    share = outcome.accuracy("flow")
    assert 0.9 < share.low <= share.value <= share.high <= 1


def test_the_middle_frame_by_itself_is_exactly_at_chance(outcome):
    share = outcome.accuracy("middle")
    assert (share.value, share.low, share.high) == pytest.approx((0.1, 0.1, 0.1))


def test_shuffled_labels_are_at_chance(samples):
    # Within scenes: an uneven split would by itself put the result below chance.
    labels = np.random.default_rng(0).permuted(samples.labels.reshape(-1, 10), axis=1).flatten()
    alone = replace(samples, labels=labels, features={"flow": samples.features["flow"]})
    share = probe(alone, seed=0).accuracy("flow")
    assert share.low < 0.1 < share.high < 0.2


def test_each_scene_has_as_many_clips_of_every_motion(samples):
    for scene in np.unique(samples.scenes):
        counts = np.bincount(samples.labels[samples.scenes == scene], minlength=10)
        assert counts.min() == counts.max() == 1
    assert len(np.unique(samples.scenes)) == 20


def test_features_stay_in_time_order(samples):
    assert samples.features["flow"].shape == (200, 8 * 3)
    assert samples.features[TEACHER].shape == (200, 8 * 3)
    first = samples.features[FIRST_FRAME]
    assert np.array_equal(first, samples.features[TEACHER][:, :3])
    right, left = (samples.features[TEACHER][row].reshape(8, 3) for row in (0, 1))
    assert np.array_equal(right[1:], left[:0:-1])


def test_the_summary_is_json_with_all_that_was_promised(outcome):
    found = summary(outcome, compare=("flow", "middle"))
    assert json.loads(json.dumps(found)) == found
    assert (found["n"], found["groups"], found["chance"]) == (200, 20, 0.1)
    assert found["kinds"]["real"] == {"share": 0.65, "clips": 130, "pictures": 13, "scenes": 13}
    assert found["kinds"]["procedural"]["share"] == 0.35
    assert set(found["accuracy"]) == {"flow", "middle", TEACHER, FIRST_FRAME}
    row = found["accuracy"]["flow"]
    assert row["value"] == pytest.approx(0.65 * row["real"] + 0.35 * row["procedural"])
    assert row["low"] <= row["value"] <= row["high"]
    gain = found["difference"]
    assert gain["of"] == ["flow", "middle"]
    assert gain["value"] == pytest.approx(row["value"] - 0.1)


def test_the_table_says_chance_numbers_shares_and_intervals(outcome):
    found = summary(outcome, compare=("flow", "middle"))
    text = table(found, {"flow": "optical flow", "middle": "one frame"})
    assert "10 motions, chance 10.0%" in text
    assert "200 clips in 20 groups: 130 (65%) of 13 real pictures in 13 scenes" in text
    (row,) = [line for line in text.splitlines() if line.startswith("one frame ")]
    assert row.split()[2:] == ["10.0%", "10.0%", "-", "10.0%", "10.0%", "10.0%"]
    assert text.splitlines()[-1].startswith("optical flow less one frame: +")


def test_the_interval_of_a_difference_is_of_the_same_clips(outcome):
    share = outcome.difference("flow", "middle")
    expected = interval(outcome.right["flow"] - outcome.right["middle"], outcome.scenes, seed=0)
    assert (share.low, share.high) == expected
    assert outcome.difference("flow", "flow").high == 0


def test_features_do_not_depend_on_how_many_clips_run_at_once():
    clips = torch.randint(0, 256, (5, 4, 28, 28, 3), dtype=torch.uint8)
    alone = clip_features(flow, clips, clips_at_once=1)
    assert alone.shape == (5, 4, 3) and alone.dtype == torch.float32
    assert torch.allclose(alone, clip_features(flow, clips, clips_at_once=3), rtol=1e-5)


def test_tokens_are_averaged_over_each_frame():
    clips = torch.zeros(1, 3, 14, 14, 3, dtype=torch.uint8)
    tokens = torch.arange(12.0).reshape(1, 12, 1)  # 3 frames of 4
    assert clip_features(lambda _: tokens, clips).flatten().tolist() == [1.5, 5.5, 9.5]


def test_the_teacher_sees_frames_enlarged_to_its_size():
    frames = torch.full((2, 112, 112, 3), 7, dtype=torch.uint8)
    assert frame_features(Colours(), frames).tolist() == [[7.0] * 3] * 2
