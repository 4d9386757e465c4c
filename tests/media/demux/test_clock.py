"""Frames have the numbers and times of plain decoding, whatever their time stamps say."""

import io
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import torch

from ivn.corpus.check.decoding import check_one
from ivn.corpus.transcode.encode import encode
from ivn.corpus.transcode.encoding import Encoding
from ivn.corpus.transcode.verify import verify
from ivn.data.batch import ClipSpec
from ivn.data.crop import centre_clip
from ivn.data.sliding import SlidingWindows, sliding_windows
from ivn.errors import DecodeError
from ivn.media.decode import count_frames, dali, decode, frames_in_order, torchcodec
from ivn.media.demux import packets, reading
from ivn.media.facts import read_facts
from ivn.media.source import Source
from tests.media.decode.clips import KINDS, moving, needs, plain_frames, write_kind
from tests.media.demux.stamps import (
    CASES,
    as_decoded,
    case_numbers,
    copy_packets,
    empty_samples,
    joined,
    show_parts,
)

pytest.importorskip("av")
ORDERED = {
    "h264-bframes.avi": list(range(48)),
    "h264-remuxed-from-avi.mp4": list(range(48)),
    "h264-no-bframes.avi": list(range(48)),
    "xvid-bframes.avi": list(range(48)),
    "trimmed-by-edit-list.mp4": list(range(13, 25)),
    "empty-last-sample.mp4": [*range(46), 47],
    "clock-restarts.ts": list(range(48)),
    "plain.mp4": list(range(48)),
}
BACKENDS = ["pyav", pytest.param("torchcodec", marks=needs(torchcodec))]


def times(video, **window):
    return [shown.time for shown in frames_in_order(video, **window)]


def holds(file, expected, rate=10):
    """Whether all that numbers frames agrees on these frames, at a constant rate."""
    assert np.array_equal(decode(file, range), expected)
    shown = list(frames_in_order(file))
    assert np.array_equal(torch.stack([one.image() for one in shown]), expected)
    assert [one.time for one in shown] == pytest.approx(np.arange(len(expected)) / rate)
    assert count_frames(file) == len(expected)
    facts = read_facts(Source(str(file)))
    assert (facts.frames, facts.fps) == (len(expected), pytest.approx(rate))
    assert facts.duration == pytest.approx(len(expected) / rate)
    for first, last in ((0, 2), (0, 3), (11, 20), (len(expected) - 5, len(expected))):
        window = {"start": first / rate, "end": last / rate}
        assert np.array_equal(decode(file, range, **window), expected[first:last])
        assert count_frames(file, **window) == last - first
        assert times(file, **window) == pytest.approx(np.arange(first, last) / rate)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ORDERED)
def test_frames_come_in_the_order_in_which_players_show_them(name, backend):
    expected = ORDERED[name]
    assert case_numbers(decode(CASES / name, range, backend=backend)) == expected
    few = [len(expected) - 1, 4, 4, 0]
    frames = decode(CASES / name, lambda _: few, backend=backend)
    assert case_numbers(frames) == [expected[number] for number in few]
    part = decode(CASES / name, range, start=0.5, end=1.1, backend=backend)
    assert case_numbers(part) == expected[5:11]
    # So short that no packet in it is shown before an earlier one.
    if name != "empty-last-sample.mp4":
        for first, last in ((0, 1), (0, 2), (1, 2)):
            window = {"start": first / 10, "end": last / 10}
            part = decode(CASES / name, range, **window, backend=backend)
            assert case_numbers(part) == expected[first:last]


@pytest.mark.parametrize("name", sorted(ORDERED.keys() - {"empty-last-sample.mp4"}))
def test_times_count_from_the_first_frame(name):
    frames = ORDERED[name]
    assert times(CASES / name) == pytest.approx(np.arange(len(frames)) / 10)
    facts = read_facts(Source(str(CASES / name)))
    assert (facts.frames, facts.fps) == (len(frames), pytest.approx(10))
    assert facts.duration == pytest.approx(len(frames) / 10)
    assert facts.variable_rate == (facts.restarts == 1) == (name == "clock-restarts.ts")
    assert count_frames(CASES / name) == len(frames)


@pytest.mark.parametrize("name", ["h264-bframes.avi", "xvid-bframes.avi", "clock-restarts.ts"])
def test_windows_at_a_rate_of_ours_cover_the_whole_video(name):
    windows = list(
        sliding_windows(Source(str(CASES / name)), SlidingWindows(4, 4, 5.0), ClipSpec(4, 64))
    )
    expected = centre_clip(decode(CASES / name, lambda _: range(0, 48, 2)), 64)
    assert torch.equal(torch.cat([window.clip for window in windows]), expected)
    assert [window.start for window in windows] == pytest.approx([0, 0.8, 1.6, 2.4, 3.2, 4.0])


