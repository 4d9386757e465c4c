"""What an ablation's probes say: means over seeds, beside the paper's numbers and its orderings."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

# Accuracy in per cent of each seed's run.
Scores = Sequence[float]


@dataclass(frozen=True)
class Line:
    """A row of the table as it came out.

    Attributes:
        name: the row's, or a baseline's.
        paper: per cent, a value a column of the paper; empty for a baseline.
        scores: task -> per cent, a value a seed.
        missing: why it was not run, or not yet; "" where it was.
    """

    name: str
    paper: tuple[float, ...]
    scores: Mapping[str, Scores]
    missing: str = ""


@dataclass(frozen=True)
class Agreement:
    """How often two rows come in the paper's order.

    Attributes:
        pairs: of rows that both have, and that the paper tells apart.
        same: of those, how many means are in the paper's order.
        told_apart: how many pairs keep one order in every seed.
        told_apart_same: of those, how many keep the paper's.
    """

    pairs: int
    same: int
    told_apart: int
    told_apart_same: int


def agreement(lines: Sequence[Line], column: int, task: str) -> Agreement:
    """Compares the order of ``task`` with that of the paper's ``column``, pair by pair."""
    pairs = same = told = told_same = 0
    for one, other in combinations([line for line in lines if line.paper], 2):
        ours, theirs = one.scores.get(task, ()), other.scores.get(task, ())
        paper = one.paper[column] - other.paper[column]
        if not ours or not theirs or paper == 0:
            continue
        pairs += 1
        mean = statistics.fmean(ours) - statistics.fmean(theirs)
        same += mean * paper > 0
        if len(ours) != len(theirs) or len(ours) < 2:
            continue
        # No interval: of a few seeds it would claim more than it knows.
        differences = [a - b for a, b in zip(ours, theirs, strict=True)]
        if min(differences) > 0 or max(differences) < 0:
            told += 1
            told_same += mean * paper > 0
    return Agreement(pairs, same, told, told_same)


def spread(scores: Scores) -> str:
    """Mean and standard deviation over seeds, in words."""
    if not scores:
        return ""
    mean = f"{statistics.fmean(scores):.1f}"
    return f"{mean} ± {statistics.stdev(scores):.1f}" if len(scores) > 1 else mean


def shown(record: Mapping[str, Any]) -> str:
    """The Markdown of a table that was written as JSON."""
    lines = [Line(**row) for row in record["rows"]]
    return markdown(record["columns"], record["notes"], lines, record["labels"])


def markdown(
    columns: Sequence[str], notes: Sequence[str], lines: Sequence[Line], tasks: Sequence[str]
) -> str:
    """The table as Markdown, ours beside the paper's, then how the orders compare.

    Args:
        columns: what the paper measures.
        notes: what differs from it, in sentences.
        lines: the rows.
        tasks: what is probed here.
    """
    head = ["row", *(f"paper: {column}" for column in columns), *tasks]
    rows = [head, ["---"] * len(head), *(_cells(line, len(columns), tasks) for line in lines)]
    text = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    seeds = max((len(scores) for line in lines for scores in line.scores.values()), default=0)
    many = f"{seeds} seeds, each" if seeds > 1 else "one seed"
    remarks = [
        f"Accuracy in per cent; ours: mean ± standard deviation over {many} with its own weights, "
        "order of clips and masks, the same for all rows.",
        *notes,
        *(f"{line.name}: {line.missing}" for line in lines if line.missing and line.paper),
        *_orders(columns, lines, tasks),
    ]
    return f"{text}\n\n" + "\n".join(f"* {_escaped(remark)}" for remark in remarks)


def _cells(line: Line, columns: int, tasks: Sequence[str]) -> list[str]:
    paper = [f"{value:.1f}" for value in line.paper] or [""] * columns
    if line.missing and not any(line.scores.values()):
        ours = [f"not run: {line.missing}", *[""] * (len(tasks) - 1)]
    else:
        ours = [spread(line.scores.get(task, ())) for task in tasks]
    return [_escaped(cell) for cell in (line.name, *paper, *ours)]


def _orders(columns: Sequence[str], lines: Sequence[Line], tasks: Sequence[str]) -> Iterator[str]:
    for task in tasks:
        for column, name in enumerate(columns):
            found = agreement(lines, column, task)
            if not found.pairs:
                continue
            words = (
                f"{task} puts {found.same} of {found.pairs} pairs of rows in the order of {name}"
            )
            if found.told_apart:
                words += (
                    f"; of the {found.told_apart} that keep one order in every seed, "
                    f"{found.told_apart_same}"
                )
            yield words + "."


def _escaped(cell: str) -> str:
    """A cell that stays one cell, whatever a label is called."""
    return cell.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
