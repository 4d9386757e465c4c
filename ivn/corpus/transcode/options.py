"""Options of ``ivn data transcode``, and those that it shares with ``ivn data shard``."""

from dataclasses import dataclass
from typing import Annotated

from ivn.corpus.limits import Limits
from ivn.corpus.transcode.encoding import Codec, Encoding, usual_crf
from ivn.options import Option, Positional, Unset


@dataclass(frozen=True, kw_only=True)
class ClipOptions(Limits):
    """Options of commands that encode the videos of a manifest again.

    Attributes:
        manifest: manifest of the videos, such as ivn data index writes.
        short: largest short side of a frame, in pixels; 0 keeps every size. Nothing is enlarged,
            and sides become even.
        codec: codec of the clips: h264 is read by everything, vp9 is smaller and slow to encode,
            mjpeg is larger and fastest to read.
        crf: quality on the codec's own scale, where less is better; by default 20 for h264, 28 for
            vp9 and 3 for mjpeg. 0 is lossless in h264.
    """

    manifest: Annotated[str, Positional("M.parquet")]
    short: Annotated[int, Option("PIXELS")] = 256
    codec: Codec = "h264"
    crf: Annotated[int, Unset("N")] = -1
    seconds: Annotated[float, Option("S")] = 3600.0
    max_bad: Annotated[float, Option("SHARE")] = 0.1

    def encoding(self, *, gop: int) -> Encoding:
        """Returns the encoding with these key frames.

        Raises:
            RequestError: a value is out of its range.
        """
        crf = usual_crf(self.codec) if self.crf == -1 else self.crf
        return Encoding(self.codec, crf, self.short, gop)


@dataclass(frozen=True, kw_only=True)
class Transcode(ClipOptions):
    """Encode videos again for training: smaller, with frequent key frames and without sound.
    $ ivn data transcode M.parquet --out DIR

    DIR/manifest.parquet has a row of the new file for each row of M.parquet. Frames are turned
    upright and resized, and keep their time stamps. If a row is a window of its video, only that
    window is encoded. See docs/data.md#transcoded-clips for what the new manifest says.

    Each new file is decoded from beginning to end before it gets its name: as many frames, of the
    right size, at the right times, undamaged, and with --crf 0 the very pixels that were encoded.
    An unusable video is named once with its reason, left out and counted; rows whose status is a
    reason are not tried. Where too many videos are unusable, no manifest is written and the exit
    code is 1; finished clips are kept. After any kind of stop, the same command continues.
    Nothing is overwritten.

    Attributes:
        out: folder for the clips and manifest.parquet; new, or one that the same command began.
        gop: largest number of frames from key frame to key frame; 1 makes every frame a key frame.
    """

    out: Annotated[str, Option("DIR")]
    gop: Annotated[int, Option("N")] = 30
