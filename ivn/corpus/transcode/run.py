"""A whole manifest made anew: clips in a folder, and a manifest of them beside it."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ivn.corpus.pool import Outcome, in_processes
from ivn.corpus.transcode.clip import Made, Moved, Stopped, Task, clip_name, made_row, make
from ivn.corpus.transcode.encoding import Encoding
from ivn.data.manifest.parquet import Row, read_rows, write_manifest
from ivn.data.manifest.table import USABLE
from ivn.durable import MANIFEST, filling
from ivn.errors import DataError, RequestError
from ivn.media.source import Source
from ivn.media.storage import name_of

SETTINGS = "transcode.json"


@dataclass
class Tally:
    """What came of the rows of a manifest.

    Attributes:
        made: rows whose clip was made now.
        kept: whose clip was there already.
        bad: whose video cannot be used.
        left_out: whose status says so before anybody looked.
    """

    made: int = 0
    kept: int = 0
    bad: int = 0
    left_out: int = 0

    @property
    def done(self) -> int:
        return self.made + self.kept + self.bad + self.left_out

    def check(self, max_bad: float, out: Path) -> None:
        """Raise DataError where nothing is good, or too large a share is bad."""
        looked_at = self.done - self.left_out
        if self.bad > max_bad * looked_at or self.bad == looked_at:
            what = f"{self.bad} of {looked_at} rows have a video that cannot be used"
            if self.bad == looked_at:
                raise DataError(f"{what}: no manifest was written")
            raise DataError(
                f"{what}, more than --max-bad {max_bad:g}: mend them or allow a larger share, then "
                f"give the command again; what was made is kept in {out}"
            )


@dataclass(frozen=True)
class Limits:
    """What bounds the work, and changes no clip.

    Attributes:
        workers: processes.
        seconds: that a clip may take.
        max_bad: largest share of rows whose video cannot be used.
    """

    workers: int
    seconds: float
    max_bad: float

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise RequestError(f"{self.workers} workers: expected at least 1")
        if not self.seconds > 0:
            raise RequestError(f"{self.seconds} seconds for a clip: expected more than 0")
        if not 0 <= self.max_bad <= 1:
            raise RequestError(f"max-bad {self.max_bad}: expected a share, 0 to 1")


Report = Callable[[Tally, str], None]  # is told how far the work is, and what is wrong with a video


def transcode(
    manifest: Path, out: Path, encoding: Encoding, limits: Limits, report: Report
) -> Tally:
    """Make the clips of ``manifest`` that are missing in ``out``, then ``out/manifest.parquet``.

    Args:
        manifest: of the videos.
        out: new, empty, or begun by an earlier call for the same manifest and encoding.
        encoding: of the clips.
        limits: on the work.
        report: called for each clip; with a line where its video cannot be used.

    Raises:
        DecodeError, DataError: the manifest cannot be read, the folder cannot be used, a file
            cannot be written, or too many videos are bad.
    """
    out, tally = out.absolute(), Tally()
    settings = {"manifest": str(manifest.absolute()), **asdict(encoding)}

    def tasks() -> Iterator[Task]:
        for rows in same_clip(usable(read_rows(manifest, beside=manifest), tally)):
            file = out / clip_name(rows[0])
            file.parent.mkdir(parents=True, exist_ok=True)
            yield Task(rows, rows[0].as_source(manifest.parent), str(file), encoding)

    def rows() -> Iterator[Row]:
        moved = Moved(manifest.parent, out)
        outcomes = in_processes(make, tasks(), workers=limits.workers, seconds=limits.seconds)
        for task, made in good(outcomes, tally, report):
            path = Path(task.file).relative_to(out).as_posix()
            for row in task.rows:
                yield made_row(row, made, path, moved)
        tally.check(limits.max_bad, out)

    with filling(out, settings, SETTINGS, below=("clips/*",)):
        write_manifest(out / MANIFEST, rows())
    return tally


def usable(rows: Iterable[Row], tally: Tally) -> Iterator[Row]:
    """The rows that no check has found wanting."""
    for row in rows:
        if row.status in USABLE:
            yield row
        else:
            tally.left_out += 1


def same_clip(rows: Iterable[Row]) -> Iterator[tuple[Row, ...]]:
    """Rows that follow one another and are about the same window of the same video."""
    groups = itertools.groupby(
        rows, lambda row: (row.path, row.member, row.offset, row.start, row.end)
    )
    return (tuple(group) for _, group in groups)


def good(
    outcomes: Iterable[Outcome[Task, Made | Stopped]], tally: Tally, report: Report
) -> Iterator[tuple[Task, Made]]:
    """The clips that were made; all are counted and reported.

    Raises:
        DataError: a file cannot be written.
    """
    for outcome in outcomes:
        task, made = outcome.item, outcome.value
        if isinstance(made, Stopped):
            raise DataError(made.reason)
        if made is None:
            bad(task.source, outcome.reason, len(task.rows), tally, report)
            continue
        if made.of:
            tally.made += len(task.rows)
        else:
            tally.kept += len(task.rows)
        report(tally, "")
        yield task, made


def bad(source: Source, reason: str, count: int, tally: Tally, report: Report) -> None:
    """Count the rows of a video that cannot be used, and tell why."""
    tally.bad += count
    name = name_of(source)
    report(tally, reason if reason.startswith(name) else f"{name}: {reason}")
