"""Less is decoded, and the frames are the same."""

import os
import random
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from ivn.errors import DecodeError
from ivn.media.decode import decode, frames_in_order, pyav, torchcodec
from ivn.media.demux import packets
from ivn.media.demux.bitstream import CodedPicture, _h264, _h265, _vp9
from ivn.media.demux.packets import PacketTable, decoding_runs, numbers_are_certain
from ivn.media.demux.reading import read_window
from ivn.media.source import Source
from tests.media.decode.clips import KINDS, moving, needs, plain_frames, write_kind
from tests.media.videos import BUNDLED

pytest.importorskip("av")
FOLDER = os.environ.get("IVN_TEST_CLIPS", "")


@pytest.fixture(scope="module")
def coded(tmp_path_factory):
    """Kind and suffix -> a file, made once."""
    folder = tmp_path_factory.mktemp("coded")

    def made(kind, suffix):
        path = folder / f"{kind.replace(' ', '-')}{suffix}"
        return path if path.exists() else write_kind(path, kind)

    return made


@pytest.fixture
def selections(monkeypatch):
    """Of each decode that chose packets, whether it gave the frames."""
    outcomes = []
    selected = pyav._selected

    def noted(*arguments):
        frames = selected(*arguments)
        outcomes.append(frames is not None)
        return frames

    monkeypatch.setattr(pyav, "_selected", noted)
    return outcomes


def read(path):
    with read_window(Source(str(path))) as found:
        return found.table


