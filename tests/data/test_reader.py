import numpy as np
import pytest
import torch

from ivn.data import reader
from ivn.data.batch import Batch, ClipSpec, Replacement
from ivn.data.config import DataConfig
from ivn.data.reader import check_specs, read_centre, read_clip
from ivn.keys import make_keys
from ivn.media.decode import decode
from ivn.media.source import BUNDLED_CLIPS, Source
from tests.media.videos import numbered_frames, write_video

pytest.importorskip("av")
KEYS = make_keys(7, 0, torch.arange(24)).split(1)


@pytest.fixture(scope="module")
def ramp(tmp_path_factory):
    """Red grows to the right, green downwards, blue with time."""
    red, green = np.meshgrid(np.arange(200), np.arange(120))
    frames = [np.stack([red, green, np.full_like(red, 5 * t)], 2) for t in range(40)]
    file = tmp_path_factory.mktemp("ramp") / "ramp.mkv"
    return write_video(file, np.stack(frames).astype(np.uint8))


@pytest.mark.parametrize("augmentation", ["multi_scale", "random_resized", "centre"])
def test_all_consumers_see_the_same_crop_frames_and_mirroring(ramp, augmentation):
    specs = {"student": ClipSpec(8, 28), "teacher": ClipSpec(8, 84)}
    for key in KEYS:
        views = read_clip(Source(str(ramp)), specs, DataConfig(7, augmentation), key)
        assert views["student"].shape == (8, 28, 28, 3)
        assert views["teacher"].shape == (8, 84, 84, 3)
        coarse = views["teacher"].float().unflatten(1, (28, 3)).unflatten(3, (28, 3)).mean((2, 4))
        inner = (coarse - views["student"].float())[:, 1:-1, 1:-1]
        assert inner.abs().max() < 2


def test_a_consumer_of_fewer_frames_sees_every_nth(ramp):
    specs = {"a": ClipSpec(8, 16), "b": ClipSpec(4, 16), "c": ClipSpec(1, 16)}
    views = read_clip(Source(str(ramp)), specs, DataConfig(), KEYS[0])
    assert torch.equal(views["b"], views["a"][::2])
    assert torch.equal(views["c"], views["a"][:1])
    assert (views["a"][..., 2].float().mean((1, 2)).diff() > 0).all()


def test_three_consumers_are_served_by_one_decode_of_one_file(ramp, monkeypatch):
    asked = []

    def counted(source, choose, **how):
        def remembered(total):
            asked.append((source.path, choose(total)))
            return asked[-1][1]

        return decode(source, remembered, **how)

    monkeypatch.setattr(reader, "decode", counted)
    specs = {"student": ClipSpec(8, 112), "teacher": ClipSpec(8, 256), "longer": ClipSpec(16, 112)}
    for key in KEYS[:6]:
        asked.clear()
        views = read_clip(Source(str(ramp)), specs, DataConfig(), key)
        ((path, numbers),) = asked
        assert path == str(ramp)
        # Blue tells the frame's number: the longest has all that were decoded, others every 2nd.
        seen = {name: view[:, 0, 0, 2].tolist() for name, view in views.items()}
        assert seen["longer"] == [5 * number for number in numbers]
        assert seen["student"] == seen["teacher"] == seen["longer"][::2]
        # Of the same rectangle: red and green tell its place, whatever the size.
        assert torch.equal(views["student"], views["longer"][::2])
        for corner in [(0, 0), (0, -1), (-1, 0), (-1, -1)]:
            ours, theirs = (views[name][0][corner][:2].int() for name in ("student", "teacher"))
            assert (ours - theirs).abs().max() <= 2


