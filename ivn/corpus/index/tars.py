"""Videos inside tars, by the place of their bytes; nothing is ever extracted or unpacked.

The layout is WebDataset's: members that follow one another and have the same name up to the first
dot are one sample. Beside a video, ``.json``, ``.cls`` and ``.txt`` files say what it shows. Such a
file belongs to the videos of its sample with the same name up to the suffix. A video without one of
its own takes that of the next shorter name, cut at a dot, unless this is the name of another video:

    videos of the sample        file             belongs to
    a.mp4                       a.json           a.mp4
    a.left.mp4, a.right.mp4     a.json           both
    a.mp4, a.left.mp4           a.json           a.mp4 alone
    clip 2.0.mp4, clip 2.1.mp4  clip 2.0.json    clip 2.0.mp4 alone

Outside its sample, a file belongs to a video of exactly its name.
"""

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ivn.corpus.index.items import Items, Remark, UnusableItem
from ivn.corpus.index.labels import TEXTS, columns_of
from ivn.corpus.progress import printable
from ivn.data.manifest.parquet import Row
from ivn.media.source import VIDEO_SUFFIXES
from ivn.media.tar_members import members

_LONGEST_TEXT = 2**20
_OUTSIDE = "a name that leads out of the folder"


def read_tar(place: Path) -> Items:
    """Yields a row for each video in a tar, in its order, unusable members, and lost labels.

    Members that are links or devices, sparse, or have a name that leads elsewhere (absolute, with
    "..") are unusable; folders, hidden files and files of other kinds are passed over. A tar that
    is damaged or cut off gives the rows before the damage. Headers are read twice, since a label
    may stand behind all videos.
    """
    try:
        with place.open("rb") as file:
            apart = _apart(place, file)
            file.seek(0)
            labels = _Labels(place, file, apart)
            for sample in _samples(place, file):
                if isinstance(sample, UnusableItem):
                    yield sample
                else:
                    yield from _rows_of_sample(place, sample, labels)
            yield from labels.remarks()
    except OSError as error:
        yield UnusableItem(os.fspath(place), f"cannot be read ({error.strerror})")


class _Member(NamedTuple):
    """A file in a tar.

    Attributes:
        name: name in the tar.
        offset: position of its first byte in the tar.
        size: length in bytes.
    """

    name: str
    offset: int
    size: int


# Files beside videos, by their names up to the suffix and that; there may be several of one name.
_Texts = dict[tuple[str, str], list[_Member]]


@dataclass
class _TarSample:
    """Members that follow one another and have one name up to the first dot.

    Attributes:
        key: their folder and name up to the first dot.
        videos: videos with their names up to the suffix.
        texts: small files beside them.
    """

    key: str
    videos: list[tuple[str, _Member]] = field(default_factory=list)
    texts: _Texts = field(default_factory=dict)

    def texts_of(self, stem: str) -> dict[str, tuple[str, str]]:
        """Returns suffixes with the texts that are about the videos of a name."""
        found = {}
        named = {name for name, _ in self.videos}
        for suffix in TEXTS:
            name = stem
            while name and ((name, suffix) not in self.texts or (name != stem and name in named)):
                name = name.rpartition(".")[0] if "." in os.path.basename(name) else ""
            if name:
                found[suffix] = name, suffix
        return found


def _samples(place: Path, file: BinaryIO) -> Iterator[_TarSample | UnusableItem]:
    sample = _TarSample("")
    for member in _members(place, file):
        if isinstance(member, UnusableItem):
            yield member
            continue
        stem, suffix = os.path.splitext("/".join(_parts(member.name)))
        folder, name = os.path.split(stem)
        key = f"{folder}/{name.partition('.')[0]}"
        if key != sample.key:
            yield sample
            sample = _TarSample(key)
        if suffix.lower() in VIDEO_SUFFIXES:
            sample.videos.append((stem, member))
        elif suffix.lower() in TEXTS:
            sample.texts.setdefault((stem, suffix.lower()), []).append(member)
    yield sample


def _apart(place: Path, file: BinaryIO) -> _Texts:
    """Returns texts that are about no video of their sample, in the order of the tar."""
    apart: _Texts = {}
    for sample in _samples(place, file):
        if isinstance(sample, _TarSample) and sample.texts:
            stems = {stem for stem, _ in sample.videos}
            mine = {text for stem in stems for text in sample.texts_of(stem).values()}
            for text, found in sample.texts.items():
                if text not in mine:
                    apart.setdefault(text, []).extend(found)
    return apart


