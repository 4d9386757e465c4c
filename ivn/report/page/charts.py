"""Draws curves as SVG: several runs in one chart, on a linear and, if possible, a log scale."""

import itertools
import json
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .content import Series
from .html import Html, join, tag

WIDTH, HEIGHT = 360, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 10, 10, 24
_POINTS = 320  # of a drawn line, at most
_LEAST = 1e-300  # a difference below it is none: its parts are no numbers
_SMOOTH = 100  # points from which on a noisy line is drawn smoothed, too


class Line(NamedTuple):
    """A run's line in a chart: its name, its number, which gives the colour, and its values."""

    name: str
    colour: int
    series: Series


class _Scale(NamedTuple):
    """The position of values on an axis, and the values with a line of the grid."""

    place: Callable[[float], float]
    ticks: Sequence[float]


def chart(title: str, lines: Sequence[Line], *, noisy: bool = True) -> Html:
    """Returns a figure with a title, axes and a line for each run.

    Args:
        title: title of the figure.
        lines: lines to draw, at least one, each with at least one value.
        noisy: whether a long line is drawn faintly, with its means over ranges of steps on top.
    """
    steps = [step for line in lines for step in line.series.steps]
    values = [value for line in lines for value in line.series.values]
    across = _linear(min(steps), max(steps), _LEFT, WIDTH - _RIGHT, ticks=4, least=1)
    scales = {"lin": _linear(min(values), max(values), HEIGHT - _BOTTOM, _TOP, ticks=4)}
    if min(values) > 0 and max(values) > 2 * min(values):
        scales["log"] = _logarithmic(min(values), max(values))
    drawn = [
        tag("g", {"class": name}, *_plot(lines, across, scale, noisy))
        for name, scale in scales.items()
    ]
    said = "; ".join(
        f"{line.name}: {_number(line.series.values[0])} to {_number(line.series.values[-1])}"
        for line in lines
    )
    svg = tag(
        "svg",
        {
            "viewBox": f"0 0 {WIDTH} {HEIGHT}",
            "role": "img",
            "tabindex": "0",
            "aria-label": f"{title} over steps {_number(min(steps))} to {_number(max(steps))}. "
            f"{said}. Left and right arrows read values.",
            "data-chart": _data(lines, min(steps), max(steps)),
            "class": "both" if "log" in scales else None,
        },
        *_axis(across),
        *drawn,
        tag("line", {"class": "cursor", "x1": 0, "x2": 0, "y1": _TOP, "y2": HEIGHT - _BOTTOM}),
    )
    value = tag("output", {"class": "value", "aria-live": "polite"}, "")
    return tag("figure", {"class": "chart"}, tag("figcaption", {}, title, " ", value), svg)


def _plot(lines: Sequence[Line], across: _Scale, up: _Scale, noisy: bool) -> list[Html]:
    parts = []
    for value in up.ticks:
        y = up.place(value)
        ends = {"x1": _LEFT, "x2": WIDTH - _RIGHT, "y1": _short(y), "y2": _short(y)}
        parts.append(tag("line", {"class": "grid", **ends}))
        place = {"x": _LEFT - 6, "y": _short(y + 3.5), "text-anchor": "end"}
        parts.append(tag("text", place, _number(value)))
    for line in lines:
        points = list(zip(line.series.steps, line.series.values, strict=True))
        colour = f"c{line.colour % 8}"
        smooth = noisy and len(points) >= _SMOOTH
        faint = " faint" if smooth else ""
        parts.append(_path(_thinned(points), across, up, f"{colour}{faint}"))
        if smooth:
            parts.append(_path(_smoothed(points), across, up, colour))
    return parts


def _path(points: list[tuple[float, float]], across: _Scale, up: _Scale, name: str) -> Html:
    places = [f"{_short(across.place(x))} {_short(up.place(y))}" for x, y in points]
    if len(points) == 1:
        x, y = places[0].split()
        return tag("circle", {"class": f"dot {name}", "cx": x, "cy": y, "r": 3})
    return tag("path", {"class": f"curve {name}", "d": "M" + "L".join(places)})