@pytest.mark.parametrize("frames", [0, 16])
@pytest.mark.parametrize("name", ["h264-bframes.avi", "clock-restarts.ts"])
def test_made_clips_show_what_their_originals_show(tmp_path, name, frames):
    source, path = Source(str(CASES / name)), str(tmp_path / "made.mp4")
    put = encode(source, path, Encoding("h264", 0, 0, 5), frames=frames)
    verify(path, put, name)
    step = 48 // frames if frames else 1
    assert case_numbers(decode(path, range)) == list(range(0, 48, step))
    assert times(path) == pytest.approx(np.arange(0, 48, step) / 10, abs=1e-3)
    part = Source(str(CASES / name), start=2.0, end=3.0)
    verify(path, encode(part, path, Encoding("h264", 0, 0, 5), frames=0), name)
    assert case_numbers(decode(path, range)) == list(range(20, 30))


def test_a_member_of_a_tar_has_the_frames_of_the_file(tmp_path):
    data = (CASES / "h264-bframes.avi").read_bytes()
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        info = tarfile.TarInfo("a.avi")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    member = Source(str(tmp_path / "s.tar"), member="a.avi", offset=512, size=len(data))
    assert case_numbers(decode(member, range)) == list(range(48))
    part = replace(member, start=2.0, end=3.0)
    assert case_numbers(decode(part, range)) == list(range(20, 30))


@pytest.mark.parametrize("name", ["h264-bframes.avi", "h264-remuxed-from-avi.mp4"])
def test_dali_leaves_videos_to_pyav_whose_packets_do_not_tell_which_frame_is_which(name):
    with dali.Decoder(device=torch.device("cuda"), batch_size=1, threads=1) as decoder:
        plain = Source(str(CASES / "plain.mp4"), start=2.0, end=3.0, decoder="dali")
        checked = decoder._prepare(dali.ClipRequest(plain, range))
        assert checked is not None and checked.numbers.tolist() == list(range(20, 30))
        for file in (name, "clock-restarts.ts"):
            request = dali.ClipRequest(Source(str(CASES / file), decoder="dali"), range)
            assert decoder._prepare(request) is None


@pytest.mark.parametrize("kind", ["plain", "pyramid", "open groups", "hevc", "mpeg4"])
def test_time_stamps_in_the_order_of_decoding_are_not_believed(tmp_path, kind):
    expected = plain_frames(write_kind(tmp_path / "good.mp4", kind))
    holds(copy_packets(tmp_path / "good.mp4", tmp_path / "a.mkv", as_decoded), expected)
    if kind != "hevc":  # FFmpeg has no name for it in AVI
        holds(write_kind(tmp_path / "a.avi", kind), expected)


def test_empty_packets_of_an_avi_do_not_make_its_frames_faster(tmp_path):
    import av

    codec, options = KINDS["pyramid"]
    with av.open(str(tmp_path / "a.avi"), "w") as container:
        stream = container.add_stream(codec, rate=20, options=options)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        for number, image in enumerate(moving(48)):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = 2 * number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(tmp_path / "a.avi")) as made:
        assert made.streams.video[0].average_rate == 20
    holds(tmp_path / "a.avi", plain_frames(tmp_path / "a.avi"))


def test_what_an_encoder_leaves_empty_behind_the_first_packet_makes_no_frame_later(tmp_path):
    def held_back(number, packet):
        if number:
            packet.pts, packet.dts = packet.pts + 2, packet.dts + 2
        return True

    whole = write_kind(tmp_path / "whole.avi", "plain")
    file = copy_packets(whole, tmp_path / "a.avi", held_back)
    holds(file, plain_frames(whole))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_frames_after_a_seek_are_those_of_the_rate_where_time_stamps_are_not_believed(
    tmp_path, suffix
):
    good = write_kind(tmp_path / "good.mp4", "pyramid", count=90)
    file = copy_packets(good, tmp_path / f"a{suffix}", as_decoded)
    expected = plain_frames(file)
    for first, last in ((60, 63), (71, 85)):
        frames = decode(file, range, start=first / 10, end=last / 10)
        assert np.array_equal(frames, expected[first:last])


