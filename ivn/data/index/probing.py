"""Facts of files into rows, by many processes."""

import collections
import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ivn.data.contents import named
from ivn.data.manifest import Row
from ivn.data.pool import in_processes
from ivn.data.probe import hash_of, probe
from ivn.data.source import Source
from ivn.data.table import USABLE


@dataclass(frozen=True)
class Probing:
    """How files are looked at.

    Attributes:
        workers: processes.
        seconds: that a file may take.
        facts: read its packets.
        hashed: read all of its bytes.
    """

    workers: int
    seconds: float
    facts: bool
    hashed: bool


def source_of(row: Row, home: Path) -> Source:
    """What a row of a manifest in the folder ``home`` names."""
    path = str(home / row.path)
    size = row.bytes if row.member else 0
    return Source(
        path, start=row.start, end=row.end, member=row.member, offset=row.offset, size=size
    )


def probed(rows: Iterator[Row], home: Path, how: Probing) -> Iterator[Row]:
    """The rows with facts, hash and back end of their files; why not, in the status.

    Rows that follow one another and are of one file have it read once. Rows that cannot be used
    are left as they are.
    """
    if not how.facts and not how.hashed:
        yield from rows
        return
    groups: collections.deque[list[Row]] = collections.deque()

    def files() -> Iterator[Source]:
        for _, group in itertools.groupby(rows, lambda row: (row.path, row.member, row.status)):
            some = list(group)
            groups.append(some)
            yield replace(source_of(some[0], home), start=0.0, end=-1.0)

    looks = {(True, True): look_and_hash, (True, False): look, (False, True): only_hash}
    look_at = looks[how.facts, how.hashed]
    for outcome in in_processes(look_at, files(), workers=how.workers, seconds=how.seconds):
        for row in groups.popleft():
            if row.status not in USABLE:
                yield row
            elif outcome.value is None:
                yield replace(row, status=outcome.reason.removeprefix(f"{named(outcome.item)}: "))
            else:
                yield replace(row, **outcome.value)


def look(source: Source) -> dict[str, Any]:
    """What is known of a file, as columns of its row."""
    from ivn.data.decode import route

    facts = probe(source)
    return asdict(facts) | {"decoder": route(facts)}


def only_hash(source: Source) -> dict[str, Any]:
    return {"hash": hash_of(source)}


def look_and_hash(source: Source) -> dict[str, Any]:
    return look(source) | only_hash(source)
