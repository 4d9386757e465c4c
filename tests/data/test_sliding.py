from dataclasses import replace

import numpy as np
import pytest
import torch

from ivn.data.batch import ClipSpec
from ivn.data.crop import centre_clip
from ivn.data.sampling.frames import centre_frame_numbers
from ivn.data.sliding import SlidingWindows, sliding_windows
from ivn.errors import DecodeError
from ivn.media.decode import decode, frames_in_order
from ivn.media.source import Source
from tests.media.videos import (
    BUNDLED,
    broken_files,
    numbered_frames,
    write_video,
    write_with_a_jump,
)

pytest.importorskip("av")


@pytest.fixture(scope="module")
def counting(tmp_path_factory):
    """25 frames at 10 a second, frame ``i`` grey of value ``10 * i``."""
    return str(write_video(tmp_path_factory.mktemp("v") / "v.mkv", numbered_frames(25), rate=10))


def seen(path, cuts, frames=4, **options):
    """What the encoder sees of each window as frame numbers, and its times."""
    windows = list(sliding_windows(Source(path, **options), cuts, ClipSpec(frames, 16)))
    assert [window.number for window in windows] == list(range(len(windows)))
    assert all(window.clip.shape == (frames, 16, 16, 3) for window in windows)
    return [
        ((window.clip[:, 8, 8, 0] // 10).tolist(), round(window.start, 3), round(window.end, 3))
        for window in windows
    ]


@pytest.mark.parametrize(
    ("cuts", "frames", "starts"),
    [
        (SlidingWindows(4, 4), 4, range(0, 24, 4)),
        (SlidingWindows(4, 1), 4, range(22)),
        (SlidingWindows(8, 3), 4, range(0, 18, 3)),
        (SlidingWindows(4, 10), 4, range(0, 25, 10)),
        (SlidingWindows(3, 7), 5, range(0, 22, 7)),
        (SlidingWindows(25, 1), 2, range(1)),
    ],
)
def test_windows_are_those_of_the_whole_video_cut_up(counting, cuts, frames, starts):
    chosen = centre_frame_numbers(cuts.frames, frames)
    expected = [
        ([start + offset for offset in chosen], start / 10, (start + cuts.frames) / 10)
        for start in starts
        if start + cuts.frames <= 25
    ]
    assert seen(counting, cuts, frames) == expected


@pytest.mark.parametrize("frames", [3, 8])
@pytest.mark.parametrize("window", [14, 32, 128])
def test_of_a_short_video_frames_from_all_over_it_are_seen(tmp_path, window, frames):
    file = write_video(tmp_path / "v.mkv", numbered_frames(13), rate=10)
    for stride in (1, window, 200):
        found = seen(str(file), SlidingWindows(window, stride), frames)
        assert found == [(centre_frame_numbers(13, frames), 0.0, 1.3)]
        part = seen(str(file), SlidingWindows(window, stride), frames, start=0.2, end=1.2)
        assert part == [([2 + number for number in centre_frame_numbers(10, frames)], 0.2, 1.2)]
    # At five a second there are seven, and each that the encoder sees is of another time.
    (found,) = seen(str(file), SlidingWindows(window, window, 5.0), 7)
    assert found == ([0, 2, 4, 6, 8, 10, 12], 0.0, 1.4)
    (one,) = sliding_windows(Source(str(file)), SlidingWindows(window, 1), ClipSpec(frames, 16))
    assert (one.frames, one.left) == (13, 0)


def test_frames_that_there_are_too_few_of_are_seen_twice(tmp_path):
    file = write_video(tmp_path / "v.mkv", numbered_frames(3), rate=10)
    assert seen(str(file), SlidingWindows(8, 8), 8) == [([0, 0, 0, 1, 1, 2, 2, 2], 0.0, 0.3)]
    assert seen(str(file), SlidingWindows(8, 2), 2) == [([0, 2], 0.0, 0.3)]


@pytest.mark.parametrize(
    ("cuts", "frames", "left"),
    [
        (SlidingWindows(4, 4), 4, 1),
        (SlidingWindows(10, 10), 3, 5),
        (SlidingWindows(8, 3), 4, 2),
        (SlidingWindows(5, 5), 5, 0),
        (SlidingWindows(4, 1), 4, 0),
        (SlidingWindows(25, 1), 2, 0),
        (
            SlidingWindows(4, 7),
            4,
            0,
        ),  # the frames from one window to the next are left out on purpose
        (SlidingWindows(6, 10), 4, 5),
        (SlidingWindows(4, 4, 5.0), 4, 1),
    ],
)
def test_frames_behind_the_last_window_are_counted_and_covered_if_asked_for(
    counting, cuts, frames, left
):
    source, spec = Source(counting), ClipSpec(frames, 16)
    dropped = list(sliding_windows(source, cuts, spec))
    assert [window.left for window in dropped] == [0] * (len(dropped) - 1) + [left]
    whole = seen(counting, replace(cuts, tail="cover"), frames)
    assert whole[: len(dropped)] == seen(counting, cuts, frames)
    assert len(whole) == len(dropped) + (left > 0)
    if left:
        step = 2 if cuts.fps else 1
        numbers = [
            25 // step + (step > 1) - cuts.frames + n
            for n in centre_frame_numbers(cuts.frames, frames)
        ]
        end = 2.6 if cuts.fps else 2.5
        start = end - cuts.frames * step / 10
        assert whole[-1] == ([step * n for n in numbers], round(start, 3), end)
        covering = list(sliding_windows(source, replace(cuts, tail="cover"), spec))
        assert {(window.frames, window.left) for window in covering} == {(cuts.frames, 0)}


def test_frames_are_resampled_as_a_player_would_show_them(counting):
    assert seen(counting, SlidingWindows(4, 4, 5.0)) == [
        ([0, 2, 4, 6], 0.0, 0.8),
        ([8, 10, 12, 14], 0.8, 1.6),
        ([16, 18, 20, 22], 1.6, 2.4),
    ]
    twice = seen(counting, SlidingWindows(4, 4, 20.0))
    assert twice[0] == ([0, 0, 1, 1], 0.0, 0.2) and len(twice) == 12
    # Three of four of the file's frames are passed over and one is not.
    assert seen(counting, SlidingWindows(3, 3, 3.0), 3)[0] == ([0, 3, 6], 0.0, 1.0)


def test_a_part_of_a_video_keeps_the_times_of_the_file(counting):
    part = seen(counting, SlidingWindows(4, 4), start=0.5, end=1.4)
    assert part == [([5, 6, 7, 8], 0.5, 0.9), ([9, 10, 11, 12], 0.9, 1.3)]


def test_windows_from_any_number_on_are_the_same(counting):
    source, spec = Source(counting), ClipSpec(4, 16)
    several = [
        SlidingWindows(4, 1),
        SlidingWindows(8, 3),
        SlidingWindows(4, 10),
        SlidingWindows(4, 4, 5.0),
        SlidingWindows(40, 9),
    ]
    for cuts in [
        *several,
        *(replace(cuts, tail="cover") for cuts in several),
        SlidingWindows(6, 10),
    ]:
        whole = list(sliding_windows(source, cuts, spec))
        for first in range(1, len(whole) + 2):
            late = list(sliding_windows(source, cuts, spec, first=first))
            assert [w.number for w in late] == [w.number for w in whole[first:]]
            assert all(
                torch.equal(one.clip, two.clip)
                and (one.start, one.end, one.left) == (two.start, two.end, two.left)
                for one, two in zip(late, whole[first:], strict=True)
            )


@pytest.mark.parametrize("file", BUNDLED[:2], ids=lambda file: file.name)
def test_frames_of_real_videos_are_those_of_the_other_decoder(file):
    whole = decode(file, range)
    shown = list(frames_in_order(file))
    assert len(shown) == len(whole)
    times = np.array([frame.time for frame in shown])
    assert times[0] == 0 and (np.diff(times) > 0).all()
    for index in (0, len(whole) // 2, len(whole) - 1):
        assert torch.equal(shown[index].image(), whole[index])
    (first, *_) = sliding_windows(Source(str(file)), SlidingWindows(8, 8), ClipSpec(8, 64))
    assert torch.equal(first.clip, centre_clip(whole[:8], 64))


def test_only_frames_that_a_window_looks_at_are_converted(counting, monkeypatch):
    converted = []
    monkeypatch.setattr(
        "ivn.data.sliding.centre_clip", lambda video, size: converted.append(1) or video
    )
    list(sliding_windows(Source(counting), SlidingWindows(4, 10), ClipSpec(4, 16)))
    assert len(converted) == 12  # of three windows; the frames between them are only decoded
    converted.clear()
    list(sliding_windows(Source(counting), SlidingWindows(8, 8), ClipSpec(2, 16), first=1))
    assert len(converted) == 2 * 2


def test_of_a_long_first_window_only_what_is_looked_at_is_converted(counting, monkeypatch):
    converted = []
    monkeypatch.setattr(
        "ivn.data.sliding.centre_clip",
        lambda video, size: converted.append(round(int(video[0, 8, 8, 0]) / 10)) or video,
    )
    list(sliding_windows(Source(counting), SlidingWindows(20, 20), ClipSpec(2, 16)))
    assert converted == centre_frame_numbers(20, 2)


def test_broken_files_are_refused_with_their_names(tmp_path):
    for name, file in broken_files(tmp_path).items():
        with pytest.raises(DecodeError, match=str(file)):
            list(sliding_windows(Source(str(file)), SlidingWindows(4, 4), ClipSpec(4, 16)))
        assert name
    with pytest.raises(ValueError, match="window 0, stride 1"):
        SlidingWindows(0, 1)


def test_time_stamps_that_jump_are_damage(tmp_path):
    write_with_a_jump(tmp_path / "v.mkv", 2)
    source = Source(str(tmp_path / "v.mkv"))
    with pytest.raises(DecodeError, match=r"shown until .* damaged time stamps"):
        list(sliding_windows(source, SlidingWindows(4, 4, 30.0), ClipSpec(4, 16)))
