"""Makes the section of probe results from ``result.json``; missing entries are omitted."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ivn.report.draw.images import heat_colours, image_uri

from .content import finite
from .elements import count, details, faint, lead, scrolling, table
from .html import Html, tag

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
        parts.append(lead(said))
    for note in _list(result.get("notes")):
        parts.append(faint(str(note)))
    rows = [row for row in _list(result.get("rows")) if isinstance(row, dict)]
    chance = finite(result.get("chance"))
    parts.append(_rows(rows, chance) if rows else faint("This result holds no rows."))
    classes = [str(one) for one in _list(result.get("classes"))]
    if (matrix := _matrix(result.get("confusion"))) is not None:
        parts.append(_confusion(matrix, classes, _by(result.get("confusion_of"))))
    per_class = [row for row in _list(result.get("per_class")) if isinstance(row, dict)]
    if per_class:
        parts.append(_per_class(per_class, _by(result.get("per_class_of"))))
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
        words.append(
            f"{count(views['clips'], 'clip')} x {count(views['crops'], 'crop')} of each video"
        )
    for key in ("label", "data"):
        if isinstance(result.get(key), str) and result[key]:
            words.append(f'{key} "{result[key]}"')
    return ", ".join(words)


def _rows(rows: Sequence[Mapping[str, Any]], chance: float | None) -> Html:
    """Returns a table: one row per head, one column per score, the first with its interval."""
    scores = list(
        dict.fromkeys(key for row in rows for key, value in row.items() if _is_score(key, value))
    )
    heads = [_HEADINGS.get(score, score.replace("_", " ")) for score in scores]
    heads[1:1] = ["interval", ""] if scores else []
    body = []
    for row in rows:
        cells: list[str] = []
        for score in scores:
            value, low, high = _share(row.get(score))
            cells.append(_percent(value))
            if score == scores[0]:
                known = low is not None and high is not None
                cells.append(f"{low:.1%} to {high:.1%}" if known else "")
                cells.append(_range(value, low, high, chance))
        tuned = ((key, finite(row.get(key))) for key in _TUNED)
        chosen = ", ".join(f"{key} {value:g}" for key, value in tuned if value is not None)
        names = [str(row.get(key, "")) for key in ("encoder", "head")]
        body.append([*names, *cells, chosen])
    heads = ["encoder", "head", *heads, "chosen"]
    # All but the names and the drawing.
    numbers = {*range(2, len(heads))} - {4}
    return table("scores", heads, body, numbers=numbers)


def _is_score(key: str, value: object) -> bool:
    """Returns whether a row's entry is a share of clips, by its form or its name."""
    named = key in _NAMES and value is not None
    return named or (isinstance(value, dict) and "value" in value)


def _range(
    value: float | None, low: float | None, high: float | None, chance: float | None
) -> Html:
    """Draws an accuracy on a scale of 0 to 100% with its interval, and chance as a dashed line."""
    shares = (value, low, high, chance)
    if value is None or any(share is not None and not 0 <= share <= 1 for share in shares):
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


def _by(named: object) -> str:
    """Returns the head and the encoder that a table is about, in words; "" where it has none."""
    if not isinstance(named, dict) or not {"head", "encoder"} <= named.keys():
        return ""
    return f", by {named['head']} on {named['encoder']}"


def _confusion(matrix: np.ndarray, classes: Sequence[str], by: str) -> Html:
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    names = [classes[i] if i < len(classes) else str(i) for i in range(len(matrix))]
    title = f"Confusion matrix, {len(matrix)} classes{by}"
    note = faint("Rows: true class; columns: predicted, in the same order.")
    if len(matrix) > _WRITTEN:
        image = image_uri(heat_colours(shares))
        alt = f"confusion matrix of {len(matrix)} classes, bright where predicted often"
        inside = tag("img", {"class": "matrix", "src": image, "alt": alt})
        return details(title, note, inside, opened=True)
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
    grid = tag("table", {"class": "confusion"}, tag("tbody", {}, *rows))
    return details(title, note, scrolling(grid, "confusion matrix"), opened=True)


def _per_class(rows: Sequence[Mapping[str, Any]], by: str) -> Html:
    """Returns the accuracy of each class, or its average precision where clips have several."""
    score, title = ("ap", "AP") if any("ap" in row for row in rows) else ("top1", "top-1")
    body = [
        [str(row.get("class", "")), str(row.get("n", "")), _percent(_share(row.get(score))[0])]
        for row in rows[:_CLASSES]
    ]
    inside = [
        table(f"{title} of each class", ["class", "clips", title], body, numbers=(1, 2), wide=False)
    ]
    if len(rows) > _CLASSES:
        inside.append(faint(f"and {len(rows) - _CLASSES} more"))
    return details(f"Each of {len(rows)} classes{by}", *inside)


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
