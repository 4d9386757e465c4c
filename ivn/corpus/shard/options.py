"""Options of ``ivn data shard``."""

from dataclasses import dataclass
from typing import Annotated, Literal

from ivn.options import Option, Positional, Unset


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Pack videos into tars in WebDataset's layout, with manifest.parquet as their index.
    $ ivn data shard M.parquet --out DIR
    $ ivn data shard M.parquet --out DIR --frames 32

    The tars are DIR/shard-000000.tar and so on. With --frames each clip is encoded again with that
    many of its frames, each a key frame, so that reading some of them costs a fraction. See
    docs/data.md#shards for what is in the tars, and docs/data.md#clips-of-some-frames for what
    --frames changes.

    A tar gets its name after it has been read again and the bytes of each clip have the right
    hash. The same manifest and options give the same bytes, whatever the number of workers and
    however often the command was stopped. After any kind of stop, the same command writes the tars
    that are not there yet; the manifest must then be the same to the byte, and may have moved
    together with its videos. Nothing is overwritten.

    Attributes:
        manifest: manifest of the videos, such as ivn data index writes.
        out: folder for the tars and manifest.parquet; new, or one that the same command began.
        size: smallest size of each tar but the last, in MB.
        frames: number of frames to keep of each clip, evenly spread. Without it the files are
            packed as they are, and of the options below only --max-bad has an effect.
        short: largest short side of a frame, in pixels; 0 keeps every size. Nothing is enlarged,
            and sides become even.
        codec: codec of the clips: h264 is read by everything, vp9 is smaller and slow to encode,
            mjpeg is larger and fastest to read.
        crf: quality on the codec's own scale, where less is better; by default 20 for h264, 28 for
            vp9 and 3 for mjpeg. 0 is lossless in h264.
        workers: number of clips that are encoded at the same time; one per core by default.
        seconds: time limit per clip, in seconds.
        max_bad: largest share of rows with an unusable video with which the command succeeds.
    """

    manifest: Annotated[str, Positional("M.parquet")]
    out: Annotated[str, Option("DIR")]
    size: Annotated[int, Option("MB")] = 256
    frames: Annotated[int, Unset("N")] = 0
    short: Annotated[int, Option("PIXELS")] = 256
    codec: Literal["h264", "vp9", "mjpeg"] = "h264"
    crf: Annotated[int, Unset("N")] = -1
    workers: Annotated[int, Unset("N")] = 0
    seconds: Annotated[float, Option("S")] = 3600.0
    max_bad: Annotated[float, Option("SHARE")] = 0.1
