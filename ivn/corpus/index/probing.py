"""Facts of files into rows, by many processes."""

import collections
import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ivn.corpus.cluster import Spread
from ivn.data.manifest.parquet import Row
from ivn.data.manifest.table import USABLE
from ivn.media.decode import route
from ivn.media.facts import read_facts
from ivn.media.source import Source
from ivn.media.storage import hash_of, name_of


@dataclass(frozen=True)
class Look:
    """A function for other processes: what is known of a file, as columns of its row.

    Attributes:
        facts: read its packets.
        hashed: read all of its bytes.
    """

    facts: bool
    hashed: bool

    def __call__(self, source: Source) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self.facts:
            facts = read_facts(source)
            found = asdict(facts) | {"decoder": route(facts)}
        return found | ({"hash": hash_of(source)} if self.hashed else {})


def probed(rows: Iterator[Row], home: Path, function: Look, how: Spread) -> Iterator[Row]:
    """The rows with facts, hash and back end of their files; why not, in the status.

    Rows that follow one another and are of one file have it read once. Rows that cannot be used
    are left as they are.
    """
    groups: collections.deque[list[Row]] = collections.deque()

    def files() -> Iterator[Source]:
        for _, group in itertools.groupby(rows, lambda row: (row.path, row.member, row.status)):
            some = list(group)
            groups.append(some)
            yield replace(some[0].as_source(home), start=0.0, end=-1.0)

    for outcome in how(function, files()):
        for row in groups.popleft():
            if row.status not in USABLE:
                yield row
            elif outcome.value is None:
                yield replace(row, status=outcome.reason.removeprefix(f"{name_of(outcome.item)}: "))
            else:
                yield replace(row, **outcome.value)
