"""Makes the section of probe results from ``result.json``; missing entries are omitted."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ivn.report.draw.images import heat_colours, image_uri

from .content import finite
from .curves import scrolling
from .html import Html, join, tag

_WRITTEN = 16  # classes up to which a confusion matrix is a table of numbers
_NAMES = {"top1": "top-1", "top5": "top-5"}  # scores of a row whatever their form
_HEADINGS = {**_NAMES, "class_mean": "class mean", "map": "mAP"}
_TUNED = ("lr", "wd", "C", "k", "temperature")  # what a head may have been chosen by
_CLASSES = 400  # of the per-class table, at most


def probe(run: str, name: str, result: Mapping[str, Any]) -> Html:
    """Returns the results of one probe of a run."""
    task = result.get("task")
    title = f"{run}: {task if isinstance(task, str) else name}"
    parts = [tag("h3", {}, title, *([f" ({name})"] if name != task else []))]
    if said := _said(result):
        parts.append(tag("p", {"class": "lead"}, said))
    for note in _list(result.get("notes")):
        parts.append(tag("p", {"class": "empty"}, str(note)))
    rows = [row for row in _list(result.get("rows")) if isinstance(row, dict)]
    chance = finite(result.get("chance"))
    if rows:
        parts.append(_rows(rows, chance))
    else:
        parts.append(tag("p", {"class": "empty"}, "This result holds no rows."))
    classes = [str(one) for one in _list(result.get("classes"))]
    if (matrix := _matrix(result.get("confusion"))) is not None:
        parts.append(_confusion(matrix, classes))
    per_class = [row for row in _list(result.get("per_class")) if isinstance(row, dict)]
    if per_class:
        parts.append(_per_class(per_class))
    return tag("div", {"class": "probe"}, *parts)


def _said(result: Mapping[str, Any]) -> str:
    words = []
    n, groups = finite(result.get("n")), finite(result.get("groups"))
    if n is not None:
        words.append(f"{n:.0f} clips" + (f" in {groups:.0f} groups" if groups is not None else ""))
    for key, label in (("chance", "chance"), ("majority", "the most frequent class")):
        value = finite(result.get(key))
        if value is not None:
            words.append(f"{label} {value:.1%}")
    views = result.get("views")
    if isinstance(views, dict) and {"clips", "crops"} <= views.keys():
        words.append(f"{views['clips']} clips x {views['crops']} crops of each video")
    for key, label in (("label", "label"), ("data", "data")):
        if isinstance(result.get(key), str) and result[key]:
            words.append(f"{label} {result[key]}")
    return ", ".join(words)


def _rows(rows: Sequence[Mapping[str, Any]], chance: float | None) -> Html:
    """Returns a table: one row per head, one column per score, the first with its interval."""
    scores = list(
        dict.fromkeys(key for row in rows for key, value in row.items() if _is_score(key, value))
    )
    body = []
    for row in rows:
        cells = [tag("td", {}, str(row.get(key, ""))) for key in ("encoder", "head")]
        for number, score in enumerate(scores):
            value, low, high = _share(row.get(score))
            cells.append(_number(_percent(value)))
            if number == 0:
                interval = low is not None and high is not None
                cells.append(_number(f"{low:.1%} to {high:.1%}" if interval else ""))
                cells.append(tag("td", {}, _range(value, low, high, chance)))
        tuned = ((key, finite(row.get(key))) for key in _TUNED)
        said = ", ".join(f"{key} {value:g}" for key, value in tuned if value is not None)
        body.append(tag("tr", {}, *cells, _number(said)))
    heads = [tag("th", {}, "encoder"), tag("th", {}, "head")]
    for number, score in enumerate(scores):
        heads.append(tag("th", {"class": "number"}, _HEADINGS.get(score, score.replace("_", " "))))
        if number == 0:
            heads += [tag("th", {"class": "number"}, "interval"), tag("th", {}, "")]
    heads.append(tag("th", {"class": "number"}, "chosen"))
    table = tag(
        "table",
        {"class": "wide"},
        tag("thead", {}, tag("tr", {}, *heads)),
        tag("tbody", {}, *body),
    )
    return scrolling(table, "scores")


def _is_score(key: str, value: object) -> bool:
    """Returns whether a row's entry is a share of clips, by its form or its name."""
    return key in _NAMES or (isinstance(value, dict) and "value" in value)


