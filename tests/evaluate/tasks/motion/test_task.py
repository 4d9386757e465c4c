"""`ivn evaluate motion`, on features whose answer is known; `ivn demo` measures by it, too."""

import json

import numpy as np
import pytest
import torch

from ivn.data.batch import ClipSpec
from ivn.errors import DataError
from ivn.evaluate.tasks.motion.clips import MOTIONS
from ivn.evaluate.tasks.motion.features import collect
from ivn.evaluate.tasks.motion.scenes import BundledPictures, real_scenes
from ivn.evaluate.tasks.motion.table import motion_table
from ivn.evaluate.tasks.motion.task import Frames, probe_motion
from ivn.frozen.encoders import Frozen
from ivn.media.source import BUNDLED_CLIPS, Source
from tests.command import assert_one_line, command

pytest.importorskip("sklearn")
pytest.importorskip("av")


class Known(Frozen):
    """Three features of each frame that are computed from its pixels."""

    def __init__(self, frames=8, size=112):
        super().__init__(
            type(self).__name__.lower(),
            ClipSpec(frames, size),
            slots=frames,
            width=3,
            pools=("frames",),
            clips_at_once=8,
        )

    def _sizes(self):
        return {}

    def _state(self):
        return {}


class Flow(Known):
    """How the camera moved since the frame before: right, down, zoom.

    Least squares of brightness change against brightness slopes (Lucas and Kanade 1981).
    """

    def _features(self, clips, pool):
        grey = torch.nn.functional.avg_pool2d(clips.double().mean(4), 4)
        side = torch.linspace(-1, 1, grey.shape[-1], dtype=torch.float64)
        between = (grey[:, 1:] + grey[:, :-1]) / 2
        down, right = torch.gradient(between, dim=(2, 3))
        slopes = torch.stack([right, down, right * side + down * side[:, None]], -1).flatten(2, 3)
        change = (grey[:, 1:] - grey[:, :-1]).flatten(2)[..., None]
        solution = torch.linalg.lstsq(slopes, change).solution[..., 0]
        return torch.nn.functional.pad(solution, (0, 0, 1, 0))


