"""Facts of files, read into rows by many processes."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ivn.corpus.by_source import by_source
from ivn.corpus.cluster import Runner
from ivn.corpus.pool import Outcome
from ivn.data.manifest.parquet import Row
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


def probed(rows: Iterator[Row], home: Path, function: FactsReader, run: Runner) -> Iterator[Row]:
    """Yields the rows with facts, hash and back end of their files, or a status that says why not.

    A file whose rows follow one another is read once. Unusable rows stay as they are.
    """

    def whole(row: Row) -> Source:
        return replace(row.as_source(home), start=0.0, end=-1.0)

    def changed(row: Row, outcome: Outcome[Source, dict[str, Any]]) -> Row:
        if outcome.value is None:
            return replace(row, status=outcome.reason.removeprefix(f"{name_of(outcome.item)}: "))
        return replace(row, **outcome.value)

    return by_source(rows, whole, function, run, changed)
