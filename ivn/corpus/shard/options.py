"""Options of ``ivn data shard``."""

from dataclasses import dataclass
from typing import Annotated

from ivn.corpus.transcode.options import ClipOptions
from ivn.options import Option, Unset


@dataclass(frozen=True, kw_only=True)
class Shard(ClipOptions):
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
        out: folder for the tars and manifest.parquet; new, or one that the same command began.
        size: smallest size of each tar but the last, in MB.
        frames: number of frames to keep of each clip, evenly spread. Without it the files are
            packed as they are, and of the options below only --max-bad has an effect.
    """

    out: Annotated[str, Option("DIR")]
    size: Annotated[int, Option("MB")] = 256
    frames: Annotated[int, Unset("N")] = 0