def _axis(across: _Scale) -> list[Html]:
    at = {"y": HEIGHT - 7, "text-anchor": "middle"}
    places = [(step, _short(across.place(step))) for step in across.ticks]
    return [tag("text", {"x": x, **at}, _number(step)) for step, x in places]


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Returns the smallest and the largest value of each range of steps, in their order."""
    if len(points) <= _POINTS:
        return points
    kept = []
    for part in _stretches(points, _POINTS // 2):
        low, high = (pick(part, key=lambda point: point[1]) for pick in (min, max))
        kept += sorted({low, high})
    return kept


def _smoothed(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Returns the mean of each range of steps."""
    parts = _stretches(points, min(64, len(points) // 4))
    return [
        (sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts
    ]


def _stretches(points: list[tuple[float, float]], count: int) -> list[list[tuple[float, float]]]:
    edges = [round(i * len(points) / count) for i in range(count + 1)]
    return [points[a:b] for a, b in itertools.pairwise(edges) if b > a]


def _linear(
    low: float, high: float, start: float, end: float, *, ticks: int, least: float = 0
) -> _Scale:
    """Returns a scale with about ``ticks`` marks at round numbers, ``least`` or more apart."""
    size = max(abs(low), abs(high))
    if high - low <= max(size * 1e-12, _LEAST):
        pad = size * 0.1 if size > 1e3 * _LEAST else 1.0
        low, high = (low - pad, high + pad) if start > end else (low, high + 1)
    size = max((high - low) / ticks, least)
    power = 10.0 ** math.floor(math.log10(size))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= size * 0.999)
    if start > end:  # values: whole steps around them
        low, high = math.floor(low / step) * step, math.ceil(high / step) * step
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    marks = [i * step for i in range(first, last + 1)]
    return _Scale(lambda value: start + (value - low) / (high - low) * (end - start), marks)


def _logarithmic(low: float, high: float) -> _Scale:
    bottom, top = math.log10(low), math.log10(high)
    pad = 0.04 * (top - bottom)
    bottom, top = bottom - pad, top + pad
    factors = (1, 2, 5) if top - bottom < 2.5 else (1,)
    every = max(1, math.ceil((top - bottom) / 5)) if len(factors) == 1 else 1
    marks = [
        factor * 10.0**power
        for power in range(max(math.floor(bottom), -307), min(math.ceil(top), 307) + 1, every)
        for factor in factors
        if bottom <= math.log10(factor * 10.0**power) <= top
    ]
    start, end = HEIGHT - _BOTTOM, _TOP
    return _Scale(
        lambda value: start + (math.log10(value) - bottom) / (top - bottom) * (end - start), marks
    )


def _data(lines: Sequence[Line], low: float, high: float) -> str:
    """Returns the values for the page's script, as JSON."""
    content = []
    for line in lines:
        every = max(1, math.ceil(len(line.series.steps) / _POINTS))
        values = [float(f"{y:.4g}") for y in line.series.values[::every]]
        content.append({"n": line.name, "x": line.series.steps[::every], "y": values})
    span = {"x0": low, "x1": high if high > low else low + 1}
    place = {"l": _LEFT, "r": WIDTH - _RIGHT, "w": WIDTH}
    return json.dumps({**span, **place, "s": content}, separators=(",", ":"))


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _number(value: float) -> str:
    """Writes a number in few characters: 1234 -> 1,234, 0.00012 -> 1.2e-4."""
    if value == 0:
        return "0"
    if abs(value) >= 100_000 or abs(value) < 0.001:
        mantissa, _, power = f"{value:.2e}".partition("e")
        return f"{float(mantissa):g}e{int(power)}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def bar(shares: Sequence[tuple[str, float]], label: str) -> Html:
    """Draws shares of a whole as one bar; ``label`` says it in words."""
    parts, left = [], 0.0
    for name, share in shares:
        where = {"x": _short(1000 * left), "width": _short(1000 * share), "height": 10}
        parts.append(tag("rect", {"class": name, "y": 0, **where}))
        left += share
    box = {"viewBox": "0 0 1000 10", "preserveAspectRatio": "none", "role": "img"}
    return tag("svg", {**box, "class": "bar", "aria-label": label}, join(parts))
