"""The columns of a manifest's row and their types."""

import operator
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ivn.media.source import Source

if TYPE_CHECKING:
    import pyarrow as pa

# Labels of these data sets distinguish left from right: mirrored clips would be wrong.
NEVER_MIRRORED = frozenset({"ssv2"})


@dataclass(frozen=True)
class Row:
    """A row of a manifest: one source with its facts. Each attribute is a column of that name.

    Paths are absolute, or relative to the folder of the manifest. Unless an entry says otherwise,
    "", 0 and 0.0 mean unknown or none.

    Attributes:
        path: path of the video, or of the tar with the video.
        member: name of the video inside the tar; "" where ``path`` is the video.
        offset: position of the member's first byte in the tar.
        start, end: times in seconds from the first frame; ``end`` -1 is the end of the file.
        labels: name -> value of each label. Several values of one name are one string, separated by
            ";".
        captions: texts that describe the clip.
        audio: path of a sound file of the video.
        targets: kind -> path of a side file, such as depth, boxes, actions.
        source: name of the data set; clips of ``ssv2`` are never mirrored.
        group: name shared by sources that no split may separate, such as those of one film; the
            file itself where it is "".
        width, height: pixels of a frame as it is shown.
        fps: average number of frames per second.
        frames: number of frames in the file.
        duration: duration of the file, in seconds.
        codec: FFmpeg's name of the codec.
        pixel_format: FFmpeg's name of the pixel format, such as yuv420p.
        rotation: angle by which players turn the frames, anticlockwise, in degrees: 0, 90, 180 or
            270.
        mirrored: whether players then exchange left and right, as for videos of front cameras.
        stream: index of the video stream in the file, from 0.
        streams: number of video streams, cover pictures excepted.
        restarts: number of times that the file's clock jumps back, as where recordings were joined.
        variable_rate: whether the time between frames varies, or the file's clock jumps back.
        keyframe_seconds: mean time between key frames, in seconds.
        bytes: size of the video; for a member of a tar, its own size.
        hash: hash of the video's bytes: ``sha256:`` and 64 hexadecimal digits.
        phash: perceptual hash of eight frames, evenly spread.
        status: "" for a video that was not checked, "ok" for a usable one, otherwise the reason why
            it is unusable.
        decoder: name of the back end that fits the video; "" where the reader decides.
        flip: whether the clip may be mirrored.
        weight: relative frequency of the clip in sampling.
        extra: name -> value of anything else.
    """

    path: str
    member: str = ""
    offset: int = 0
    start: float = 0.0
    end: float = -1.0
    labels: Mapping[str, str] = field(default_factory=dict)
    captions: Sequence[str] = ()
    audio: str = ""
    targets: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    group: str = ""
    width: int = 0
    height: int = 0
    fps: float = 0.0
    frames: int = 0
    duration: float = 0.0
    codec: str = ""
    pixel_format: str = ""
    rotation: int = 0
    mirrored: bool = False
    stream: int = 0
    streams: int = 0
    restarts: int = 0
    variable_rate: bool = False
    keyframe_seconds: float = 0.0
    bytes: int = 0
    hash: str = ""
    phash: str = ""
    status: str = ""
    decoder: str = ""
    flip: bool = True
    weight: float = 1.0
    extra: Mapping[str, str] = field(default_factory=dict)

    def as_source(self, folder: str | os.PathLike[str] = "") -> Source:
        """Returns the video and the window of it, without labels, flip and decoder.

        Args:
            folder: folder of the manifest, which a relative path is joined to.
        """
        # A size is of use with a place alone: without one the member is looked up by its name.
        placed = self.member and self.offset
        return Source(
            os.fspath(Path(folder, self.path)),
            start=max(self.start, 0.0),
            end=self.end if self.end >= 0 else -1.0,
            member=self.member,
            offset=self.offset,
            size=self.bytes if placed else 0,
        )


def schema() -> "pa.Schema":
    """Returns the columns of :class:`Row` with their types in Parquet."""
    import pyarrow as pa

    text, words = pa.string(), pa.map_(pa.string(), pa.string())
    types: dict[str, pa.DataType] = {
        "path": text,
        "member": text,
        "offset": pa.int64(),
        "start": pa.float64(),
        "end": pa.float64(),
        "labels": words,
        "captions": pa.list_(text),
        "audio": text,
        "targets": words,
        "source": text,
        "group": text,
        "width": pa.int32(),
        "height": pa.int32(),
        "fps": pa.float64(),
        "frames": pa.int64(),
        "duration": pa.float64(),
        "codec": text,
        "pixel_format": text,
        "rotation": pa.int32(),
        "mirrored": pa.bool_(),
        "stream": pa.int32(),
        "streams": pa.int32(),
        "restarts": pa.int32(),
        "variable_rate": pa.bool_(),
        "keyframe_seconds": pa.float64(),
        "bytes": pa.int64(),
        "hash": text,
        "phash": text,
        "status": text,
        "decoder": text,
        "flip": pa.bool_(),
        "weight": pa.float64(),
        "extra": words,
    }
    return pa.schema([pa.field(name, kind) for name, kind in types.items()])


# Returns a row's values in the order of the columns.
values_of: Callable[[Row], tuple[Any, ...]] = operator.attrgetter(
    *(column.name for column in fields(Row))
)
MAPS = ("labels", "targets", "extra")
# Values in place of null: the defaults of attributes, except for collections.
UNKNOWN = {
    column.name: "" if column.name == "path" else column.default
    for column in fields(Row)
    if column.name not in (*MAPS, "captions")
}
