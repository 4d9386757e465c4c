"""A row of a manifest: its columns and their types."""

import operator
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ivn.media.source import Source

if TYPE_CHECKING:
    import pyarrow as pa

# Left and right are what the labels of these sets are about: mirrored clips would be wrong.
NEVER_MIRRORED = frozenset({"ssv2"})


@dataclass(frozen=True)
class Row:
    """A row of a manifest; each attribute is a column of that name.

    Paths are absolute, or relative to the folder of the manifest. "", 0 and 0.0 mean unknown or
    none, unless said otherwise.

    Attributes:
        path: of the video, or of the tar that holds it.
        member: name of the video inside the tar; "" where ``path`` is the video.
        offset: of the member's first byte from the start of the tar.
        start, end: seconds from the first frame; ``end`` -1 is the end of the file.
        labels: name -> value. Several values of one name are one string, parted by ";".
        captions: texts that describe the clip.
        audio: path of a sound file beside the video.
        targets: kind -> path of a side file, such as depth, boxes, actions.
        source: data set that the clip is from; clips of ``ssv2`` are never mirrored.
        group: what no split may part, such as the film or the person; "" is the file itself.
        width, height: of a frame as shown, in pixels.
        fps: frames a second, on average.
        frames: in the file.
        duration: of the file, in seconds.
        codec: of the video, by FFmpeg's name.
        pixel_format: by FFmpeg's name, such as yuv420p.
        rotation: degrees anticlockwise by which players turn the frames: 0, 90, 180 or 270.
        mirrored: whether players then exchange left and right, as of front cameras' videos.
        stream: which of the file's streams is the video, as FFmpeg counts: from 0.
        streams: how many could be, the pictures of covers apart.
        restarts: how often the file's clock jumps back, as where recordings were joined.
        variable_rate: whether the time from frame to frame varies, or the file's clock jumps back.
        keyframe_seconds: mean time between key frames.
        bytes: of the video; those of a member within its tar.
        hash: of the video's bytes, as ``sha256:`` and 64 hexadecimal digits.
        phash: perceptual hash of some key frames.
        status: "" not looked at, "ok", or why the video cannot be used.
        decoder: the back end that fits the video; "" leaves it to the reader.
        flip: whether the clip may be mirrored.
        weight: of the clip in sampling, where sources are mixed by weight.
        extra: anything else, name -> value.
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
    """The columns of :class:`Row` and their types in Parquet."""
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


# A row's values in the order of the columns.
values_of: Callable[[Row], tuple[Any, ...]] = operator.attrgetter(
    *(column.name for column in fields(Row))
)
MAPS = ("labels", "targets", "extra")
# What stands for null: the attribute's own default, and nothing yet where that is a collection.
UNKNOWN = {
    column.name: "" if column.name == "path" else column.default
    for column in fields(Row)
    if column.name not in (*MAPS, "captions")
}
