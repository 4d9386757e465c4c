"""One tar of clips in WebDataset's layout: KEY.mp4 and KEY.json, one sample after another.

The same samples give the same bytes, whoever packs them when and where.
"""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO

from ivn.data.manifest.parquet import Row
from ivn.errors import DataError

# Columns that KEY.json lacks, since its reader knows the place.
_PLACE = ("path", "member", "offset")


@dataclass(frozen=True)
class PackedClip:
    """A clip in a tar.

    Attributes:
        member: name in the tar.
        offset: position of its first byte in the tar.
        bytes: length in bytes.
        hash: hash of the bytes, as manifests have it.
    """

    member: str
    offset: int
    bytes: int
    hash: str


class ShardFile:
    """A tar that is being written.

    Args:
        file: empty file, open for writing.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._tar = tarfile.TarFile(fileobj=file, mode="w", format=tarfile.PAX_FORMAT)

    @property
    def written(self) -> int:
        """Count of bytes so far."""
        return self._file.tell()

    def add(self, key: str, suffix: str, clip: bytes, rows: Sequence[Row]) -> PackedClip:
        """Appends a sample.

        Args:
            key: ASCII letters, digits, - and _; every sample has another.
            suffix: suffix of the clip's name, with its dot.
            clip: bytes of the video.
            rows: rows about the clip.
        """
        # 512 for the header: names this short and sizes below 8 GiB need no more.
        offset = self._file.tell() + tarfile.BLOCKSIZE
        packed = PackedClip(f"{key}{suffix}", offset, len(clip), _hash_of(clip))
        rows = [replace(row, bytes=packed.bytes, hash=packed.hash) for row in rows]
        self._append(packed.member, clip)
        self._append(f"{key}.json", json.dumps(clip_record(rows), sort_keys=True).encode())
        return packed

    def _append(self, name: str, data: bytes) -> None:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        self._tar.addfile(info, io.BytesIO(data))

    def close(self) -> None:
        self._tar.close()


def _hash_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def clip_record(rows: Sequence[Row]) -> dict[str, object]:
    """Returns the content of KEY.json: the columns of the clip's row that are known.

    Of several rows about a clip it has the columns of the first, and under ``rows`` those of all.
    """
    every = [_known(row) for row in rows]
    return every[0] if len(every) == 1 else {**every[0], "rows": every}


def _known(row: Row) -> dict[str, object]:
    unknown = Row("")
    return {
        name: value
        for name, value in asdict(row).items()
        if name not in _PLACE and value != getattr(unknown, name)
    }


def verify(path: Path, packed: Sequence[PackedClip]) -> None:
    """Raises DataError unless the tar holds these clips at their places, each with its JSON."""

    def wrong(what: str) -> DataError:
        return DataError(f"{path}: was written wrongly: {what}; is the disk sound?")

    with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
        members = [(member.name, member.offset_data, member.size) for member in tar]
        expected = [
            one
            for clip in packed
            for one in (clip.member, f"{os.path.splitext(clip.member)[0]}.json")
        ]
        if [name for name, _, _ in members] != expected:
            raise wrong(f"{len(members)} members, expected {len(expected)}")
        for clip, (_, offset, size) in zip(packed, members[::2], strict=True):
            if (offset, size) != (clip.offset, clip.bytes):
                raise wrong(f"{clip.member} is at {offset}, expected {clip.offset}")
            file.seek(offset)
            if _hash_of(file.read(size)) != clip.hash:
                raise wrong(f"{clip.member} has other bytes")
