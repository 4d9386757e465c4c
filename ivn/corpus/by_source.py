"""Rows with what a function finds out about their videos, each of which is read once."""

import collections
import itertools
from collections.abc import Callable, Iterator
from typing import TypeVar

from ivn.corpus.cluster import Runner
from ivn.corpus.pool import Outcome
from ivn.data.manifest.row import Row
from ivn.data.manifest.table import USABLE
from ivn.media.source import Source

Value = TypeVar("Value")


def by_source(
    rows: Iterator[Row],
    source_of: Callable[[Row], Source],
    function: Callable[[Source], Value],
    run: Runner,
    changed: Callable[[Row, Outcome[Source, Value]], Row],
) -> Iterator[Row]:
    """Yields the rows in their order, changed by the outcome of their source.

    Neighbouring rows of one source share an outcome. Unusable rows stay as they are.

    Args:
        rows: the rows.
        source_of: source of a row, with a path for this machine.
        function: function of a source, for other processes.
        run: function that runs it on many.
        changed: new row of a usable one, from the outcome of its source.
    """
    groups: collections.deque[list[Row]] = collections.deque()

    def sources() -> Iterator[Source]:
        keyed = ((source_of(row), row) for row in rows)
        for (source, _), group in itertools.groupby(keyed, lambda one: (one[0], one[1].status)):
            groups.append([row for _, row in group])
            yield source

    for outcome in run(function, sources()):
        for row in groups.popleft():
            yield changed(row, outcome) if row.status in USABLE else row
