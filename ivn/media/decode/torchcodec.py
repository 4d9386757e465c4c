"""Decodes with torchcodec, on the FFmpeg libraries of the system.

PyAV's reading of the packets numbers the frames: torchcodec is asked for frames by time, and the
times that it reports must be those that were asked for. In all other cases PyAV decodes.
"""

import itertools
import math
import os

from torch import Tensor

from ivn.media.container import TimeWindow, is_indexed, opened, window_of
from ivn.media.decode import pyav
from ivn.media.decode.request import PROGRESSIVE, Backend, Choose, chosen
from ivn.media.demux.packets import PacketTable, numbers_are_certain
from ivn.media.demux.reading import frames_of, read_window
from ivn.media.orientation import orientation_of
from ivn.media.source import Source
from ivn.media.storage import read_bytes

# For these all versions of FFmpeg give the same bits: their standards define decoding exactly
# (MPEG-4's inverse transform is not), and 8 bits need no rounding.
_CODECS = ("h264", "hevc", "vp8", "vp9", "av1")
_FORMATS = ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p")


def unfit(codec: str, pixel_format: str, width: int, height: int) -> str:
    """Returns "", or one line that says why the frames would not equal PyAV's bit for bit."""
    if codec not in _CODECS:
        return f"{codec}: FFmpeg's versions decode it differently"
    if pixel_format not in _FORMATS:
        return f"{pixel_format}: FFmpeg's versions convert it differently"
    if "444" not in pixel_format and (width % 2 or height % 2):
        return f"{width} x {height}: FFmpeg stretches the chroma of odd sides"
    if pyav.is_444(codec, pixel_format):
        return f"{codec} in {pixel_format}: its pictures need the first packet"
    return ""


def decode(source: Source, choose: Choose) -> Tensor:
    """Returns the chosen frames, see :func:`ivn.media.decode.decode`."""
    with read_window(source) as reading:
        table, stream = reading.table, reading.stream
        context = stream.codec_context
        numbers = chosen(choose, table.count)
        index, base = stream.index, float(stream.time_base or 1)
        codec, pixel_format = context.codec.canonical_name, context.pix_fmt or ""
        reason = unfit(codec, pixel_format, context.width, context.height)
        # Newer versions of FFmpeg convert the colours of each field separately.
        if context.field_order not in PROGRESSIVE:
            reason = "interlaced: FFmpeg's versions convert it differently"
        if any(picture.rotated for picture in table.pictures):
            reason = "turned by messages in its stream: torchcodec reads the container's alone"
        if not is_indexed(reading.container):
            reason = "no index: torchcodec may begin to decode at no key frame"
        if table.restarts:
            reason = "its clock jumps back: its times are not those of PyAV"
    frames = None
    # With hidden frames or missing time stamps, counting by time would give other numbers.
    if numbers and numbers_are_certain(table) and not table.hidden and not reason:
        frames = _frames(source, index, base, table, numbers)
    return pyav.decode(source, choose) if frames is None else frames


def _frames(
    source: Source, index: int, base: float, table: PacketTable, numbers: list[int]
) -> Tensor | None:
    """Returns the frames with these numbers, or None where torchcodec gives any other frame."""
    from torchcodec.decoders import VideoDecoder

    ticks = [table.times[table.shown[number]] or 0 for number in numbers]
    content = read_bytes(source) if source.member else os.path.abspath(source.path)
    try:
        decoder = VideoDecoder(content, stream_index=index, dimension_order="NHWC")
        # The rotation is None without a display matrix; with one, the angle does not show
        # mirroring.
        if decoder.metadata.rotation is not None and _is_mirrored(source):
            return None
        if window_of(source) == TimeWindow():
            batch = decoder.get_frames_at(numbers)
        else:
            # A quarter of a tick later the frame is the same, also after rounding.
            batch = decoder.get_frames_played_at([(tick + 0.25) * base for tick in ticks])
    except (RuntimeError, ValueError, IndexError):
        return None  # damage that only decoding shows: PyAV reports it
    reported = (batch.pts_seconds / base).round().long().tolist()
    return batch.data.contiguous() if reported == ticks else None


def _is_mirrored(source: Source) -> bool:
    with opened(source) as (_, stream, packets):
        frames = frames_of(stream, packets, math.inf)
        return any(orientation_of(frame).mirrored for frame in itertools.islice(frames, 1))


BACKEND = Backend(
    name="torchcodec",
    library="torchcodec",
    module="torchcodec.decoders",
    package="torchcodec",
    fix='pip install "ivn[torchcodec]" and apt-get install ffmpeg',
    decode=decode,
)
