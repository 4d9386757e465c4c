"""Of several video streams the one is decoded that the ffmpeg command takes, by everybody."""

import io
import shutil
import subprocess

import pytest
import torch
from rich.console import Console

from ivn.corpus.index.probing import FactsReader
from ivn.corpus.progress import watching
from ivn.corpus.resumable import Passed
from ivn.data.manifest.parquet import Row
from ivn.media.decode import decode, frames_in_order, torchcodec
from ivn.media.facts import read_facts
from ivn.media.source import Source
from tests.media.decode.clips import needs
from tests.media.videos import CASES, numbered_frames

av = pytest.importorskip("av")

DEFAULT = av.stream.Disposition.default
COVER = av.stream.Disposition.attached_pic
SMALL, LARGE, HUGE = (48, 32), (96, 64), (2560, 2048)


def write_streams(path, *streams):
    """Frames of stream ``i`` are grey of value ``50 + 50 i``.

    Args:
        streams: width and height of each, its disposition, and how many frames it has.
    """
    with av.open(str(path), "w") as container:
        opened = []
        for (width, height), disposition, _ in streams:
            cover = disposition == COVER
            stream = container.add_stream("mjpeg" if cover else "libx264", rate=10)
            stream.width, stream.height = width, height
            stream.pix_fmt = "yuvj420p" if cover else "yuv420p"
            stream.disposition = disposition
            if not cover:
                stream.options = {"preset": "ultrafast"}
            opened.append(stream)
        packets = []
        for number, stream in enumerate(opened):
            grey = numbered_frames(1, stream.height, stream.width)[0] + 50 + 50 * number
            for _ in range(streams[number][2]):
                packets += stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24"))
            packets += stream.encode(None)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


# Name of the file; streams; which the ffmpeg command takes.
CHOICES = {
    "the larger": ("a.mkv", [(SMALL, 0, 4), (LARGE, 0, 4)], 1),
    "the larger, though it comes first": ("a.mkv", [(LARGE, 0, 4), (SMALL, 0, 4)], 0),
    "the default": ("a.mkv", [(LARGE, 0, 4), (SMALL, DEFAULT, 4)], 1),
    "the default of an MP4": ("a.mp4", [(SMALL, DEFAULT, 4), (LARGE, 0, 4)], 0),
    "the larger default": ("a.mp4", [(SMALL, DEFAULT, 4), (LARGE, DEFAULT, 4)], 1),
    "the first of equals": ("a.mkv", [(LARGE, 0, 4), (LARGE, 0, 4)], 0),
    "the middle one of three": ("a.ts", [(SMALL, 0, 4), (LARGE, 0, 4), (LARGE, 0, 4)], 1),
    "five million pixels more": ("a.mkv", [(SMALL, DEFAULT, 1), (HUGE, 0, 1)], 1),
    "one that has packets": ("a.mkv", [(LARGE, DEFAULT, 0), (SMALL, 0, 4)], 1),
    "no cover, though it is larger": ("a.mp4", [(SMALL, 0, 4), (LARGE, COVER, 1)], 0),
}


@pytest.mark.parametrize("choice", CHOICES)
def test_the_stream_is_the_one_that_the_ffmpeg_command_takes(tmp_path, choice):
    name, streams, taken = CHOICES[choice]
    file = write_streams(tmp_path / name, *streams)
    (width, height), _, count = streams[taken]
    grey = 50.0 + 50 * taken
    frames = decode(file, range)
    assert frames.shape == (count, height, width, 3)
    assert abs(frames.float().mean() - grey) < 3
    assert all(abs(one.image().float().mean() - grey) < 3 for one in frames_in_order(file))
    facts = read_facts(Source(str(file)))
    candidates = sum(disposition != COVER for _, disposition, _ in streams)
    assert (facts.stream, facts.streams) == (taken, candidates)
    assert (facts.width, facts.height, facts.frames) == (width, height, count)
    if not torchcodec.BACKEND.available():
        assert torch.equal(decode(file, range, backend="torchcodec"), frames)
    if shutil.which("ffmpeg"):
        ran = subprocess.run(
            ["ffmpeg", "-v", "error", "-i", file, "-f", "rawvideo", "-pix_fmt", "gray", "-"],
            capture_output=True,
            check=True,
        )
        pixels = torch.frombuffer(bytearray(ran.stdout), dtype=torch.uint8)
        assert len(pixels) == width * height * count
        assert abs(pixels.float().mean() - grey) < 3


def test_a_window_is_one_of_the_stream_that_is_taken():
    file = CASES / "two-sizes.mp4"
    whole = decode(file, range)
    assert whole.shape == (48, 64, 96, 3)
    squares = whole[:, 8, 8, 0].float() - torch.tensor([20.0 + 3 * i for i in range(48)])
    assert squares.abs().max() < 4
    assert torch.equal(decode(file, range, start=2.0, end=3.0), whole[20:30])


@needs(torchcodec)
def test_torchcodec_is_told_the_stream(monkeypatch):
    def refused(source, choose):
        raise AssertionError("left to PyAV")

    expected = decode(CASES / "two-sizes.mp4", range)
    monkeypatch.setattr(torchcodec.pyav, "decode", refused)
    assert torch.equal(decode(CASES / "two-sizes.mp4", range, backend="torchcodec"), expected)


def test_files_with_several_streams_or_a_clock_that_jumps_back_are_named():
    console = Console(file=io.StringIO(), soft_wrap=True)
    with watching(console, total=None) as report:
        for name in ("plain.mp4", "two-sizes.mp4", "clock-restarts.ts", "mirrored.mp4"):
            columns = FactsReader(facts=True, hashed=False)(Source(str(CASES / name)))
            report(Passed(), Row(name, **columns))
    # A bar that is no terminal's may end in an empty line.
    assert console.file.getvalue().rstrip("\n").splitlines() == [
        "two-sizes.mp4: 2 video streams, of which stream 1 (96 x 64) is taken",
        "clock-restarts.ts: its clock jumps back once: what follows is taken to go on in time",
    ]
