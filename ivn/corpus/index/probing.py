"""Facts of files, read into rows by many processes."""

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
class FactsReader:
    """A function for other processes, which returns columns of a file's row.

    Attributes:
        facts: whether to read its packets.
        hashed: whether to read all of its bytes.
    """

    facts: bool
    hashed: bool

    def __call__(self, source: Source) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self.facts:
            facts = read_facts(source)
            found = asdict(facts) | {"decoder": route(facts)}
        return found | ({"hash": hash_of(source)} if self.hashed else {})


def probed(rows: Iterator[Row], home: Path, function: FactsReader, how: Spread) -> Iterator[Row]:
    """Yields the rows with facts, hash and back end of their files, or a status that says why not.

    A file whose rows follow one another is read once. Unusable rows stay as they are.
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
