"""Tables of results, for people."""

import io
from typing import Any

from .metrics import Share
from .results import Result, ResultRow

_WIDTH = 100
# Scores of a head, the first with its interval: with one class per video, and with several labels.
_ONE, _SEVERAL = ("top1", "top5", "class_mean"), ("map",)
_HEADINGS = {"top1": "top-1", "top5": "top-5", "class_mean": "class mean", "map": "mAP", "ap": "AP"}


def classify_table(result: Result) -> str:
    """Returns the scores of every head on every encoder and of guessing, and the best's classes."""
    facts = result.facts
    several = facts["multi_label"]
    first, *others = _SEVERAL if several else _ONE
    guess = "" if several else f"always the most frequent class: {facts['majority']:.1%}, "
    lines = [
        *facts["notes"],
        f"{facts['n']} videos of {len(facts['classes'])} classes in {facts['groups']} groups, "
        f"{_split(facts['split'])}",
        f"{guess}by chance: {facts['chance']:.1%}",
    ]
    if result.skipped:
        lines.append(f"{len(result.skipped)} videos could not be used")
    head = ["encoder", "head", _HEADINGS[first], "95% interval"]
    body = [
        [
            _named(row, result.rows),
            row.head,
            _value(row.scores[first]),
            _interval(row.scores[first]),
            *(_value(row.scores[name]) for name in others),
            _chosen(row),
        ]
        for row in result.rows
    ]
    lines.append(_table([*head, *(_HEADINGS[name] for name in others), "chosen"], body))
    best, score = facts["per_class_of"], "ap" if several else "top1"
    lines.append(f"classes, by {best['head']} on {best['encoder']}:")
    rows = [
        [row["class"], str(row["n"]), "" if row[score] is None else f"{row[score]:.1%}"]
        for row in facts["per_class"]
    ]
    lines.append(_table(["class", "videos", _HEADINGS[score]], rows))
    return "\n".join(lines)


def motion_table(result: Result) -> str:
    """Returns every encoder's accuracy over all camera motions and over each kind of picture."""
    facts = result.facts
    kinds = sorted(facts["kinds"], reverse=True)
    counts = ", ".join(
        f"{facts['kinds'][kind]} of {kind} pictures, {facts['kinds'][kind] / facts['n']:.0%}"
        for kind in kinds
    )
    lines = [
        *facts["notes"],
        f"{facts['n']} clips of {len(facts['classes'])} camera motions ({counts}) in "
        f"{facts['groups']} scenes, each judged by a linear readout of other scenes "
        f"({facts['split']['folds']} folds); intervals are over scenes",
        f"by chance: {facts['chance']:.1%}",
    ]
    if result.skipped:
        lines.append(f"{len(result.skipped)} videos could not be used")
    rows = [
        [
            row.encoder,
            _value(row.scores["top1"]),
            _interval(row.scores["top1"]),
            *(f"{row.extra['by_kind'][kind]:.1%}" for kind in kinds),
        ]
        for row in result.rows
    ]
    lines.append(_table(["encoder", "accuracy", "95% interval", *kinds], rows))
    for gain in facts["differences"]:
        value, low, high = (f"{100 * gain[key]:+.1f}" for key in ("value", "low", "high"))
        lines.append(
            f"{gain['encoder']} less {gain['baseline']}: {value} points "
            f"(95% interval {low} to {high})"
        )
    return "\n".join(lines)


def retrieve_table(result: Result) -> str:
    """Returns every encoder's recall and mean average precision."""
    facts = result.facts
    lines = [
        *facts["notes"],
        f"{facts['n']} queries of {len(facts['classes'])} classes in {facts['groups']} groups, "
        f"among {facts['gallery']} videos; videos of the query's own group are not ranked",
        "by chance: "
        + ", ".join(f"recall@{k} {value:.1%}" for k, value in facts["chance_recall"].items()),
    ]
    if facts["unasked"]:
        lines.append(f"{facts['unasked']} videos have no other of their class and are no queries")
    if result.skipped:
        lines.append(f"{len(result.skipped)} videos could not be used")
    names = ["recall1", "recall5", "recall10", "map"]
    rows = [
        [
            _named(row, result.rows),
            _value(row.scores["recall1"]),
            _interval(row.scores["recall1"]),
            *(_value(row.scores[name]) for name in names[1:]),
        ]
        for row in result.rows
    ]
    head = ["encoder", "recall@1", "95% interval", "recall@5", "recall@10", "mAP"]
    lines.append(_table(head, rows))
    return "\n".join(lines)


def _named(row: ResultRow, rows: list[ResultRow]) -> str:
    """Returns the encoder's name, with its pool if the first row of the same head has another."""
    first = next(other for other in rows if other.head == row.head)
    same = row.extra["pool"] == first.extra["pool"]
    return row.encoder if same else f"{row.encoder} ({row.extra['pool']})"


def _split(split: dict[str, Any]) -> str:
    if split["kind"] == "folds":
        return f"each judged by heads of other groups ({split['folds']} folds)"
    if split["kind"] == "hold-out":
        return f"judged by heads of {split['train'][0]} videos of other groups"
    return f"judged by heads of the {split['train'][0]} videos of the training list"


def _value(share: Share | None) -> str:
    return "" if share is None else f"{share.value:.1%}"


def _interval(share: Share | None) -> str:
    return "" if share is None else f"{share.low:.1%} - {share.high:.1%}"


def _chosen(row: ResultRow) -> str:
    return ", ".join(
        f"{name} {row.extra[name]:g}" for name in ("lr", "wd", "k") if name in row.extra
    )


def _table(head: list[str], rows: list[list[str]]) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False)
    for number, name in enumerate(head):
        table.add_column(name, justify="left" if number == 0 else "right", overflow="fold")
    for row in rows:
        # Text, not markup: a class may be called "[red]".
        table.add_row(*(Text(cell) for cell in row))
    text = io.StringIO()
    Console(file=text, width=_WIDTH, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())
