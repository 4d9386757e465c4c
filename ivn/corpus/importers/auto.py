"""Recognition of the format of annotation files, where they leave no doubt."""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ivn.corpus.importers.text import read_fields, read_json, read_lines
from ivn.errors import DataError

# First fields of a csv's line of names.
_HEADERS = {
    ("classname", "youtube_id", "subset", "start", "end", "label"): "hacs",
    ("narration_id", "participant_id", "video_id"): "epic-kitchens-100",
    ("id", "subject", "scene", "quality"): "charades",
}
_KINETICS = "youtube_id", "time_start", "time_end"
# Lines, of which all at a file's beginning must be so.
_LINES = {
    r"\w{5} [\d.]+ [\d.]+##.+": "charades-sta",
    r"\w+/v_\w+_g\d+_c\d+\.avi( \d+)?": "ucf101",
    r"[^/,]{11},\d{4}(,[01]\.\d+){4},\d+,\d+": "ava",
    r"[^/,]+/[^/,]+\.mp4,[^,]+,\d+,\d+": "moments",
}
_LOOKED_AT = 20
# Keys of the records of a JSON list, and of those in a JSON object's ``database``.
_RECORDS: dict[tuple[str, ...], str] = {
    ("id", "label", "template", "placeholders"): "ssv2",
    ("description", "times", "video"): "didemo",
}
_DATABASES: dict[tuple[str, ...], str] = {
    ("recipe_type", "class", "annotation"): "coin",
    ("recipe_type", "annotations", "subset"): "youcook2",
}


def recognised(files: Sequence[Path]) -> str:
    """Returns the name of the format; files of classes, which say nothing, may be among them.

    Raises:
        DataError: none of the files is unmistakable, or they are of different formats.
    """
    found = dict.fromkeys(name for name in map(_format_of, files) if name)
    if len(found) != 1:
        what = f"are {' and '.join(found)}" if found else "could be of several formats"
        raise DataError(f"{', '.join(map(str, files[:3]))}: {what}: give --format its name")
    return next(iter(found))


def _format_of(file: Path) -> str:
    """Returns the format of a file; "" if it is not certain."""
    if file.suffix.lower() == ".json":
        return _of_json(read_json(file))
    if re.fullmatch(r"\w+_test_split[123]\.txt", file.name):
        return "hmdb51"
    lines = [line for _, line in itertools.islice(read_lines(file), _LOOKED_AT)]
    for pattern, name in _LINES.items():
        if lines and all(re.fullmatch(pattern, line) for line in lines):
            return name
    if file.suffix.lower() != ".csv":
        return ""
    header = next((fields for _, fields in read_fields(file)), [])
    if set(_KINETICS) <= set(header):
        raise DataError(
            f"{file}: annotations of Kinetics 400, 600 or 700, which look alike: "
            "give --format kinetics400, kinetics600 or kinetics700"
        )
    return next((n for names, n in _HEADERS.items() if tuple(header[: len(names)]) == names), "")


def _of_json(found: Any) -> str:
    if isinstance(found, list):
        return _by_keys(found[:1], _RECORDS)
    if not isinstance(found, dict):
        return ""
    if {"videos", "sentences"} <= set(found):
        return "msrvtt"
    if {"database", "taxonomy", "version"} <= set(found):
        return "activitynet"
    inside = found.get("database")
    if isinstance(inside, dict):
        return _by_keys(list(inside.values())[:1], _DATABASES)
    return ""


def _by_keys(records: list[Any], formats: dict[tuple[str, ...], str]) -> str:
    for record in records:
        for keys, name in formats.items():
            if isinstance(record, dict) and set(keys) <= set(record):
                return name
    return ""
