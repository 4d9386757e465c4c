"""Decoding of a made file from beginning to end, and its comparison with the encoder's input."""

import math
from fractions import Fraction
from itertools import zip_longest

from ivn.corpus.transcode.encode import Put, digest
from ivn.errors import DecodeError
from ivn.media.container import opened
from ivn.media.demux.reading import frames_of
from ivn.media.source import Source


def verify(path: str, put: Put, name: str) -> None:
    """Raises DecodeError, which names the video, unless the file holds the encoder's input.

    Every frame must decode without a complaint; number, size and times of frames and the end of
    the last one must be the same; if the encoding is lossless, the pixels, too.

    Args:
        path: path of the file.
        put: the encoder's input.
        name: name of the original video.
    """

    def wrong(what: str) -> DecodeError:
        return DecodeError(f"{name}: its copy was made wrongly: {what}")

    # Frames that a decoder patched up, instead of giving up on them, count as damage here.
    strict = {"err_detect": "explode"}
    count = 0
    try:
        with opened(Source(path)) as (_, stream, packets):
            stream.codec_context.options = {**stream.codec_context.options, **strict}
            base = stream.time_base or Fraction(1)
            for tick, frame in zip_longest(put.ticks, frames_of(stream, packets, math.inf)):
                if tick is None or frame is None:
                    break
                size = frame.width, frame.height
                if size != (put.width, put.height):
                    raise wrong(f"frame {count} is {size[0]} x {size[1]}")
                at, due = (frame.pts or 0) * base, tick * put.time_base
                if abs(at - due) > base:
                    raise wrong(f"frame {count} is at {float(at):.4f} s, not {float(due):.4f} s")
                if frame.is_corrupt:
                    raise wrong(f"frame {count} is damaged")
                if put.digests and digest(frame) != put.digests[count]:
                    raise wrong(f"frame {count} has other pixels")
                count += 1
            seconds = float((stream.duration or 0) * base)
    except DecodeError as error:
        raise wrong(str(error)) from error
    if count != len(put.ticks):
        raise wrong(f"{count} frames, expected {len(put.ticks)}")
    if abs(seconds - put.seconds) > max(0.002, 2 * float(put.time_base)):
        raise wrong(f"{seconds:.4f} s long, expected {put.seconds:.4f} s")