def draws(count, seed):
    """Choices of 1, 2, 5 and all frames."""
    draw = random.Random(seed)
    return [[draw.randrange(count) for _ in range(few)] for few in (1, 1, 2, 5)] + [range(count)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
@pytest.mark.parametrize("kind", KINDS)
def test_any_choice_gives_the_frames_of_decoding_everything(coded, selections, kind, suffix):
    if "vp" in kind and (suffix == ".ts" or (kind, suffix) == ("vp8", ".mp4")):
        pytest.skip("no such codec in this container")
    file = coded(kind, suffix)
    expected = plain_frames(file)
    for numbers in draws(len(expected), len(kind)):
        frames = decode(file, lambda total, numbers=numbers: numbers)
        assert np.array_equal(frames, expected[list(numbers)])
    if kind in ("mpeg4", "no key frames"):
        assert set(selections) <= {True}
    elif kind != "interlaced":
        assert selections == [True] * 5


@pytest.mark.parametrize("kind", ["plain", "pyramid", "open groups", "hevc", "hevc open groups"])
def test_any_window_gives_the_frames_of_decoding_everything(coded, selections, kind):
    file = coded(kind, ".mkv")
    with_times = plain_frames(file)
    for first, last in ((0, 48), (3, 4), (11, 30), (24, 47)):
        window = {"start": first / 10, "end": last / 10}
        for numbers in draws(last - first, first):
            frames = decode(file, lambda total, numbers=numbers: numbers, **window)
            assert np.array_equal(frames, with_times[first:last][list(numbers)])
    assert all(selections) and selections


@pytest.mark.parametrize("file", BUNDLED, ids=lambda file: file.name)
def test_any_choice_of_a_real_clip_gives_the_frames_of_decoding_everything(file):
    expected = plain_frames(file)
    for numbers in draws(len(expected), 7)[:4]:
        frames = decode(file, lambda total, numbers=numbers: numbers)
        assert np.array_equal(frames, expected[numbers])


def test_what_nothing_is_made_from_is_left_out(coded):
    found = read(coded("no references to B", ".mp4"))
    spare = sum(picture.disposable for picture in found.pictures)
    assert 20 < spare < 40
    (run,) = decoding_runs(found, {found.shown[29]})
    assert len(run.numbers) <= 30 - spare // 2
    (run,) = decoding_runs(found, set(found.shown[:30]))
    assert len(run.numbers) == 30


def test_groups_of_pictures_without_a_wanted_frame_are_passed_over(coded):
    found = read(coded("pyramid", ".mp4"))
    assert sum(picture.entry_point for picture in found.pictures) == 4
    runs = decoding_runs(found, {found.shown[0], found.shown[37]})
    assert [run.numbers for run in runs] == [[0], [36, *runs[1].numbers[1:]]]
    (run,) = decoding_runs(read(coded("key frames alone", ".mp4")), {40})
    assert run.numbers == [40]


def test_frames_before_an_open_entry_begin_at_the_entry_before(coded):
    found = read(coded("hevc layers", ".mp4"))
    entries = [number for number, picture in enumerate(found.pictures) if picture.entry_point]
    leading = next(
        n for n, time in enumerate(found.times) if entries[1] < n and time < found.times[entries[1]]
    )
    (run,) = decoding_runs(found, {leading})
    assert run.numbers[0] == entries[0]
    behind = max(found.shown[:30], key=found.times.__getitem__)
    assert all(
        found.times[n] >= found.times[run.numbers[0]]
        for n in decoding_runs(found, {behind})[0].numbers
    )


@pytest.mark.parametrize("kind", ["hevc single B", "hevc layers"])
def test_frames_that_a_cut_file_no_longer_shows_have_no_number(coded, tmp_path, kind):
    import av

    whole, cut = coded(kind, ".mkv"), tmp_path / "cut.mkv"
    found = read(whole)
    begin = [number for number, picture in enumerate(found.pictures) if picture.entry_point][1]
    assert any(time < found.times[begin] for time in found.times[begin:])
    with av.open(str(whole)) as source, av.open(str(cut), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in [packet for packet in source.demux(video=0) if packet.size][begin:]:
            packet.stream = stream
            container.mux(packet)
    expected = plain_frames(cut)
    assert len(expected) < len(found.times) - begin
    for numbers in draws(len(expected), 4):
        frames = decode(cut, lambda total, numbers=numbers: [min(n, total - 1) for n in numbers])
        assert np.array_equal(frames, expected[list(numbers)])


@pytest.mark.parametrize(
    ("data", "entry", "hidden"),
    [
        (b"\x82\x00", True, False),
        (b"\x80\x00", True, True),
        (b"\x86\x00", False, False),
        (b"\x84\x00", False, True),
        (b"\x88\x00", False, False),  # shows one that is there
        (b"\x84\xc1", False, False),  # several, of which the last is shown
        (b"\xb1\x00", True, False),  # profile 3
        (b"\xb2\x00", False, True),
    ],
)
def test_headers_of_vp9_tell_what_is_shown(data, entry, hidden):
    picture = _vp9(data)
    assert (picture.entry_point, picture.splice) == (entry, hidden)


@pytest.mark.parametrize(("read", "header"), [(_h264, b"\x06"), (_h265, b"\x4e\x01")])
def test_a_message_of_orientation_is_found_among_others(read, header):
    def turned(*messages):
        return read(b"\0\0\1" + header + b"".join(messages) + b"\x80", 0).rotated

    orientation = b"\x2f\x02\xc0\x01"
    # 47 bytes of text, and a message of kind 47 + 255.
    text, other = b"\x05\x30" + b"\x2f" * 48, b"\xff\x2f\x01\x2f"
    escaped, long = b"\x01\x04\0\0\3\0\x2f", b"\x05\xff\x01" + b"\x2f" * 256
    assert turned(orientation) and turned(text, other, escaped, long, orientation)
    assert not turned(text) and not turned(other) and not turned(escaped, long)


def test_a_packet_that_shows_nothing_leaves_numbers_to_decoding():
    pictures = [
        CodedPicture(True, False),
        CodedPicture(False, False, splice=True),
        CodedPicture(False, False),
    ]
    found = PacketTable(3, [0, 1, 2], pictures, frozenset(), [0, 1, 2], [])
    assert not numbers_are_certain(found) and decoding_runs(found, {2}) == []
    assert numbers_are_certain(replace(found, pictures=[CodedPicture(True, False)] * 3))
    assert not numbers_are_certain(replace(found, pictures=[CodedPicture(False, False)] * 3))
    assert numbers_are_certain(replace(found, pictures=[]))


def test_a_picture_of_a_lower_layer_is_kept_for_those_of_higher_ones():
    pictures = [
        CodedPicture(True, False),
        CodedPicture(False, True, 0),
        CodedPicture(False, True, 1),
        CodedPicture(False, True, 1),
    ]
    found = PacketTable(4, [0, 2, 1, 3], pictures, frozenset(), [0, 2, 1, 3], [])
    assert [run.numbers for run in decoding_runs(found, {3})] == [[0, 1, 3]]


def test_frames_that_were_patched_up_are_those_of_decoding_everything(
    coded, tmp_path, selections, monkeypatch
):
    data = bytearray(coded("plain", ".mkv").read_bytes())
    file = tmp_path / "a.mkv"
    outcomes = set()

    def late(total):
        return [max(total - 3, 0), total - 1]

    for place in range(4000, len(data) - 4000, 2500):
        damaged = data.copy()
        damaged[place : place + 40] = bytes(40)
        file.write_bytes(damaged)
        try:
            frames = decode(file, late)
        except DecodeError:
            continue
        selected = selections[-1]
        with monkeypatch.context() as everything:
            everything.setattr(pyav, "decoding_runs", lambda *_: [])
            try:
                expected = decode(file, late)
            except DecodeError:
                assert selected, place  # damage in what is left out does no harm
                continue
        outcomes.add((selected, np.array_equal(frames, expected)))
    assert (False, True) in outcomes
    assert {same for _, same in outcomes} == {True}


def flipped(data, seed, count=4):
    draw, damaged = random.Random(seed), bytearray(data)
    for _ in range(count):
        damaged[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return bytes(damaged)


def some(total):
    return [total // 3, max(total - 2, 0)]


@pytest.fixture
def both_ways(tmp_path, monkeypatch):
    """Frames of a file's bytes by selection, and of decoding everything; None is an error."""

    def decoded(data):
        file = tmp_path / "a.mp4"
        file.write_bytes(data)
        try:
            selected = decode(file, some)
        except DecodeError:
            selected = None
        with monkeypatch.context() as everything:
            everything.setattr(pyav, "decoding_runs", lambda *_: [])
            try:
                return selected, decode(file, some)
            except DecodeError:
                return selected, None

    return decoded


@pytest.mark.parametrize("kind", ["hevc", "many slices"])
def test_damage_that_no_decoder_notices_makes_no_frame_worse_than_decoding_everything(
    coded, both_ways, kind
):
    data = coded(kind, ".mp4").read_bytes()
    whole, _ = both_ways(data)
    outcomes = []
    for seed in range(30, 60):
        selected, everything = both_ways(flipped(data, seed))
        if everything is None:  # damage in what is left out does no harm
            continue
        assert selected is not None, seed
        for one, other, expected in zip(selected, everything, whole, strict=True):
            good = np.array_equal(other, expected)
            assert not good or np.array_equal(one, expected), seed
            outcomes.append(good)
    assert set(outcomes) == {True, False}


@pytest.mark.skipif(not FOLDER, reason="IVN_TEST_CLIPS is not set")
def test_damage_that_the_decoder_notices_gives_the_frames_of_decoding_everything(both_ways):
    # What stands for a frame that is lost depends on which were decoded before.
    data = (Path(FOLDER) / "tc_h265_10bits.mp4").read_bytes()
    for seed in range(12):
        selected, everything = both_ways(flipped(data, seed, 8))
        same = selected is None if everything is None else np.array_equal(selected, everything)
        assert same, seed


@pytest.mark.skipif(not FOLDER, reason="IVN_TEST_CLIPS is not set")
@pytest.mark.parametrize("backend", ["pyav", pytest.param("torchcodec", marks=needs(torchcodec))])
def test_late_frames_of_444_are_right_though_the_first_packet_is_passed_over(backend, selections):
    """It names the x264 that made the file, one with a mistake that decoders have to repeat."""
    file, wanted = Path(FOLDER) / "iio_cockatoo.mp4", [155, 244]
    shown = enumerate(frames_in_order(file))
    expected = [frame.image() for number, frame in shown if number in wanted]
    frames = decode(file, lambda _: wanted, backend=backend)
    assert torch.equal(frames, torch.stack(expected)) and selections == [True]


def test_long_windows_are_read_twice_instead_of_held(coded, selections, monkeypatch):
    expected = plain_frames(coded("pyramid", ".mp4"))
    monkeypatch.setattr(packets, "_MAX_HELD_BYTES", 100)
    assert not read(coded("pyramid", ".mp4")).held
    for kind in ("pyramid", "mpeg4"):
        file = coded(kind, ".mp4")
        expected = plain_frames(file)
        for numbers in draws(48, 3):
            frames = decode(file, lambda total, numbers=numbers: numbers)
            assert np.array_equal(frames, expected[list(numbers)])
    assert selections == [True] * 5


def test_still_pictures_that_change_size_come_at_the_size_of_the_first(tmp_path):
    import av

    file = tmp_path / "a.mkv"
    with av.open(str(file), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for number, size in enumerate([(64, 48)] * 3 + [(96, 64)] * 3):
            encoder = av.CodecContext.create("mjpeg", "w")
            encoder.width, encoder.height = size
            encoder.pix_fmt, encoder.time_base = "yuvj420p", Fraction(1, 10)
            image = moving(6, size[1], size[0])[number]
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuvj420p")
            frame.pts = number
            for packet in [*encoder.encode(frame), *encoder.encode(None)]:
                packet.stream, packet.pts, packet.dts = stream, number, number
                packet.time_base = Fraction(1, 10)
                container.mux(packet)
    expected = plain_frames(file)
    assert expected.shape == (6, 48, 64, 3)
    for numbers in ([4], [0, 5], [1, 2]):
        assert np.array_equal(decode(file, lambda total, n=numbers: n), expected[numbers])


@pytest.mark.parametrize("amiss", ["disposable", "entry_point"])
def test_packets_that_are_not_what_they_say_cost_time_and_no_frame(
    coded, selections, monkeypatch, amiss
):
    """What would be wrong frames if the packets' word were all there is."""
    file = coded("pyramid", ".mp4")
    expected = plain_frames(file)
    picture_reader = packets.picture_reader

    def lying(stream):
        read = picture_reader(stream)

        def lie(data):
            picture = read(data)
            changed = {"entry_point": picture.entry_point, "disposable": picture.disposable} | {
                amiss: True
            }
            return packets.CodedPicture(**changed)

        return lie

    monkeypatch.setattr(packets, "picture_reader", lying)
    for numbers in ([5], [30], [47], [7, 8, 20]):
        frames = decode(file, lambda total, numbers=numbers: numbers)
        assert np.array_equal(frames, expected[numbers])
    assert False in selections


@pytest.mark.skipif(not FOLDER, reason="IVN_TEST_CLIPS is not set")
@pytest.mark.slow
def test_any_choice_of_the_folders_clips_gives_the_frames_of_decoding_everything():
    from tests.media.test_real_clips import UNDECODABLE

    for file in sorted(Path(FOLDER).glob("*.*")):
        large = file.stat().st_size > 400_000 and file.suffix != ".webm"
        if file.name in UNDECODABLE or file.suffix == ".tsv" or large:
            continue
        every = decode(file, range)
        for numbers in draws(len(every), 5)[:4]:
            frames = decode(file, lambda total, numbers=numbers: numbers)
            assert np.array_equal(frames, every[numbers]), (file.name, numbers)