def _number(text: str) -> Html:
    return tag("td", {"class": "number"}, text)


def _range(
    value: float | None, low: float | None, high: float | None, chance: float | None
) -> Html:
    """Draws an accuracy on a scale of 0 to 100% with its interval, and chance as a dashed line."""
    if any(share is not None and not 0 <= share <= 1 for share in (value, low, high, chance)):
        return Html("")
    if value is None:
        return Html("")
    parts = [_line("axis", 0, 150, 7, 7)]
    if chance is not None:
        parts.append(_line("chance", 150 * chance, 150 * chance, 0, 14))
    if low is not None and high is not None:
        parts.append(_line("interval", 150 * low, 150 * high, 7, 7))
    parts.append(tag("circle", {"class": "point", "cx": round(150 * value, 1), "cy": 7, "r": 3.5}))
    return tag("svg", {"class": "range", "viewBox": "0 0 150 14", "aria-hidden": "true"}, *parts)


def _line(name: str, x1: float, x2: float, y1: float, y2: float) -> Html:
    ends = {"x1": round(x1, 1), "x2": round(x2, 1), "y1": y1, "y2": y2}
    return tag("line", {"class": name, **ends})


def _confusion(matrix: np.ndarray, classes: Sequence[str]) -> Html:
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    names = [classes[i] if i < len(classes) else str(i) for i in range(len(matrix))]
    summary = tag("summary", {}, f"Confusion matrix, {len(matrix)} classes")
    note = tag("p", {"class": "empty"}, "Rows: true class; columns: predicted, in the same order.")
    if len(matrix) > _WRITTEN:
        image = image_uri(heat_colours(shares))
        alt = f"confusion matrix of {len(matrix)} classes, bright where predicted often"
        inside = tag("img", {"class": "matrix", "src": image, "alt": alt})
        return tag("details", {"open": ""}, summary, note, inside)
    rows = []
    for name, counts, row in zip(names, matrix, shares, strict=True):
        cells = [
            tag(
                "td",
                {
                    "style": f"--v:{share:.3f}",
                    "class": "strong" if share > 0.55 else None,
                    "title": f"{name}, taken for {names[column]}",
                },
                f"{count:g}",
            )
            for column, (count, share) in enumerate(zip(counts, row, strict=True))
        ]
        rows.append(tag("tr", {}, tag("th", {"scope": "row"}, name), *cells))
    table = tag("table", {"class": "confusion"}, tag("tbody", {}, *rows))
    return tag("details", {"open": ""}, summary, note, scrolling(table, "confusion matrix"))


def _per_class(rows: Sequence[Mapping[str, Any]]) -> Html:
    """Returns the accuracy of each class, or its average precision where clips have several."""
    score, title = ("ap", "AP") if any("ap" in row for row in rows) else ("top1", "top-1")
    body = []
    for row in rows[:_CLASSES]:
        value, _, _ = _share(row.get(score))
        cells = [str(row.get("class", "")), str(row.get("n", "")), _percent(value)]
        marked = [tag("td", {"class": "number" if i else None}, c) for i, c in enumerate(cells)]
        body.append(tag("tr", {}, *marked))
    left = len(rows) - _CLASSES
    more = [tag("p", {"class": "empty"}, f"and {left} more")] if left > 0 else []
    names = zip(("class", "clips", title), (None, "number", "number"), strict=True)
    head = tag("tr", {}, *(tag("th", {"class": name}, word) for word, name in names))
    table = tag("table", {}, tag("thead", {}, head), tag("tbody", {}, *body))
    summary = tag("summary", {}, f"Each of {len(rows)} classes")
    return tag("details", {}, summary, scrolling(table, f"{title} of each class"), join(more))


def _matrix(value: object) -> np.ndarray | None:
    """Returns ``value`` if it is a square matrix of counts, otherwise None."""
    rows = _list(value)
    if not rows or any(not isinstance(row, list) or len(row) != len(rows) for row in rows):
        return None
    numbers = [[finite(cell) for cell in row] for row in rows]
    if any(cell is None or cell < 0 for row in numbers for cell in row):
        return None
    return np.array(numbers, np.float64)


def _share(value: object) -> tuple[float | None, float | None, float | None]:
    """Returns value, lower and upper bound of a share, where it has them."""
    if isinstance(value, dict):
        low, high = finite(value.get("low")), finite(value.get("high"))
        return finite(value.get("value")), low, high
    return finite(value), None, None


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