def test_frames_that_divide_no_common_number_are_an_error():
    with pytest.raises(ValueError, match="b wants 3 frames, another 8: expected a divisor"):
        check_specs({"a": ClipSpec(8, 16), "b": ClipSpec(3, 16)})
    with pytest.raises(ValueError, match="at least one consumer"):
        check_specs({})
    with pytest.raises(ValueError, match="expected at least 1"):
        ClipSpec(0, 16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop_area": (0.0, 1.0)}, r"crop_area is \(0.0, 1.0\), expected 0 < least"),
        ({"crop_area": (0.5, 0.3)}, "crop_area"),
        ({"crop_area": (0.5, 1.1)}, "crop_area"),
        ({"crop_area": (float("nan"), 1.0)}, "crop_area"),
        ({"crop_aspect": (0.0, 1.0)}, "crop_aspect"),
        ({"crop_aspect": (2.0, 1.0)}, "crop_aspect"),
        ({"crop_aspect": (0.5, float("inf"))}, "crop_aspect"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**63}, "seed"),
    ],
)
def test_ranges_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DataConfig(**options)


def test_mirroring_needs_leave_of_the_config_and_of_the_source(ramp):
    def mirrored(config, source):
        views = [read_clip(source, {"a": ClipSpec(1, 16)}, config, key)["a"] for key in KEYS]
        return sum(bool(view[0, 8, 0, 0] > view[0, 8, 15, 0]) for view in views)

    assert 4 < mirrored(DataConfig(), Source(str(ramp))) < 20
    assert mirrored(DataConfig(flip=False), Source(str(ramp))) == 0
    assert mirrored(DataConfig(), Source(str(ramp), flip=False)) == 0


def test_a_window_limits_the_frames(ramp):
    source = Source(str(ramp), start=1.0, end=2.0)
    for key in KEYS[:10]:
        blue = read_clip(source, {"a": ClipSpec(5, 16)}, DataConfig(), key)["a"][..., 2]
        assert (blue >= 50).all() and (blue < 100).all()


def test_released_offsets_read_the_last_frame_first_but_not_outside_a_window(tmp_path):
    file = str(write_video(tmp_path / "a.mkv", numbered_frames(20)))
    config = DataConfig(frame_offsets="released")
    specs = {"a": ClipSpec(20, 8)}
    whole = read_clip(Source(file), specs, config, KEYS[0])["a"][:, 0, 0, 0]
    assert whole.tolist() == [190, *range(0, 190, 10)]
    part = read_clip(Source(file, start=0.1), {"a": ClipSpec(19, 8)}, config, KEYS[0])["a"]
    assert part[:, 0, 0, 0].tolist() == [10, *range(10, 190, 10)]


def test_the_centre_clip_has_nothing_random_in_it(ramp):
    config = DataConfig(augmentation="centre")
    specs = {"clip": ClipSpec(4, 60)}
    views = [read_clip(Source(str(ramp)), specs, config, key)["clip"] for key in KEYS[:3]]
    assert all(torch.equal(view, read_centre(Source(str(ramp)), specs["clip"])) for view in views)
    # Frames 5, 15, 25, 35; the middle square of 120 starts at column 40.
    assert views[0][:, 30, 30, 2].tolist() == [25, 75, 125, 175]
    assert abs(int(views[0][0, 30, 0, 0]) - 40) <= 1


def test_real_clips_differ_between_keys():
    source = Source(str(BUNDLED_CLIPS / "nasa.mp4"))
    views = [read_clip(source, {"a": ClipSpec(4, 32)}, DataConfig(), key)["a"] for key in KEYS[:4]]
    assert all(not torch.equal(views[0], view) for view in views[1:])


def test_parts_of_a_batch_are_its_rows():
    clips = {"a": torch.arange(4)[:, None].byte(), "b": torch.arange(8).view(4, 2).byte()}
    batch = Batch(clips, make_keys(0, 0, torch.arange(4)), [Replacement("x", "why", "y")])
    parts = [batch.part(0, 2), batch.part(2, 4)]
    assert [len(part) for part in parts] == [2, 2]
    assert torch.equal(torch.cat([part.clips["b"] for part in parts]), batch.clips["b"])
    assert torch.equal(torch.cat([part.keys for part in parts]), batch.keys)
    assert [part.replaced for part in parts] == [[], []]
    assert batch.to("cpu").replaced == batch.replaced
