"""Tables of results, for people: what those of all tasks have in common."""

import io
from collections.abc import Mapping, Sequence

from .results import Result, ResultRow

_WIDTH = 100

Columns = Mapping[str, Sequence[str]]  # heading -> cell of each row


def result_table(result: Result, lines: Sequence[str], columns: Columns) -> str:
    """Returns notes, the task's own lines, the number of unusable videos, and a row per head.

    Args:
        result: the result.
        lines: lines about videos, split and chance.
        columns: columns behind that of the encoders, such as those of :func:`score_columns`.
    """
    unusable = [f"{len(result.skipped)} videos could not be used"] if result.skipped else []
    encoders = [_named(row, result.rows) for row in result.rows]
    table = aligned({"encoder": encoders, **columns})
    return "\n".join([*result.facts["notes"], *lines, *unusable, table])


def score_columns(rows: Sequence[ResultRow], headings: Mapping[str, str]) -> Columns:
    """Returns a column per score, the first with its interval; none where no row has the score.

    Args:
        rows: rows of a result.
        headings: name of each score in the rows -> its heading.
    """
    columns: dict[str, list[str]] = {}
    for name, heading in headings.items():
        shares = [row.scores[name] for row in rows]
        if not any(shares):
            continue
        first = not columns
        columns[heading] = [share_cell(share.value if share else None) for share in shares]
        if first:
            columns["95% interval"] = [
                f"{share.low:.1%} - {share.high:.1%}" if share else "" for share in shares
            ]
    return columns


def share_cell(value: float | None) -> str:
    """Returns a share in per cent; "" without one."""
    return "" if value is None else f"{value:.1%}"


def aligned(columns: Columns) -> str:
    """Returns columns as text, the first aligned to the left."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False)
    for number, heading in enumerate(columns):
        table.add_column(heading, justify="left" if number == 0 else "right", overflow="fold")
    for row in zip(*columns.values(), strict=True):
        # Text, not markup: a class may be called "[red]".
        table.add_row(*map(Text, row))
    text = io.StringIO()
    Console(file=text, width=_WIDTH, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def _named(row: ResultRow, rows: Sequence[ResultRow]) -> str:
    """Returns the encoder's name, with its pool if the first row of the same head has another."""
    first = next(other for other in rows if other.head == row.head)
    pool = row.extra.get("pool")
    return row.encoder if pool == first.extra.get("pool") else f"{row.encoder} ({pool})"
