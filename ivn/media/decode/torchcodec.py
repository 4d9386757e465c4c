"""torchcodec, on the FFmpeg libraries that the system has.

Which frame has which number is PyAV's word: torchcodec is asked for times, and what it gives is
compared by its own word with the time asked for. Whatever it cannot do so is decoded by PyAV.
"""

import functools
import itertools
import math
import os

from torch import Tensor

from ivn.media.container import Window, is_indexed, opened, window_of
from ivn.media.decode import pyav
from ivn.media.decode.request import PROGRESSIVE, Choose, asked
from ivn.media.demux.packets import Packets, numbers_are_certain
from ivn.media.demux.reading import frames_of, read_window
from ivn.media.facts import Facts
from ivn.media.orientation import orientation_of
from ivn.media.source import Source
from ivn.media.storage import read_bytes

name = "torchcodec"

# Bit for bit what PyAV gives, whatever the versions of FFmpeg: their standards leave decoders no
# choice (MPEG-4's inverse transform does), and 8 bits need no rounding.
_CODECS = ("h264", "hevc", "vp8", "vp9", "av1")
_FORMATS = ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p")


@functools.cache
def available() -> str:
    """``""``, or why torchcodec cannot be used here."""
    try:
        import torchcodec.decoders  # noqa: F401
    except ImportError:
        return 'torchcodec is not installed: pip install "ivn[torchcodec]"'
    except (OSError, RuntimeError) as error:
        why = str(error).strip().partition("\n")[0]
        return f"torchcodec does not load ({why}): it needs FFmpeg's libraries and torch's version"
    return ""


def claims(facts: Facts) -> str:
    """``""``, or why such a file would not have the same bits as PyAV's."""
    if facts.mirrored:
        return "mirrored: torchcodec turns frames, but does not mirror them"
    return _claims(facts.codec, facts.pixel_format, facts.width, facts.height)


def _claims(codec: str, pixel_format: str, width: int, height: int) -> str:
    if codec not in _CODECS:
        return f"{codec}: FFmpeg's versions decode it differently"
    if pixel_format not in _FORMATS:
        return f"{pixel_format}: FFmpeg's versions convert it differently"
    if "444" not in pixel_format and (width % 2 or height % 2):
        return f"{width} x {height}: FFmpeg stretches the chroma of odd sides"
    if pyav.is_444(codec, pixel_format):
        return f"{codec} in {pixel_format}: passing over its first packet breaks it"
    return ""


def decode(source: Source, choose: Choose) -> Tensor:
    """See :func:`ivn.media.decode.decode`."""
    with read_window(source) as read:
        found, stream = read.found, read.stream
        context = stream.codec_context
        numbers = asked(choose, found.count)
        index, base = stream.index, float(stream.time_base or 1)
        codec, pixel_format = context.codec.canonical_name, context.pix_fmt or ""
        unfit = _claims(codec, pixel_format, context.width, context.height)
        # Newer FFmpegs convert the colours of each field by itself.
        if context.field_order not in PROGRESSIVE:
            unfit = "interlaced: FFmpeg's versions convert it differently"
        if any(unit.turned for unit in found.units):
            unfit = (
                "turned by messages in its stream: torchcodec follows the container's word alone"
            )
        if not is_indexed(read.container):
            unfit = "no index: where it begins to decode may be no key frame"
        if found.restarts:
            unfit = "its clock jumps back: times are not those of the file"
    frames = None
    # Hidden frames and missing time stamps: numbers are not what counting by time gives.
    if numbers and numbers_are_certain(found) and not found.hidden and not unfit:
        frames = _frames(source, index, base, found, numbers)
    return pyav.decode(source, choose) if frames is None else frames


def _frames(
    source: Source, index: int, base: float, found: Packets, numbers: list[int]
) -> Tensor | None:
    """The frames with these numbers, or None where it gives anything else."""
    from torchcodec.decoders import VideoDecoder

    ticks = [found.times[found.shown[number]] or 0 for number in numbers]
    content = read_bytes(source) if source.member else os.path.abspath(source.path)
    try:
        decoder = VideoDecoder(content, stream_index=index, dimension_order="NHWC")
        # None where the container has no display matrix; else the angle in it is not all.
        if decoder.metadata.rotation is not None and _is_mirrored(source):
            return None
        if window_of(source) == Window():
            batch = decoder.get_frames_at(numbers)
        else:
            # A quarter of a tick later: seconds are rounded, and the frame is still the same.
            batch = decoder.get_frames_played_at([(tick + 0.25) * base for tick in ticks])
    except (RuntimeError, ValueError, IndexError):
        return None  # damage that only decoding shows: the reference says what it is
    found = (batch.pts_seconds / base).round().long().tolist()
    return batch.data.contiguous() if found == ticks else None


def _is_mirrored(source: Source) -> bool:
    with opened(source) as (_, stream, packets):
        frames = frames_of(stream, packets, math.inf)
        return any(orientation_of(frame).mirrored for frame in itertools.islice(frames, 1))
