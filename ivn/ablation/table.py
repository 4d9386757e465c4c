"""The table of an ablation: means over seeds, beside the paper's numbers and orderings."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

# Accuracies in per cent, one per seed.
Scores = Sequence[float]


@dataclass(frozen=True)
class ResultLine:
    """A row of the table, or a baseline, with its results.

    Attributes:
        name: name of the row or baseline.
        paper: the paper's accuracies in per cent, one per column; empty for a baseline.
        scores: label -> accuracies in per cent, one per seed.
        missing: reason why it did not run; "" if it did, or will.
    """

    name: str
    paper: tuple[float, ...]
    scores: Mapping[str, Scores]
    missing: str = ""


@dataclass(frozen=True)
class Agreement:
    """Agreement of our order of rows with the paper's.

    Attributes:
        pairs: number of pairs of rows with results here and different numbers in the paper.
        same: number of pairs whose means are in the paper's order.
        consistent: number of pairs that have one order in every seed.
        consistent_same: number of pairs that have the paper's order in every seed.
    """

    pairs: int
    same: int
    consistent: int
    consistent_same: int


def agreement(lines: Sequence[ResultLine], column: int, label: str) -> Agreement:
    """Compares the order by ``label`` with that by the paper's ``column``, pair by pair."""
    pairs = same = consistent = consistent_same = 0
    for first, second in combinations([line for line in lines if line.paper], 2):
        a, b = first.scores.get(label, ()), second.scores.get(label, ())
        paper = first.paper[column] - second.paper[column]
        if not a or not b or paper == 0:
            continue
        pairs += 1
        mean = statistics.fmean(a) - statistics.fmean(b)
        same += mean * paper > 0
        if len(a) != len(b) or len(a) < 2:
            continue
        # No interval: with few seeds it would claim too much.
        differences = [x - y for x, y in zip(a, b, strict=True)]
        if min(differences) > 0 or max(differences) < 0:
            consistent += 1
            consistent_same += mean * paper > 0
    return Agreement(pairs, same, consistent, consistent_same)


def mean_and_deviation(scores: Scores) -> str:
    """Returns mean and standard deviation over seeds as text."""
    if not scores:
        return ""
    mean = f"{statistics.fmean(scores):.1f}"
    return f"{mean} ± {statistics.stdev(scores):.1f}" if len(scores) > 1 else mean


def shown(record: Mapping[str, Any]) -> str:
    """Returns the Markdown of a table that was written as JSON."""
    lines = [ResultLine(**row) for row in record["rows"]]
    return markdown(record["columns"], record["notes"], lines, record["labels"])


def markdown(
    columns: Sequence[str], notes: Sequence[str], lines: Sequence[ResultLine], labels: Sequence[str]
) -> str:
    """Returns the table as Markdown, our numbers beside the paper's, then how the orders compare.

    Args:
        columns: data sets on which the paper reports accuracies.
        notes: differences from the paper, in sentences.
        lines: the rows and baselines.
        labels: names of the labels that are evaluated here.
    """
    head = ["row", *(f"paper: {column}" for column in columns), *labels]
    rows = [head, ["---"] * len(head), *(_cells(line, len(columns), labels) for line in lines)]
    text = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    seeds = max((len(scores) for line in lines for scores in line.scores.values()), default=0)
    many = f"{seeds} seeds, each" if seeds > 1 else "one seed"
    remarks = [
        f"Accuracy in per cent; ours: mean ± standard deviation over {many} with its own weights, "
        "order of clips and masks, the same for all rows.",
        *notes,
        *(f"{line.name}: {line.missing}" for line in lines if line.missing and line.paper),
        *_orders(columns, lines, labels),
    ]
    return f"{text}\n\n" + "\n".join(f"* {_escaped(remark)}" for remark in remarks)


def _cells(line: ResultLine, columns: int, labels: Sequence[str]) -> list[str]:
    paper = [f"{value:.1f}" for value in line.paper] or [""] * columns
    if line.missing and not any(line.scores.values()):
        ours = [f"not run: {line.missing}", *[""] * (len(labels) - 1)]
    else:
        ours = [mean_and_deviation(line.scores.get(label, ())) for label in labels]
    return [_escaped(cell) for cell in (line.name, *paper, *ours)]


def _orders(
    columns: Sequence[str], lines: Sequence[ResultLine], labels: Sequence[str]
) -> Iterator[str]:
    for label in labels:
        for column, name in enumerate(columns):
            pairs = agreement(lines, column, label)
            if not pairs.pairs:
                continue
            words = (
                f"{label} puts {pairs.same} of {pairs.pairs} pairs of rows in the order of {name}"
            )
            if pairs.consistent:
                words += (
                    f"; of the {pairs.consistent} that keep one order in every seed, "
                    f"{pairs.consistent_same}"
                )
            yield words + "."


def _escaped(cell: str) -> str:
    """Returns a cell with the characters escaped that would end it or look like markup."""
    return cell.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