@pytest.mark.parametrize("kind", ["plain", "mpeg4"])
def test_time_stamps_that_are_right_are_believed_at_a_variable_rate(tmp_path, kind):
    import av

    codec, options = KINDS[kind]
    appear = [0, 1, 2, 5, 6, 9, 10, 11, 20, 21, 23, 24, 27, 28, 40, 41]
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream(codec, rate=10, options=options)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        for number, time in enumerate(appear):
            image = np.full((64, 96, 3), 10 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = time
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert times(tmp_path / "a.mkv") == pytest.approx([time / 10 for time in appear])
    assert read_facts(Source(str(tmp_path / "a.mkv"))).variable_rate
    frames = decode(tmp_path / "a.mkv", range, start=0.9, end=2.4)
    assert [round(level / 10) for level in frames[:, 9, 9, 0].tolist()] == list(range(5, 11))


@pytest.mark.parametrize("kind", ["open groups", "hevc open groups", "no key frames"])
def test_times_count_from_the_first_frame_that_can_be_decoded(tmp_path, kind):
    write_kind(tmp_path / "whole.mkv", kind)
    file = copy_packets(tmp_path / "whole.mkv", tmp_path / "a.mkv", lambda number, _: number > 3)
    expected = plain_frames(file)
    assert 20 < len(expected) < 44
    assert times(file)[0] == 0
    assert count_frames(file) == read_facts(Source(str(file))).frames == len(expected)
    totals = []
    decode(file, lambda total: totals.append(total) or [0])
    assert totals[-1] == len(expected)
    later = [time for time in times(file) if 1 - 1e-3 <= time < 2 - 1e-3]
    first = times(file).index(later[0])
    window = {"start": 1.0, "end": 2.0}
    assert np.array_equal(decode(file, range, **window), expected[first : first + len(later)])
    assert count_frames(file, **window) == len(later)


def test_far_windows_of_a_video_that_begins_inside_a_group_count_as_the_whole_does(tmp_path):
    import av

    with av.open(str(tmp_path / "whole.avi"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10, options={"bf": "2", "g": "25"})
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        # Blocks that drift, which are coded by their motion.
        ground = np.random.default_rng(1).integers(60, 190, (8, 25, 3), np.uint8)
        ground = ground.repeat(8, 0).repeat(8, 1)
        for number in range(90):
            image = np.ascontiguousarray(ground[:, number : number + 96])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    file = copy_packets(tmp_path / "whole.avi", tmp_path / "a.avi", lambda number, _: number > 6)
    expected, appear = plain_frames(file), np.array(times(file))
    assert len(expected) == 84  # the first of 83 comes twice
    inside = (appear >= 6.0 - 1e-3) & (appear < 7.5 - 1e-3)
    window = {"start": 6.0, "end": 7.5}
    assert np.array_equal(decode(file, range, **window), expected[inside])
    assert times(file, **window) == pytest.approx(appear[inside])
    assert count_frames(file, **window) == inside.sum()


def test_recordings_that_were_joined_go_on_in_time(tmp_path):
    one = write_kind(tmp_path / "1.ts", "plain", count=30)
    two = write_kind(tmp_path / "2.ts", "pyramid", count=24)
    file = joined(tmp_path / "a.ts", one, two, one)
    expected = plain_frames(file)
    assert len(expected) == 84
    holds(file, expected)
    assert read_facts(Source(str(file))).restarts == 2
    assert np.array_equal(decode(file, range, start=6.0, end=7.0), expected[60:70])
    short = write_kind(tmp_path / "3.ts", "plain", count=6)
    holds(joined(tmp_path / "b.ts", *[short] * 4), np.concatenate([plain_frames(short)] * 4))


def test_an_mpeg_clock_that_jumps_back_is_not_taken_to_have_run_over(tmp_path):
    one = write_kind(tmp_path / "1.ts", "plain", count=30)

    def later(number, packet):
        packet.pts, packet.dts = (
            time + 200 / packet.time_base for time in (packet.pts, packet.dts)
        )
        return True

    late = copy_packets(one, tmp_path / "2.ts", later)
    file = joined(tmp_path / "a.ts", late, one)
    assert times(file) == pytest.approx(np.arange(60) / 10)


def media(path):
    """Media time of a frame of a video at ten frames a second: its first sample's, and a frame."""
    import av

    with av.open(str(path)) as container:
        frame = round(1 / (10 * container.streams.video[0].time_base))
        first = next(packet for packet in container.demux(video=0))
        return lambda number: first.pts - first.dts + number * frame


@pytest.mark.parametrize("kind", ["plain", "open groups", "mpeg4"])
@pytest.mark.parametrize(
    "parts", [[(1.2, 33)], [(2.0, 0)], [(1.0, 3), (1.5, 30)], [(1.0, None), (2.0, 11)]]
)
def test_what_edit_lists_show_is_all_there_is(tmp_path, kind, parts):
    file = write_kind(tmp_path / "a.mp4", kind)
    at = media(file)
    show_parts(file, [(seconds, -1 if n is None else at(n)) for seconds, n in parts])
    expected = plain_frames(file)
    assert len(expected) == pytest.approx(sum(10 * s for s, n in parts if n is not None), abs=2)
    assert np.array_equal(decode(file, range), expected)
    assert count_frames(file) == read_facts(Source(str(file))).frames == len(expected)
    appear = times(file)
    assert appear[0] == 0 and len(appear) == len(expected) and (np.diff(appear) > 0).all()
    inside = [number for number, time in enumerate(appear) if 0.5 - 1e-3 <= time < 0.999]
    assert np.array_equal(decode(file, range, start=0.5, end=1.0), expected[inside])


@pytest.mark.parametrize("parts", [[(3.0, 0), (4.0, 70)], [(2.0, 60), (3.0, 5), (1.0, 90)]])
def test_parts_that_an_edit_list_shows_follow_one_another_in_time(tmp_path, parts):
    file = write_kind(tmp_path / "a.mp4", "pyramid", count=120)
    at = media(file)
    show_parts(file, [(seconds, at(number)) for seconds, number in parts])
    whole = plain_frames(file)
    assert times(file) == pytest.approx(np.arange(len(whole)) / 10, abs=0.11)
    for window in ({"start": 2.5, "end": 4.0}, {"start": 5.3}):
        appear = np.array(times(file))
        inside = (appear >= window["start"] - 1e-3) & (appear < window.get("end", 99) - 1e-3)
        assert np.array_equal(decode(file, range, **window), whole[inside])


def test_parts_that_begin_inside_of_groups_are_counted_alike_by_windows_and_the_whole(tmp_path):
    file = write_kind(tmp_path / "a.mp4", "pyramid", count=110)
    at = media(file)
    show_parts(file, [(1.0, at(number) - at(0)) for number in (7, 9, 11)])
    whole, appear = plain_frames(file), np.array(times(file))
    for first in range(len(whole) - 4):
        window = {"start": max(0.0, appear[first] - 0.01), "end": appear[first + 4] - 0.01}
        assert np.array_equal(decode(file, range, **window), whole[first : first + 4])


def test_samples_without_a_byte_are_not_missing_and_others_are(tmp_path):
    whole = write_kind(tmp_path / "a.mp4", "pyramid")
    for numbers in ([0], [20, 21], [-1], [-1, 30]):
        file = tmp_path / f"{numbers[0]}.mp4"
        file.write_bytes(whole.read_bytes())
        empty_samples(file, numbers)
        expected = plain_frames(file)
        assert np.array_equal(decode(file, range), expected)
        assert check_one(Source(str(file)), 60) == ""
    data = file.read_bytes()
    file.write_bytes(data[: -len(data) // 4])
    for look in (read_facts, lambda source: decode(source, range), count_frames):
        with pytest.raises(DecodeError, match=r"truncated, \d+ of 46 frames are there"):
            look(Source(str(file)))


def test_a_cut_file_whose_edit_list_hides_frames_is_truncated_by_what_is_shown(tmp_path):
    file = write_kind(tmp_path / "a.mp4", "key frames alone")
    show_parts(file, [(1.0, media(file)(30))])
    assert count_frames(file) == 10
    data = bytearray(file.read_bytes())
    table = data.index(b"stco") + 12
    data[table : table + 4] = (len(data) - 20_000).to_bytes(4, "big")
    file.write_bytes(data)
    with pytest.raises(DecodeError, match=r"truncated, \d of \d+ frames are there"):
        decode(file, range)


def test_all_is_decoded_once_to_know_what_headers_do_not_tell(tmp_path, monkeypatch):
    for module in (packets, reading):
        monkeypatch.setattr(module, "order_reader", lambda stream: None)
    file = write_kind(tmp_path / "a.mkv", "mpeg4")
    holds(file, plain_frames(file))
    good = write_kind(tmp_path / "b.mp4", "mpeg4")
    wrong = copy_packets(good, tmp_path / "b.mkv", as_decoded)
    holds(wrong, plain_frames(wrong))
