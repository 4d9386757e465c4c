"""One clip made into a file: encoded, decoded to verify it, then named."""

import hashlib
import os
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ivn.corpus.transcode.encode import encode
from ivn.corpus.transcode.encoding import Encoding
from ivn.corpus.transcode.verify import verify
from ivn.data.manifest.parquet import Row
from ivn.durable import new_file
from ivn.errors import WriteError
from ivn.media.decode import route
from ivn.media.facts import read_facts
from ivn.media.source import Source
from ivn.media.storage import hash_of, name_of

_STEM = 40  # characters of the original's name that stay readable in that of its copy


@dataclass(frozen=True)
class ClipTask:
    """A clip to make.

    Attributes:
        rows: rows of the manifest that the clip is for.
        source: the video and its window.
        file: absolute path of the clip.
        encoding: encoding of the clip.
        frames: number of frames to keep; 0 keeps all.
    """

    rows: tuple[Row, ...]
    source: Source
    file: str
    encoding: Encoding
    frames: int = 0


@dataclass(frozen=True)
class Made:
    """A file that was made and verified.

    Attributes:
        columns: columns of its rows, by name: its facts, ``hash`` among them.
        of: number of frames that it was made of; 0 if it was there already.
    """

    columns: dict[str, Any]
    of: int


@dataclass(frozen=True)
class Stopped:
    """A failure to write a file, for a reason that will stop all others, too.

    Attributes:
        reason: one line with the file.
    """

    reason: str


def make(task: ClipTask) -> Made | Stopped:
    """Makes the clip, unless it is there: then it was verified before it got its name.

    Raises:
        DecodeError: the video cannot be used.
    """
    path, of = Path(task.file), 0
    try:
        if not path.exists():
            with new_file(path) as written:
                put = encode(task.source, str(written), task.encoding, frames=task.frames)
                verify(str(written), put, name_of(task.source))
            of = put.of
        return Made(columns_of(path), of)
    except (WriteError, OSError) as error:
        return Stopped(str(error))


def columns_of(path: Path) -> dict[str, Any]:
    """Returns the columns about a made file: its facts, hash, decoder and status."""
    source = Source(os.fspath(path))
    facts = read_facts(source)
    told = {"hash": hash_of(source), "decoder": route(facts), "status": "ok"}
    return asdict(facts) | told


def clip_name(row: Row) -> str:
    """Returns the relative path of a row's clip, one for each video and window.

    The name of the original is in it, as far as its letters are safe everywhere.
    """
    # A tar may have several members of one name.
    place = [str(row.offset)] if row.member else []
    told = "\0".join([row.path, row.member, repr(row.start), repr(row.end), *place])
    key = hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()
    stem = re.split(r"[/\\]", row.member or row.path)[-1].rpartition(".")[0]
    safe = re.sub(r"[^A-Za-z0-9_-]+", "_", stem)[:_STEM].strip("_-")
    return f"clips/{key[:2]}/{safe}{'-' if safe else ''}{key[2:18]}.mp4"


def made_row(row: Row, made: Made, path: str, moved: "Moved") -> Row:
    """Returns the row of a clip: the columns of the original, with the facts of the clip.

    ``extra`` has the original's video and window. The video is the group if the row had none, so
    that its clips stay on one side of a split.
    """
    window = {"original_start": str(row.start), "original_end": str(row.end)}
    whole = row.start <= 0 and row.end < 0
    original = f"{row.path}/{row.member}" if row.member else row.path
    cleared: dict[str, Any] = {"start": 0.0, "end": -1.0, "member": "", "offset": 0}
    # A perceptual hash is of the whole video.
    cleared |= {} if whole else {"phash": ""}
    return replace(
        row,
        **cleared,
        **made.columns,
        path=path,
        group=row.group or original,
        audio=moved.path(row.audio),
        targets={kind: moved.path(file) for kind, file in row.targets.items()},
        extra={**row.extra, "original": original, **({} if whole else window)},
    )


class Moved:
    """Paths relative to one folder, as seen from another."""

    def __init__(self, old: Path, new: Path) -> None:
        self._old, self._new = os.path.realpath(old), os.path.realpath(new)

    def path(self, path: str) -> str:
        """Returns ``path`` as seen from the new folder; absolute and empty ones as they are."""
        if not path or os.path.isabs(path):
            return path
        return os.path.relpath(os.path.join(self._old, path), self._new)
