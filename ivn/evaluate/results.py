"""Results of evaluations, as plain values and files."""

import csv
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Required, TypedDict

from ivn.durable import why, write_text
from ivn.errors import DataError, WriteError
from ivn.frozen.encoders import Frozen
from ivn.provenance import versions

from .features.extract import Unusable
from .metrics import CONFIDENCE, Share

FORMAT = 1
RESULT = "result.json"
PROBES = "probes"  # folder of results in that of a run
CONFUSION = "confusion.csv"


class Facts(TypedDict, total=False):
    """Entries of result.json about data and protocol, beside which a task gives more of its own.

    Every task gives those marked as required. Pages of runs show all entries below as far as they
    are there; tables of results print the notes, and whatever else the task prints itself.

    Attributes:
        n: number of videos or clips that were judged.
        groups: number of their groups, over which intervals are drawn.
        notes: lines about the data that a user should read.
        data: list or folder that was given, or a few words for it.
        label: name of the label.
        chance: share that guessing gets; None where guessing has no score.
        majority: share that the most frequent class gets; None where there is none.
        views: "clips" of each video, and "crops" of each of those.
        classes: names of the classes, in the order of ``confusion``.
        confusion: number of clips by true (row) and predicted class, also written to confusion.csv.
        per_class: a row for each class: "class" (its name), "n", and "top1" or "ap".
    """

    n: Required[int]
    groups: Required[int]
    notes: Required[list[str]]
    data: str
    label: str
    chance: float | None
    majority: float | None
    views: dict[str, int]
    classes: list[str]
    confusion: list[list[int]]
    per_class: list[dict[str, Any]]


@dataclass
class ResultRow:
    """The result of one head on one encoder: a row of the table, and of the page of a run.

    Attributes:
        encoder: name of the encoder.
        head: kind of the head.
        scores: name -> mean over clips with its interval; None if the score is not meaningful. A
            page shows each in per cent, under its name, and draws the first one's interval.
        extra: further values, such as "pool" and the chosen point of the grid ("lr", "wd", "k").
        baseline: whether the encoder is a baseline for the others.
    """

    encoder: str
    head: str
    scores: dict[str, Share | None]
    extra: dict[str, Any] = field(default_factory=dict)
    baseline: bool = False

    def json(self) -> dict[str, Any]:
        scores = {name: value and value.json() for name, value in self.scores.items()}
        start = {"encoder": self.encoder, "head": self.head, "baseline": self.baseline}
        return start | scores | {"lr": None, "wd": None} | self.extra


@dataclass
class Result:
    """The result of an evaluation.

    Attributes:
        task: name of the task, as in ``ivn.evaluate.tasks.TASKS``.
        facts: entries of :class:`Facts`, and the task's own.
        rows: one row per head and encoder.
        encoders: the encoders of the rows.
        skipped: unusable files.
    """

    task: str
    facts: dict[str, Any]
    rows: list[ResultRow]
    encoders: Sequence[Frozen]
    skipped: Sequence[Unusable] = ()

    def __post_init__(self) -> None:
        if lacking := sorted(Facts.__required_keys__ - self.facts.keys()):
            raise ValueError(f"the result of {self.task} lacks {', '.join(lacking)}: see Facts")

    def json(self) -> dict[str, Any]:
        """Returns all of it as plain values."""
        described = [describe(frozen) for frozen in self.encoders]
        return {
            "format": FORMAT,
            "task": self.task,
            "encoder": {name: described[0][name] for name in ("name", "identity")},
            "encoders": described,
            "confidence": CONFIDENCE,
            **self.facts,
            "rows": [row.json() for row in self.rows],
            "skipped": [{"path": file.path, "reason": file.reason} for file in self.skipped],
            "versions": versions("ivn", "torch", "numpy", "av"),
        }


def describe(frozen: Frozen) -> dict[str, Any]:
    """Returns a description of an encoder as plain values."""
    return {
        "name": frozen.name,
        "identity": frozen.identity,
        "frames": frozen.spec.frames,
        "size": frozen.spec.size,
        "slots": frozen.slots,
        "width": frozen.width,
    }


def check_new(out: Path) -> None:
    """Checks that a result can be written into ``out``.

    Raises:
        DataError: ``out`` is a file, or holds a result already.
    """
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file, expected a new folder for the result")
    if (out / RESULT).exists():
        raise DataError(f"{out} holds a result already; choose a new folder with --out")


def write(result: Result, out: Path) -> None:
    """Writes ``result.json`` and, for tasks with a confusion, ``confusion.csv`` into ``out``.

    Raises:
        DataError: ``out`` holds a result already, or the files could not be written.
    """
    check_new(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        if "confusion" in result.facts:
            # A kill before the result leaves it: then it is replaced.
            write_text(out / CONFUSION, _confusion(result), overwrite=True)
        write_text(out / RESULT, json.dumps(result.json(), indent=2) + os.linesep)
    except (OSError, WriteError) as error:
        raise DataError(f"{out} could not be written ({why(error, out)})") from error


def _confusion(result: Result) -> str:
    classes, table = result.facts["classes"], result.facts["confusion"]
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["true \\ predicted", *classes])
    rows.writerows([name, *counts] for name, counts in zip(classes, table, strict=True))
    return text.getvalue()
