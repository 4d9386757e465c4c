"""The videos of a whole manifest encoded again: clips in a folder, with a manifest."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ivn.corpus.limits import Limits
from ivn.corpus.pool import Outcome, in_processes
from ivn.corpus.transcode.clip import ClipTask, Made, Moved, Stopped, clip_name, made_row, make
from ivn.corpus.transcode.encoding import Encoding
from ivn.data.manifest.parquet import Row, read_rows, write_manifest
from ivn.data.manifest.table import USABLE
from ivn.durable import MANIFEST, filling
from ivn.errors import DataError
from ivn.media.source import Source
from ivn.media.storage import name_of

SETTINGS = "transcode.json"


@dataclass
class Tally:
    """Counts of the rows of a manifest.

    Attributes:
        made: rows with a clip made by this call.
        kept: rows with a clip from an earlier call.
        unusable: rows with an unusable video.
        left_out: rows with a status that said so before.
    """

    made: int = 0
    kept: int = 0
    unusable: int = 0
    left_out: int = 0

    @property
    def done(self) -> int:
        return self.made + self.kept + self.unusable + self.left_out

    def check(self, max_bad: float, out: Path) -> None:
        """Raises DataError if all rows, or too large a share, are unusable."""
        looked_at = self.done - self.left_out
        if self.unusable > max_bad * looked_at or self.unusable == looked_at:
            what = f"{self.unusable} of {looked_at} rows have a video that cannot be used"
            if self.unusable == looked_at:
                raise DataError(f"{what}: no manifest was written")
            raise DataError(
                f"{what}, more than --max-bad {max_bad:g}: mend them or allow a larger share, then "
                f"give the command again; what was made is kept in {out}"
            )


Report = Callable[[Tally, str], None]  # gets the counts so far, and a line on an unusable video


def transcode(
    manifest: Path, out: Path, encoding: Encoding, limits: Limits, report: Report
) -> Tally:
    """Makes the clips of ``manifest`` that are not in ``out``, then ``out/manifest.parquet``.

    Args:
        manifest: manifest of the videos.
        out: folder that is new, empty, or begun by an earlier call for the same manifest and
            encoding.
        encoding: encoding of the clips.
        limits: limits on the work.
        report: called for each clip; with a line if its video is unusable.

    Raises:
        DecodeError, DataError: the manifest cannot be read, the folder cannot be used, a file
            cannot be written, or too many videos are unusable.
    """
    out, tally = out.absolute(), Tally()
    settings = {"manifest": str(manifest.absolute()), **asdict(encoding)}

    def tasks() -> Iterator[ClipTask]:
        for rows in same_clip(usable(read_rows(manifest, beside=manifest), tally)):
            file = out / clip_name(rows[0])
            file.parent.mkdir(parents=True, exist_ok=True)
            yield ClipTask(rows, rows[0].as_source(manifest.parent), str(file), encoding)

    def rows() -> Iterator[Row]:
        moved = Moved(manifest.parent, out)
        outcomes = in_processes(make, tasks(), workers=limits.processes, seconds=limits.seconds)
        for task, made in made_clips(outcomes, tally, report):
            path = Path(task.file).relative_to(out).as_posix()
            for row in task.rows:
                yield made_row(row, made, path, moved)
        tally.check(limits.max_bad, out)

    with filling(out, settings, SETTINGS, below=("clips/*",)):
        write_manifest(out / MANIFEST, rows())
    return tally


def usable(rows: Iterable[Row], tally: Tally) -> Iterator[Row]:
    """Yields the rows without an unusable status; the others are counted."""
    for row in rows:
        if row.status in USABLE:
            yield row
        else:
            tally.left_out += 1


def same_clip(rows: Iterable[Row]) -> Iterator[tuple[Row, ...]]:
    """Yields groups of neighbouring rows about the same window of the same video."""
    groups = itertools.groupby(
        rows, lambda row: (row.path, row.member, row.offset, row.start, row.end)
    )
    return (tuple(group) for _, group in groups)


def made_clips(
    outcomes: Iterable[Outcome[ClipTask, Made | Stopped]], tally: Tally, report: Report
) -> Iterator[tuple[ClipTask, Made]]:
    """Yields the clips that were made; all are counted and reported.

    Raises:
        DataError: a file cannot be written.
    """
    for outcome in outcomes:
        task, made = outcome.item, outcome.value
        if isinstance(made, Stopped):
            raise DataError(made.reason)
        if made is None:
            note_unusable(task.source, outcome.reason, len(task.rows), tally, report)
            continue
        if made.of:
            tally.made += len(task.rows)
        else:
            tally.kept += len(task.rows)
        report(tally, "")
        yield task, made


def note_unusable(source: Source, reason: str, count: int, tally: Tally, report: Report) -> None:
    """Counts the rows of an unusable video, and reports the reason."""
    tally.unusable += count
    name = name_of(source)
    report(tally, reason if reason.startswith(name) else f"{name}: {reason}")