class Middle(Known):
    """The colours of the middle frame, for every frame."""

    def _features(self, clips, pool):
        colours = clips[:, clips.shape[1] // 2].double().mean((1, 2))
        return colours[:, None].expand(-1, clips.shape[1], -1)


class Colours(Known):
    """The colours of each frame by itself."""

    def _features(self, clips, pool):
        return clips.double().mean((2, 3))


@pytest.fixture(scope="module")
def pictures():
    return [*BundledPictures(1, 7, seed=0)]


@pytest.fixture(scope="module")
def result(pictures):
    return probe_motion([Flow()], pictures, seed=0, baselines=[Middle()])


def test_motion_that_is_in_the_features_is_found(result):
    score = result.rows[0].scores["top1"]
    assert 0.9 < score.low <= score.value <= score.high <= 1


def test_the_middle_frame_by_itself_is_exactly_at_chance(result):
    score = result.rows[1].scores["top1"]
    assert (score.value, score.low, score.high) == pytest.approx((0.1, 0.1, 0.1))


def test_each_scene_has_as_many_clips_of_every_motion(pictures):
    clips = collect(pictures[:3], [Colours()])
    for scene in np.unique(clips.scenes):
        counts = np.bincount(clips.labels[clips.scenes == scene], minlength=10)
        assert counts.min() == counts.max() == 1
    assert len(np.unique(clips.scenes)) == 3 and list(clips.kinds) == ["real"] * 30


def test_features_stay_in_time_order_in_clips_of_the_encoders_own_size(pictures):
    colours, small = Colours(), Flow(4, 56)
    features = collect(pictures[:2], [colours, small]).features
    assert features[small.identity].shape == (20, 4 * 3)
    assert features[colours.identity].shape == (20, 8 * 3)
    right, left = (features[colours.identity][row].reshape(8, 3) for row in (0, 1))
    assert np.array_equal(right[1:], left[:0:-1]) and not np.array_equal(right[1:], left[1:])


def test_the_result_is_json_with_all_that_was_promised(result):
    plain = result.json()
    assert json.loads(json.dumps(plain)) == plain
    assert (plain["task"], plain["n"], plain["groups"]) == ("motion", 200, 20)
    assert (plain["chance"], plain["confidence"]) == (0.1, 0.95)
    assert plain["classes"] == list(MOTIONS)
    assert plain["kinds"] == {"procedural": 70, "real": 130}
    flow, middle = plain["rows"]
    assert (flow["encoder"], flow["baseline"]) == ("flow", False)
    assert (middle["encoder"], middle["baseline"]) == ("middle", True)
    assert set(flow["by_kind"]) == {"real", "procedural"}
    table = np.array(plain["confusion"])
    assert np.trace(table) / table.sum() == pytest.approx(flow["top1"]["value"])
    (gain,) = plain["differences"]
    assert (gain["encoder"], gain["baseline"]) == ("flow", "middle")
    assert gain["value"] == pytest.approx(flow["top1"]["value"] - 0.1)


def test_differences_are_of_the_same_clips_and_kinds_add_up(pictures, result):
    # Middle is right once in each scene: its interval is nothing, that of the difference Flow's.
    score, (gain,) = result.rows[0].scores["top1"], result.facts["differences"]
    assert gain["low"] == pytest.approx(score.low - 0.1)
    assert gain["high"] == pytest.approx(score.high - 0.1)
    noisy = probe_motion([Colours()], pictures, seed=0, baselines=[Colours()])
    score, (gain,) = noisy.rows[0].scores["top1"], noisy.facts["differences"]
    assert score.low < score.high and gain["low"] == gain["value"] == gain["high"] == 0
    kinds = noisy.rows[0].extra["by_kind"]
    assert kinds["real"] != kinds["procedural"]
    assert score.value == pytest.approx(0.65 * kinds["real"] + 0.35 * kinds["procedural"])


def test_the_table_says_chance_numbers_shares_and_intervals(result):
    text = motion_table(result)
    assert "by chance: 10.0%" in text
    assert "200 clips of 10 camera motions (130 of real pictures, 65%, 70 of procedural" in text
    assert "in 20 scenes" in text and "intervals are over scenes" in text
    (row,) = [line for line in text.splitlines() if line.startswith("middle ")]
    assert row.split()[1:] == ["10.0%", "10.0%", "-", "10.0%", "10.0%", "10.0%"]
    assert text.splitlines()[-1].startswith("flow less middle: +")


def test_bundled_pictures_are_counted_before_they_are_drawn(pictures):
    assert len(pictures) == len(BundledPictures(1, 7)) == len(real_scenes()) + 7
    assert len(BundledPictures(0, 3)) == 3


def test_frames_of_videos_are_pictures_too(tmp_path):
    clips = sorted(str(path) for path in BUNDLED_CLIPS.glob("*.mp4"))[:3]
    (tmp_path / "broken.mp4").write_text("no video")
    sources = [Source(clips[0]), Source(clips[0], start=1.0), Source(clips[1], group="x")]
    sources += [Source(clips[2], group="x"), Source(str(tmp_path / "broken.mp4"))]
    frames = Frames(sources, 0, [Flow()])
    pictures = [*frames]
    assert [picture.scene for picture in pictures] == ["group 0", "group 0", "group 1", "group 1"]
    assert [one.path for one in frames.skipped] == [str(tmp_path / "broken.mp4")]
    (note,) = frames.notes()
    assert note.startswith("3 of 5 videos have no group")
    again = [*Frames(sources, 0, [Flow()])]
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(pictures, again, strict=True))
    other = [*Frames(sources, 1, [Flow()])]
    assert not any(np.array_equal(a.pixels, b.pixels) for a, b in zip(pictures, other, strict=True))
    # Too small for this encoder's clips.
    large = Frames(sources[:1], 0, [Flow(8, 224)])
    assert [*large] == [] and "expected at least" in large.skipped[0].reason


def test_too_few_scenes_and_no_scikit_learn_are_one_line(tmp_path, monkeypatch):
    names = sorted(path.name for path in BUNDLED_CLIPS.glob("asl-*.mp4"))[:3]
    (tmp_path / "list.csv").write_text("".join(f"{BUNDLED_CLIPS / name}\n" for name in names))
    say = ["evaluate", "motion", "--encoder", "raw", "--frames", "4", "--size", "32"]
    said = command(*say, "--data", tmp_path / "list.csv")
    assert assert_one_line(said, "3 scenes can be used, expected at least 5") == 1

    def missing():
        raise ImportError('pip install "ivn[demo]"')

    monkeypatch.setattr("ivn.evaluate.tasks.motion.task.check_installed", missing)
    with pytest.raises(DataError, match=r"ivn\[demo\]"):
        probe_motion([Flow()], [], seed=0)
