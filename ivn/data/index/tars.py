"""Videos inside tars, by the place of their bytes; nothing is ever extracted or unpacked.

The layout is WebDataset's: members that follow one another and have the same name up to the first
dot are one sample. Beside the video, ``.json``, ``.cls`` and ``.txt`` say what it shows.
"""

import dataclasses
import json
import math
import os
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from ivn.data.index.found import Found, Refused
from ivn.data.manifest import Row
from ivn.data.members import members
from ivn.data.source import NEVER_MIRRORED, VIDEO_SUFFIXES

_LONGEST_TEXT = 2**20
_CAPTIONS = ("captions", "caption", "text")


def read_tar(place: Path) -> Found:
    """A row for each video in a tar, in its order, and what was refused.

    Members that are links or devices, sparse, or have a name that leads elsewhere (absolute, with
    "..") are refused by name; folders and files of other kinds are passed over. A tar that is
    damaged or cut off gives the rows before the damage.
    """
    try:
        with place.open("rb") as file:
            yield from _samples(place, file)
    except OSError as error:
        yield Refused(os.fspath(place), f"cannot be read ({error.strerror})")


@dataclass
class _Sample:
    """Members of one name."""

    key: str
    videos: list[tarfile.TarInfo] = field(default_factory=list)
    texts: dict[str, str | Refused] = field(default_factory=dict)


def _samples(place: Path, file: BinaryIO) -> Found:
    sample = _Sample("")
    for member in _members(place, file):
        if isinstance(member, Refused):
            yield member
            continue
        folder, _, name = member.name.rpartition("/")
        stem, _, suffix = name.partition(".")
        key = f"{folder}/{stem}"
        if key != sample.key:
            yield from _rows(place, sample)
            sample = _Sample(key)
        suffix = suffix.lower()
        if f".{suffix.rpartition('.')[2]}" in VIDEO_SUFFIXES:
            sample.videos.append(member)
        elif suffix in ("json", "cls", "txt"):
            sample.texts[suffix] = _text(place, file, member)
    yield from _rows(place, sample)


def _members(place: Path, file: BinaryIO) -> Iterator[tarfile.TarInfo | Refused]:
    """Plain files with names that stay where they are, and what is wrong with the others."""
    size = os.fstat(file.fileno()).st_size
    try:
        for member in members(file):
            if member.offset_data + member.size > size:
                yield Refused(f"{place}, member {member.name}", "cut off, and all behind it")
                return
            reason = _refusal(member)
            yield Refused(f"{place}, member {member.name}", reason) if reason else member
    except tarfile.ReadError as error:
        yield Refused(os.fspath(place), str(error))


def _refusal(member: tarfile.TarInfo) -> str:
    """Why a member is not read, "" where it is."""
    parts = member.name.split("/")
    if member.name.startswith("/") or ".." in parts:
        return "a name that leads out of the folder"
    if member.issym() or member.islnk():
        return "a link"
    if not member.isreg():
        return "no plain file"
    if member.issparse():
        return "a sparse file, whose bytes are not all there"
    return ""


def _text(place: Path, file: BinaryIO, member: tarfile.TarInfo) -> str | Refused:
    """What a small file says."""
    name = f"{place}, member {member.name}"
    if member.size > _LONGEST_TEXT:
        return Refused(name, f"{member.size} bytes, which no label has")
    before = file.tell()
    file.seek(member.offset_data)
    data = file.read(member.size)
    file.seek(before)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return Refused(name, "expected UTF-8 text")


def _rows(place: Path, sample: _Sample) -> Found:
    if not sample.videos:
        return
    told: dict[str, Any] = {}
    for suffix, text in sample.texts.items():
        if isinstance(text, str):
            text = _told(suffix, text, told) or text
        if isinstance(text, Refused):
            yield Refused(text.name or f"{place}, sample {sample.key.strip('/')}", text.reason)
    for video in sample.videos:
        if video.size == 0:
            yield Refused(f"{place}, member {video.name}", "the member is empty (0 bytes)")
            continue
        yield Row(
            os.fspath(place),
            member=video.name,
            offset=video.offset_data,
            bytes=video.size,
            **told,
        )


def _told(suffix: str, text: str, told: dict[str, Any]) -> Refused | None:
    """Add what a text says to the columns of a row."""
    if suffix == "txt":
        told["captions"] = (*told.get("captions", ()), text.strip())
    elif suffix == "cls":
        told["labels"] = {"label": text.strip()} | told.get("labels", {})
    else:
        try:
            record = json.loads(text)
        except (ValueError, RecursionError):
            return Refused("", "its .json cannot be read")
        if not isinstance(record, dict):
            return Refused("", "its .json is no object")
        _from_record(record, told)
    return None


def _from_record(record: Mapping[str, Any], told: dict[str, Any]) -> None:
    """A row's own columns where they have its types; any other value of one word is a label.

    No path is taken from a tar, and no fact that packets tell.
    """
    known = {column.name: column.type for column in dataclasses.fields(Row)}
    labels: dict[str, str] = {}
    for name, value in record.items():
        if name in _CAPTIONS:
            some = [value] if isinstance(value, str) else value
            if isinstance(some, list) and all(isinstance(text, str) for text in some):
                told["captions"] = (*told.get("captions", ()), *some)
        elif name in ("labels", "extra"):
            if isinstance(value, dict) and all(isinstance(key, str) for key in value):
                told[name] = told.get(name, {}) | {k: str(v) for k, v in value.items()}
        elif name in ("source", "group"):
            told[name] = value if isinstance(value, str) else ""
        elif name in ("start", "end"):
            if isinstance(value, (int, float)) and math.isfinite(value):
                told[name] = float(value)
        elif name == "flip":
            told[name] = value is not False
        elif name and name not in known and isinstance(value, (str, int, float)):
            labels[name] = str(value)
    told["labels"] = labels | told.get("labels", {})
    if told.get("source") in NEVER_MIRRORED:
        told.setdefault("flip", False)
