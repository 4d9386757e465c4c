"""The table of a result of ``ivn evaluate classify``."""

from typing import Any

from ivn.evaluate.results import Result, ResultRow
from ivn.evaluate.table import aligned, result_table, score_columns, share_cell

# Scores of a head, the first with its interval: with one class per video, and with several labels.
_ONE = {"top1": "top-1", "top5": "top-5", "class_mean": "class mean"}
_SEVERAL = {"map": "mAP"}


def classify_table(result: Result) -> str:
    """Returns the scores of every head on every encoder and of guessing, and the best's classes."""
    facts, rows = result.facts, result.rows
    several = facts["multi_label"]
    guess, majority, chance = "", facts["majority"], facts["chance"]
    # Where classes are evenly spread, the most frequent class of the training videos says nothing.
    if majority is not None and majority > chance:
        guess = f"always the most frequent class: {majority:.1%}, "
    lines = [
        f"{facts['n']} videos of {len(facts['classes'])} classes in {facts['groups']} groups, "
        f"{_split(facts['split'])}",
        f"{guess}by chance: {chance:.1%}",
    ]
    columns = {
        "head": [row.head for row in rows],
        **score_columns(rows, _SEVERAL if several else _ONE),
        "chosen": [_chosen(row) for row in rows],
    }
    best, classes = facts["per_class_of"], facts["per_class"]
    score, heading = ("ap", "AP") if several else ("top1", "top-1")
    by_class = {
        "class": [row["class"] for row in classes],
        "videos": [str(row["n"]) for row in classes],
        heading: [share_cell(row[score]) for row in classes],
    }
    return "\n".join(
        [
            result_table(result, lines, columns),
            f"classes, by {best['head']} on {best['encoder']}:",
            aligned(by_class),
        ]
    )


def _split(split: dict[str, Any]) -> str:
    if split["kind"] == "folds":
        return f"each judged by heads of other groups ({split['folds']} folds)"
    if split["kind"] == "hold-out":
        return f"judged by heads of {split['train'][0]} videos of other groups"
    return f"judged by heads of the {split['train'][0]} videos of the training list"


def _chosen(row: ResultRow) -> str:
    return ", ".join(
        f"{name} {row.extra[name]:g}" for name in ("lr", "wd", "k") if name in row.extra
    )
