"""A manifest's videos packed into tars, and the manifest that is their index."""

import hashlib
import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ivn.corpus.limits import Limits
from ivn.corpus.pool import in_processes
from ivn.corpus.shard.index import keys_of, rows_of
from ivn.corpus.shard.tar import PackedClip, ShardFile, verify
from ivn.corpus.transcode.clip import ClipTask, Made, Moved, made_row, make
from ivn.corpus.transcode.encoding import Encoding
from ivn.corpus.transcode.run import (
    Report,
    Tally,
    made_clips,
    note_unusable,
    same_clip,
    usable,
)
from ivn.data.manifest.parquet import Row, manifest_at, read_rows, write_manifest
from ivn.durable import MANIFEST, filling, new_file
from ivn.errors import DecodeError, RequestError
from ivn.media.source import VIDEO_SUFFIXES
from ivn.media.storage import read_bytes

SETTINGS = "shard.json"
_WORK = "work"
_MB = 10**6

_Unit = tuple[int, tuple[Row, ...]]  # the rows about one clip, with their number


@dataclass(frozen=True)
class ShardSettings:
    """Settings of the tars; all of them change the bytes.

    Attributes:
        size, frames: options of ``ivn data shard``; see :class:`ivn.corpus.shard.options.Shard`.
        encoding: encoding of clips that are encoded again.
    """

    size: int
    frames: int
    encoding: Encoding

    def __post_init__(self) -> None:
        if not 1 <= self.size <= 10**6:
            raise RequestError(f"tars of {self.size} MB: expected 1 to a million")
        if not 0 <= self.frames <= 100_000:
            raise RequestError(f"{self.frames} frames of a clip: expected 1 to 100000")


def shard(
    manifest: Path, out: Path, packing: ShardSettings, limits: Limits, report: Report
) -> Tally:
    """Packs the videos of ``manifest`` into ``out/shard-*.tar``, then writes their index.

    Args:
        manifest: manifest of the videos.
        out: folder that is new, empty, or begun by an earlier call for the same manifest, which
            may have been moved with its videos, and the same settings.
        packing: settings of the tars.
        limits: limits on the work.
        report: called for each clip; with a line if its video is unusable.

    Raises:
        DataError: the manifest cannot be read, the folder cannot be used, a file cannot be written,
            or too many videos are unusable.
    """
    out = out.absolute()
    # Samples are told by their number alone: what is behind it must be the same, wherever it lies.
    with manifest_at(os.fspath(manifest)).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    settings = {"manifest": f"sha256:{digest}", **asdict(packing)}
    with filling(out, settings, SETTINGS, below=(_WORK,)):
        job = _Job(manifest, out, packing, limits, report)
        there = _finished(out)
        samples = job.samples(job.not_in(there))
        tars = [*there, *_pack(out, len(there), samples, packing.size * _MB)]
        job.tally.check(limits.max_bad, out)
        with suppress(FileNotFoundError):
            (out / _WORK).rmdir()
        write_manifest(out / MANIFEST, (row for tar in tars for row in rows_of(tar, out)))
    return job.tally


@dataclass(frozen=True)
class _ShardSample:
    """A sample of a tar before it is written."""

    key: str
    suffix: str
    clip: bytes
    rows: tuple[Row, ...]


class _Job:
    """The work on one manifest.

    Attributes:
        tally: counts of rows so far.
    """

    def __init__(
        self, manifest: Path, out: Path, packing: ShardSettings, limits: Limits, report: Report
    ) -> None:
        self._manifest, self._out, self._packing = manifest, out, packing
        self._limits, self._report = limits, report
        self._moved = Moved(manifest.parent, out)
        self.tally = Tally()

    def not_in(self, tars: Sequence[Path]) -> Iterator[_Unit]:
        """Yields the units after the last one in the tars; those before are counted."""
        rows = usable(read_rows(self._manifest, beside=self._manifest), self.tally)
        keys = {int(key) for tar in tars for key in keys_of(tar)}
        last = max(keys, default=-1)
        for number, unit in enumerate(same_clip(rows)):
            if number > last:
                yield number, unit
                continue
            # Clips that a finished tar lacks were named as unusable when it was made.
            if number in keys:
                self.tally.kept += len(unit)
            else:
                self.tally.unusable += len(unit)
            self._report(self.tally, "")

    def samples(self, units: Iterator[_Unit]) -> Iterator[_ShardSample]:
        """Yields the samples of the tars in order."""
        return self._encoded(units) if self._packing.frames else self._as_they_are(units)

    def _as_they_are(self, units: Iterator[_Unit]) -> Iterator[_ShardSample]:
        for number, rows in units:
            source = rows[0].as_source(self._manifest.parent)
            try:
                data = read_bytes(source)
            except DecodeError as error:
                note_unusable(source, str(error), len(rows), self.tally, self._report)
                continue
            self.tally.made += len(rows)
            self._report(self.tally, "")
            suffix = Path(source.member or source.path).suffix.lower()
            yield _ShardSample(
                _key(number),
                suffix if suffix in VIDEO_SUFFIXES else ".mp4",
                data,
                tuple(self._packed(row) for row in rows),
            )

    def _packed(self, row: Row) -> Row:
        """Returns the row of a file that is packed as it is, with its window."""
        row_of_copy = made_row(row, Made({}, 0), "", self._moved)
        extra = {**row.extra, "original": row_of_copy.extra["original"]}
        return replace(
            row_of_copy,
            **{name: getattr(row, name) for name in ("start", "end", "phash", "decoder")},
            extra=extra,
        )

    def _encoded(self, units: Iterator[_Unit]) -> Iterator[_ShardSample]:
        work, packing = self._out / _WORK, self._packing
        work.mkdir(exist_ok=True)

        def tasks() -> Iterator[ClipTask]:
            for number, rows in units:
                source = rows[0].as_source(self._manifest.parent)
                file = str(work / f"{_key(number)}.mp4")
                yield ClipTask(rows, source, file, packing.encoding, packing.frames)

        outcomes = in_processes(
            make, tasks(), workers=self._limits.processes, seconds=self._limits.seconds
        )
        for task, made in made_clips(outcomes, self.tally, self._report):
            path = Path(task.file)
            rows = tuple(made_row(row, made, "", self._moved) for row in task.rows)
            yield _ShardSample(path.stem, path.suffix, path.read_bytes(), rows)
            path.unlink()


def _key(number: int) -> str:
    """Returns the key of a sample; all have one width, so that they are sorted by name."""
    return f"{number:09}"


def _finished(out: Path) -> list[Path]:
    """Returns the tars that have their name, and so are whole, up to the first gap."""
    return list(itertools.takewhile(Path.exists, (out / _name(i) for i in itertools.count())))


def _name(number: int) -> str:
    return f"shard-{number:06}.tar"


def _pack(out: Path, number: int, samples: Iterator[_ShardSample], size: int) -> Iterator[Path]:
    """Writes the samples to tars; each gets its name after it has been read again."""
    for first in samples:
        path = out / _name(number)
        # A tar behind one that was removed is there, and is written again.
        with new_file(path, overwrite=True) as written:
            with written.open("wb") as file:
                tar = ShardFile(file)
                packed = [_add(tar, first)]
                while tar.written < size and (sample := next(samples, None)) is not None:
                    packed.append(_add(tar, sample))
                tar.close()
            verify(written, packed)
        yield path
        number += 1


def _add(tar: ShardFile, sample: _ShardSample) -> PackedClip:
    return tar.add(sample.key, sample.suffix, sample.clip, sample.rows)
