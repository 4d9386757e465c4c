"""Which frames and which square a view sees."""

from fractions import Fraction

import pytest
import torch

from ivn.data.batch import ClipSpec
from ivn.data.reader import read_centre
from ivn.errors import DataError, DecodeError
from ivn.evaluate.features import views as module
from ivn.evaluate.features.views import RandomView, View, grid, read_views, training_views
from ivn.media.source import BUNDLED_CLIPS, Source
from tests.media.videos import numbered_frames, write_video

pytest.importorskip("av")
CLIP = Source(str(BUNDLED_CLIPS / "car-detection-1.mp4"))


def test_one_clip_of_one_crop_is_what_inference_sees():
    assert grid(1, 1) == [View()] == training_views(1, seed=0)
    found = read_views(CLIP, grid(1, 1), [(8, 64), (4, 32)])
    assert torch.equal(found[8, 64][0], read_centre(CLIP, ClipSpec(8, 64)))
    assert torch.equal(found[4, 32][0], read_centre(CLIP, ClipSpec(4, 32)))


def test_clips_see_each_part_of_the_window_in_turn():
    source = Source("x")
    for total, frames, clips in ((160, 8, 4), (30, 4, 3), (5, 8, 2)):
        numbers = [view.frames(total, frames, source) for view in grid(clips, 1)]
        for clip, own in enumerate(numbers):
            share = Fraction(2 * clip + 1, 2 * clips)
            assert own == [int((part + share) * total / frames) for part in range(frames)]
            assert own[0] >= 0 and own[-1] < total
        order = [numbers[clip][part] for part in range(frames) for clip in range(clips)]
        assert order == sorted(order)


def test_crops_lie_evenly_along_the_longer_side():
    source = Source("x")
    wide = [view.crop(100, 340, source) for view in grid(1, 3)]
    assert [(crop.top, crop.left, crop.width) for crop in wide] == [
        *[(0, 0, 100), (0, 120, 100), (0, 240, 100)]
    ]
    high = [view.crop(340, 100, source).top for view in grid(1, 2)]
    assert high == [0, 240]
    # The middle one of three is the only one there is of one: it is computed once.
    assert grid(1, 3)[1].name == grid(1, 1)[0].name


def test_eight_clips_of_three_crops_are_read_in_one_pass(monkeypatch):
    passes = []
    decode = module.decode
    monkeypatch.setattr(module, "decode", lambda *a, **k: passes.append(a) or decode(*a, **k))
    views = grid(8, 3)
    found = read_views(CLIP, views, [(4, 32)])[4, 32]
    assert found.shape == (24, 4, 32, 32, 3) and len(passes) == 1
    monkeypatch.setattr(module, "_BYTES_AT_ONCE", 5 * 4 * 3 * 256 * 455)
    assert torch.equal(read_views(CLIP, views, [(4, 32)])[4, 32], found)
    assert len(passes) > 4


def test_random_views_are_keyed_by_the_file_and_by_nothing_else(tmp_path):
    one, two, *_ = training_views(3, seed=0)[1:]
    clip, other = Source("a/clip.mp4"), Source("a/other.mp4")
    assert one.frames(100, 8, clip) == one.frames(100, 8, Source("b/clip.mp4"))
    different = [one.frames(100, 8, other), two.frames(100, 8, clip)]
    different += [RandomView(1, 1).frames(100, 8, clip)]
    different += [one.frames(100, 8, Source("a/clip.mp4", start=1.0))]
    assert all(numbers != one.frames(100, 8, clip) for numbers in different)
    assert one.crop(100, 200, clip) != one.crop(100, 200, other)
    assert not any(RandomView(0, k).crop(100, 200, clip).flip for k in range(20))
    assert len({view.name for view in training_views(4, seed=0)}) == 4


def test_a_window_is_seen_from_its_start(tmp_path):
    file = write_video(tmp_path / "v.mkv", numbered_frames(20))
    found = read_views(Source(str(file), start=1.0), grid(1, 1), [(5, 8)])[5, 8]
    # Frame i is grey of 10 i; the window has frames 10 to 19, two a part.
    assert found[0, :, 0, 0, 0].tolist() == [110, 130, 150, 170, 190]


def test_none_of_no_view_and_broken_files_are_told(tmp_path):
    for clips, crops in ((0, 1), (1, 0)):
        with pytest.raises(DataError, match="expected at least 1 of each"):
            grid(clips, crops)
    with pytest.raises(DataError, match="0 training views"):
        training_views(0, seed=0)
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(DecodeError, match=r"a\.mp4"):
        read_views(Source(str(tmp_path / "a.mp4")), grid(1, 1), [(4, 8)])
