"""Codec, size and key frames of a made clip, and an encoder opened for it."""

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Literal, get_args

from ivn.errors import RequestError

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

# No HEVC: x265 as PyAV bundles it corrupts memory on small frames. No AV1: the GPUs in use (A100,
# H100) have no decoder for it.
Codec = Literal["h264", "vp9", "mjpeg"]

# Sides of a frame that all the encoders take.
_SIDES = 2, 16384
_ENCODERS = {"h264": "libx264", "vp9": "libvpx-vp9", "mjpeg": "mjpeg"}
# Quality on each encoder's own scale, from the best to the worst, and what is taken by default:
# about as good to the eye.
_QUALITY = {"h264": (0, 51, 20), "vp9": (0, 63, 28), "mjpeg": (1, 31, 3)}
# FFmpeg's names of colour matrices by number; RGB and what is reserved are none.
_MATRICES = (1, 4, 5, 6, 7, 9)
_BT601 = 5  # in swscale's numbering
_SMPTE170M, _UNSPECIFIED = 6, 2  # the same matrix in FFmpeg's numbering, and none
_LIMITED, _FULL = 1, 2


@dataclass(frozen=True)
class Encoding:
    """The encoding of clips; every field changes the bytes.

    The fields are options of ``ivn data transcode``; see
    :class:`ivn.corpus.transcode.options.Transcode`.
    """

    codec: Codec
    crf: int
    short: int
    gop: int

    def __post_init__(self) -> None:
        if self.codec not in get_args(Codec):
            raise RequestError(f"codec {self.codec}: expected one of {', '.join(get_args(Codec))}")
        best, worst, _ = _QUALITY[self.codec]
        if not best <= self.crf <= worst:
            raise RequestError(
                f"crf {self.crf}: expected {best} (the best) to {worst} for {self.codec}"
            )
        if self.short and not 16 <= self.short <= 4320:
            raise RequestError(f"short side {self.short}: expected 16 to 4320, or 0 to keep it")
        if not 1 <= self.gop <= 10000:
            raise RequestError(
                f"{self.gop} frames from key frame to key frame: expected 1 to 10000"
            )

    @property
    def lossless(self) -> bool:
        """Whether decoding gives the very pixels that were encoded."""
        return self.codec == "h264" and self.crf == 0

    @property
    def pixel_format(self) -> str:
        return "yuvj420p" if self.codec == "mjpeg" else "yuv420p"

    @property
    def colour_range(self) -> int:
        """FFmpeg's number: JPEG has the full range, video the one that all decoders expect."""
        return _FULL if self.codec == "mjpeg" else _LIMITED


def usual_crf(codec: Codec) -> int:
    """Returns the default quality of a codec."""
    return _QUALITY[codec][2]


def even_size(width: int, height: int, short: int) -> tuple[int, int]:
    """Returns the size of made frames: no larger, the same aspect to a pixel, both sides even.

    Raises:
        ValueError: the frames are too small for an encoder.
    """
    scale = min(1.0, short / min(width, height)) if short else 1.0
    sides = [
        side // 2 * 2 if scale == 1 else 2 * round(side * scale / 2) for side in (width, height)
    ]
    low, high = _SIDES
    if min(sides) < low or max(sides) > high:
        raise ValueError(
            f"frames of {width} x {height} pixels would be {sides[0]} x {sides[1]}, "
            f"expected sides of {low} to {high}"
        )
    return sides[0], sides[1]


def matrix_of(frame: "VideoFrame") -> tuple[int, int]:
    """Returns the colour matrix to convert to, in swscale's numbers, and to record, in FFmpeg's.

    It is the frame's own, so that no colour changes; RGB becomes BT.601, every reader's default.
    """
    matrix = frame.colorspace
    if matrix in _MATRICES:
        return matrix, matrix
    return _BT601, _SMPTE170M if is_rgb(frame) else _UNSPECIFIED


def is_rgb(frame: "VideoFrame") -> bool:
    """Returns whether colours are red, green and blue, or from a palette of such."""
    return frame.format.is_rgb or frame.format.has_palette


def add_stream(
    container: "OutputContainer",
    encoding: Encoding,
    size: tuple[int, int],
    *,
    time_base: Fraction,
    rate: Fraction,
    aspect: Fraction,
    matrix: int,
) -> "VideoStream":
    """Adds a video stream with its encoder, on one thread: the same input gives the same bytes.

    Args:
        container: the file to add it to.
        encoding: encoding of the clip.
        size: width and height, even.
        time_base: seconds a tick of the frames' time stamps.
        rate: frames a second, on average.
        aspect: width over height of a pixel.
        matrix: FFmpeg's number of the colour matrix.
    """
    stream: VideoStream = container.add_stream(  # type: ignore[assignment]
        _ENCODERS[encoding.codec], rate=rate, options=_options(encoding)
    )
    stream.width, stream.height = size
    stream.pix_fmt, stream.gop_size = encoding.pixel_format, encoding.gop
    context = stream.codec_context
    context.time_base = stream.time_base = time_base
    context.thread_count = 1
    context.color_range, context.colorspace = encoding.colour_range, matrix
    if aspect > 0:
        context.sample_aspect_ratio = aspect
    return stream


def _options(encoding: Encoding) -> dict[str, str]:
    quality, dense = str(encoding.crf), encoding.gop == 1
    match encoding.codec:
        case "h264":
            # Its AVX-512 code reads memory that nobody wrote, and so each run had other bytes.
            same = {"x264-params": "cpu-independent=1"}
            # Clips of key frames are there to be read fast: no arithmetic coding, no deblocking.
            tune = {"tune": "fastdecode", "bf": "0"} if dense else {}
            if encoding.lossless:
                return {"qp": "0", "preset": "veryfast", **same, **({"bf": "0"} if dense else {})}
            return {"crf": quality, "preset": "fast", **same, **tune}
        case "vp9":
            return {"crf": quality, "b": "0", "deadline": "good", "cpu-used": "5", "row-mt": "0"}
        case "mjpeg":
            return {"qmin": quality, "qmax": quality}
