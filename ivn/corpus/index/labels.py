"""Columns of a row from the small files beside a video: ``.cls``, ``.json`` and ``.txt``."""

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

from ivn.data.manifest.parquet import Row
from ivn.data.manifest.row import NEVER_MIRRORED

# In the order of precedence: a .cls is the label, whatever the .json has under that name.
TEXTS = (".cls", ".json", ".txt")
_CAPTIONS = ("captions", "caption", "text")


def columns_of(texts: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Returns columns of a row by name, and lines about what is wrong with the texts.

    Args:
        texts: suffix, one of ``TEXTS``, -> content of that file.
    """
    told: dict[str, Any] = {}
    wrong: list[str] = []
    # One a line, as Unix and Windows end them.
    if labels := list(filter(None, map(str.strip, texts.get(".cls", "").split("\n")))):
        told["labels"] = {"label": ";".join(labels)}
    if ".json" in texts:
        try:
            record = json.loads(texts[".json"])
        except (ValueError, RecursionError):
            wrong.append("its .json cannot be read")
        else:
            if isinstance(record, dict):
                wrong += _from_record(record, told)
            else:
                wrong.append("its .json is no object")
    if caption := texts.get(".txt", "").strip():
        told["captions"] = (*told.get("captions", ()), caption)
    return told, wrong


def _from_record(record: Mapping[str, Any], told: dict[str, Any]) -> list[str]:
    """Adds columns of a row that have the right types to ``told``; other single values are labels.

    No path is taken from a tar, and no fact that packets tell. Returns lines about what is wrong.
    """
    known = {column.name: column.type for column in dataclasses.fields(Row)}
    labels: dict[str, str] = {}
    wrong = []
    for name, value in record.items():
        words = None if isinstance(value, list) else _words(value)
        if words == "":
            continue
        if name in _CAPTIONS:
            some = [value] if isinstance(value, str) else value
            if isinstance(some, list) and all(isinstance(text, str) for text in some):
                told["captions"] = (*told.get("captions", ()), *some)
        elif name in ("label", "labels"):
            # `labels` may also be what others call `label`.
            some = value if isinstance(value, dict) else {"label": value}
            for one, text in some.items():
                if (said := _words(text)) is None:
                    wrong.append(f'"{name}" in its .json is no text, number or list of these')
                elif one and said:
                    labels[one] = said
        elif name == "extra":
            if isinstance(value, dict):
                told[name] = {key: str(text) for key, text in value.items()}
        elif name in ("source", "group"):
            told[name] = words or ""
            if words is None and name == "group":
                wrong.append('"group" in its .json is no text or number')
        elif name in ("start", "end"):
            if (seconds := _seconds(value)) is not None:
                told[name] = seconds
            else:
                wrong.append(f'"{name}" in its .json is no number of seconds')
        elif name == "flip":
            if isinstance(value, bool):
                told[name] = value
            else:
                wrong.append(f'"{name}" in its .json is neither true nor false')
        elif name and name not in known and words:
            labels[name] = words
    told["labels"] = labels | told.get("labels", {})
    if told.get("source") in NEVER_MIRRORED:
        told.setdefault("flip", False)
    return wrong


def _seconds(value: Any) -> float | None:
    """Returns a number, which may be written as text; None for anything else."""
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) else None


def _words(value: Any) -> str | None:
    """Returns a label's value, several separated by ";"; "" for no value, None for another kind."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, (str, int, float)):
        return str(value)
    if isinstance(value, list) and all(isinstance(one, (str, int, float)) for one in value):
        return ";".join(map(str, value))
    return None