class _Labels:
    """The labels in a tar, and which of them belong to no video."""

    def __init__(self, place: Path, file: BinaryIO, apart: _Texts) -> None:
        self._place, self._file, self._apart = place, file, apart
        self._used: set[tuple[str, str]] = set()
        self._empty: list[str] = []

    def of(self, stem: str, sample: _TarSample) -> Iterator[tuple[str, str] | UnusableItem]:
        """Yields suffixes with their texts about the videos of a name, or why there is none."""
        own = sample.texts_of(stem)
        for suffix in TEXTS:
            if suffix in own:
                found = sample.texts[own[suffix]]
            elif (stem, suffix) in self._apart:
                found = self._apart[stem, suffix]
                self._used.add((stem, suffix))
            else:
                continue
            texts = [self._text(member) for member in found]
            if any(text != texts[0] for text in texts):
                name = f"{self._place}, member {found[0].name}"
                yield UnusableItem(
                    name, f"there {len(found)} times and not the same: none is taken"
                )
            elif isinstance(texts[0], UnusableItem):
                yield texts[0]
            elif texts[0].strip():
                yield suffix, texts[0]
            else:
                self._empty.append(found[0].name)

    def remarks(self) -> Items:
        """Yields remarks on files that are empty, or about no video in the tar."""
        lost = [
            member.name
            for text, found in self._apart.items()
            if text not in self._used
            for member in found
        ]
        place = os.fspath(self._place)
        if lost:
            yield Remark(place, f"labels of no video in it: {_with_count(lost)}")
        if self._empty:
            yield Remark(place, f"labels that are empty: {_with_count(self._empty)}")

    def _text(self, member: _Member) -> str | UnusableItem:
        name = f"{self._place}, member {member.name}"
        if member.size > _LONGEST_TEXT:
            return UnusableItem(name, f"{member.size} bytes, which no label has")
        before = self._file.tell()
        self._file.seek(member.offset)
        data = self._file.read(member.size)
        self._file.seek(before)
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError:
            return UnusableItem(name, "expected UTF-8 text")


def _with_count(names: list[str]) -> str:
    more = ", ..." if len(names) > 1 else ""
    return f"{len(names)} ({printable(names[0])}{more})"


def _rows_of_sample(place: Path, sample: _TarSample, labels: _Labels) -> Items:
    columns = {}
    for stem, video in sample.videos:
        if stem not in columns:
            texts: dict[str, str] = {}
            for found in labels.of(stem, sample):
                if isinstance(found, UnusableItem):
                    yield found
                else:
                    texts[found[0]] = found[1]
            columns[stem], wrong = columns_of(texts)
            for reason in wrong:
                yield UnusableItem(f"{place}, sample {stem}", reason)
        if video.size == 0:
            yield UnusableItem(f"{place}, member {video.name}", "the member is empty (0 bytes)")
            continue
        yield Row(
            os.fspath(place),
            member=video.name,
            offset=video.offset,
            bytes=video.size,
            **columns[stem],
        )


def _members(place: Path, file: BinaryIO) -> Iterator[_Member | UnusableItem]:
    """Yields plain files with names that stay in the folder, and what is wrong with the others."""
    size = os.fstat(file.fileno()).st_size
    try:
        for member in members(file):
            if member.offset_data + member.size > size:
                yield UnusableItem(f"{place}, member {member.name}", "cut off, and all behind it")
                return
            reason = _refusal(member)
            if reason != _OUTSIDE and _is_hidden(member.name):
                continue
            if reason:
                yield UnusableItem(f"{place}, member {member.name}", reason)
            else:
                yield _Member(member.name, member.offset_data, member.size)
    except tarfile.ReadError as error:
        yield UnusableItem(os.fspath(place), str(error))


def _refusal(member: tarfile.TarInfo) -> str:
    """Returns why a member is not read; "" if it is."""
    parts = member.name.split("/")
    if member.name.startswith("/") or ".." in parts:
        return _OUTSIDE
    if member.issym() or member.islnk():
        return "a link"
    if not member.isreg():
        return "no plain file"
    if member.issparse():
        return "a sparse file, whose bytes are not all there"
    return ""


def _is_hidden(name: str) -> bool:
    """Returns whether file managers hide the name, such as macOS's ``._NAME`` beside NAME."""
    return any(
        part.startswith((".", "PaxHeaders.")) or part in ("__MACOSX", "PaxHeader", "PaxHeaders")
        for part in _parts(name)
    )


def _parts(name: str) -> list[str]:
    return [part for part in name.split("/") if part not in ("", ".")]
