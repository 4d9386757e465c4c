import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from ivn.errors import DecodeError
from ivn.media import container as container_module
from ivn.media.decode import count_frames, decode
from ivn.media.demux import clock, reading
from tests.media.videos import (
    BUNDLED,
    broken_files,
    noise,
    numbered_frames,
    turn_on_display,
    write_mp4,
    write_video,
)

av = pytest.importorskip("av")


def every(total):
    return range(total)


def some(total):
    return [0, total // 2, total - 1]


@pytest.mark.parametrize("file", BUNDLED, ids=lambda file: file.name)
def test_frames_are_those_of_a_plain_decoding(file):
    with av.open(str(file)) as container:
        expected = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert count_frames(file) == len(expected)
    frames = decode(file, some)
    assert frames.dtype == torch.uint8
    assert np.array_equal(frames, np.stack(expected)[some(len(expected))])


def test_all_bundled_clips_are_there_and_attributed():
    lines = (BUNDLED[0].parent / "ATTRIBUTION.tsv").read_text().splitlines()[1:]
    assert sorted(line.split("\t")[0] for line in lines) == [file.name for file in BUNDLED]
    assert len(BUNDLED) == 27


def test_numbers_may_repeat_come_in_any_order_and_count_from_the_end(tmp_path):
    file = write_video(tmp_path / "a.mkv", numbered_frames(20))
    frames = decode(file, lambda total: [7, 3, 3, -1, -total])
    assert frames[:, 5, 5, 0].tolist() == [70, 30, 30, 190, 0]


def test_a_number_outside_the_video_is_the_callers_error(tmp_path):
    file = write_video(tmp_path / "a.mkv", numbered_frames(20))
    with pytest.raises(ValueError, match="frame 20 was chosen, the video has 20") as caught:
        decode(file, lambda total: [total])
    assert not isinstance(caught.value, DecodeError)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "no such file"),
        ("empty", r"the file is empty \(0 bytes\)"),
        ("text", "cannot be decoded"),
        ("truncated", r"truncated, \d+ of 20 frames are there"),
        ("header", "no video stream"),
        ("sound", "no video stream, only audio"),
        ("cover", "no video stream, only audio"),
        ("folder", "not a file"),
    ],
)
def test_a_broken_file_is_one_clear_line(tmp_path, kind, reason):
    file = broken_files(tmp_path)[kind]
    with pytest.raises(DecodeError, match=reason) as caught:
        decode(file, every)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damage_matters_only_where_frames_are_wanted(tmp_path):
    file = write_video(tmp_path / "a.mkv", noise(20), codec="libx264", pix_fmt="yuv420p")
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = bytes(2000)
    file.write_bytes(data)
    whole = write_video(tmp_path / "b.mkv", noise(20), codec="libx264", pix_fmt="yuv420p")
    assert torch.equal(decode(file, lambda _: [0, 3]), decode(whole, lambda _: [0, 3]))


def test_rotation_is_applied(tmp_path):
    frames = np.zeros((3, 32, 48, 3), np.uint8)
    frames[:, :16, :24, 0] = 255
    file = write_mp4(tmp_path / "a.mp4", frames)
    turn_on_display(file)
    image = decode(file, lambda _: [1])[0]
    assert image.shape == (48, 32, 3)
    # Clockwise: what was at the top left is at the top right.
    assert image[4:20, 20:28, 0].min() > 200
    assert image[28:, :, 0].max() < 50
    assert image[:, :12, 0].max() < 50


def test_frames_that_change_size_come_at_the_size_of_the_first(tmp_path):
    options = {"codec": "mpeg2video", "pix_fmt": "yuv420p", "rate": 25}
    large = write_video(tmp_path / "large.ts", numbered_frames(10, 64, 96), **options)
    small = write_video(tmp_path / "small.ts", numbered_frames(10, 32, 48), **options)
    both = tmp_path / "both.ts"
    both.write_bytes(large.read_bytes() + small.read_bytes())
    frames = decode(both, every)
    assert frames.shape[1:] == (64, 96, 3)
    assert len(frames) > 15
    assert abs(int(frames[-1].float().mean()) - 90) < 8


@pytest.mark.parametrize("suffix", ["mkv", "avi"])
@pytest.mark.parametrize(("start", "end"), [(0.0, 2.0), (1.5, 3.0), (6.0, 8.0), (7.4, -1.0)])
def test_a_window_gives_its_frames_and_no_others(tmp_path, suffix, start, end):
    file = write_video(tmp_path / f"a.{suffix}", numbered_frames(100, step=2))
    last = 10.0 if end < 0 else end
    expected = [2 * i for i in range(round(10 * start), round(10 * last))]
    assert decode(file, every, start=start, end=end)[:, 9, 9, 0].tolist() == expected
    assert count_frames(file, start=start, end=end) == len(expected)


def test_a_window_of_a_codec_that_reorders_frames(tmp_path):
    file = write_video(tmp_path / "a.mp4", noise(90), codec="libx264", pix_fmt="yuv420p", gop=12)
    whole = decode(file, every)
    assert torch.equal(decode(file, every, start=5.3, end=7.1), whole[53:71])
    assert torch.equal(decode(file, every, start=0.2, end=0.7), whole[2:7])


@pytest.mark.parametrize("suffix", ["avi", "mkv", "mp4", "ts"])
def test_seeking_changes_no_frame_wherever_it_lands(tmp_path, monkeypatch, suffix):
    # At one frame a second, display runs whole seconds behind the decoding times sought by.
    file = write_video(
        tmp_path / f"a.{suffix}", noise(40), codec="libx264", pix_fmt="yuv420p", rate=1, gop=8
    )
    starts = range(6, 36, 3)
    sought = [decode(file, every, start=start, end=start + 2) for start in starts]
    assert {len(frames) for frames in sought} == {2}
    monkeypatch.setattr(clock, "_SEEK_FROM_SECONDS", float("inf"))
    for start, frames in zip(starts, sought, strict=True):
        assert torch.equal(frames, decode(file, every, start=start, end=start + 2))


def test_a_window_after_the_end_is_an_error(tmp_path):
    file = write_video(tmp_path / "a.mkv", numbered_frames(20))
    with pytest.raises(DecodeError, match=r"no video frames from 7.0 s to 9.0 s"):
        decode(file, every, start=7.0, end=9.0)


def test_a_true_count_below_that_of_the_packets_chooses_again(tmp_path, monkeypatch):
    file = write_video(tmp_path / "a.mkv", numbered_frames(20))
    read = reading.read_packets
    three_more = {"count": 23, "shown": []}
    monkeypatch.setattr(reading, "read_packets", lambda *of: replace(read(*of), **three_more))
    totals = []

    def last(total):
        totals.append(total)
        return [total - 1]

    assert decode(file, last)[0, 0, 0, 0] == 190
    assert totals == [23, 20]


def test_frames_of_gigabytes_are_refused(tmp_path, monkeypatch):
    file = write_video(tmp_path / "a.mkv", noise(2))
    monkeypatch.setattr(container_module, "_MAX_PIXELS", 48 * 64 - 1)
    with pytest.raises(DecodeError, match="cannot be decoded"):
        decode(file, every)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files in /proc")
def test_no_file_is_left_open(tmp_path):
    files = [*broken_files(tmp_path).values(), BUNDLED[0]]
    before = len(os.listdir("/proc/self/fd"))
    for file in files:
        try:
            decode(file, lambda _: [0])
        except DecodeError:
            continue
    assert len(os.listdir("/proc/self/fd")) <= before
