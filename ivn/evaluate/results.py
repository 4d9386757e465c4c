"""What a probe found, as plain values, files and a table."""

import csv
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ivn.durable import why, write_text
from ivn.errors import DataError, WriteError
from ivn.frozen.encoders import Frozen
from ivn.provenance import versions

from .features.extract import Unusable
from .metrics import CONFIDENCE, Share

FORMAT = 1
RESULT = "result.json"
CONFUSION = "confusion.csv"


@dataclass
class ResultRow:
    """One head on one encoder.

    Attributes:
        encoder: its name.
        head: kind of the head.
        scores: name -> mean over clips with its interval; None where it says nothing.
        extra: what was chosen of the grid, and the like.
        baseline: whether the encoder is there for others to be compared with.
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
    """Everything that a probe found.

    Attributes:
        task: "classify", "motion" or "retrieve".
        facts: of data, classes, split and chance, as in result.json.
        rows: every head on every encoder.
        encoders: those of the rows.
        skipped: files that could not be used.
    """

    task: str
    facts: dict[str, Any]
    rows: list[ResultRow]
    encoders: Sequence[Frozen]
    skipped: Sequence[Unusable] = ()

    def json(self) -> dict[str, Any]:
        """All of it as plain values."""
        described = [describe(frozen) for frozen in self.encoders]
        return {
            "format": FORMAT,
            "task": self.task,
            "encoder": {name: described[0][name] for name in ("name", "identity")},
            "encoders": described,
            "confidence": CONFIDENCE,
            **self.facts,
            "rows": [row.json() for row in self.rows],
            "skipped": [{"path": one.path, "reason": one.reason} for one in self.skipped],
            "versions": versions("ivn", "torch", "numpy", "av"),
        }


def describe(frozen: Frozen) -> dict[str, Any]:
    """An encoder in plain values."""
    return {
        "name": frozen.name,
        "identity": frozen.identity,
        "frames": frozen.spec.frames,
        "size": frozen.spec.size,
        "slots": frozen.slots,
        "width": frozen.width,
    }


def check_new(out: Path) -> None:
    """See that results can be put into ``out``: no result is there yet.

    Raises:
        DataError: one is, or it is a file.
    """
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file, expected a new folder for the result")
    if (out / RESULT).exists():
        raise DataError(f"{out} holds a result already; choose a new folder with --out")


def write(result: Result, out: Path) -> None:
    """Put ``result.json`` and, where there is one, ``confusion.csv`` into ``out``.

    Raises:
        DataError: they could not be written.
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
    rows.writerow(["true \\ told", *classes])
    rows.writerows([name, *counts] for name, counts in zip(classes, table, strict=True))
    return text.getvalue()
