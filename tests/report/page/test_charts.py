"""Curves stand where their values are."""

import json
import math
import re

import pytest

from ivn.report.page.charts import HEIGHT, WIDTH, Line, bar, chart
from ivn.report.page.content import Series


def drawn(title, *series):
    lines = [Line(f"run {i}", i, Series(*pair)) for i, pair in enumerate(series)]
    return chart(title, lines)


def paths(svg, scale):
    """Points of each curve in a scale's group."""
    (group,) = re.findall(f'<g class="{scale}">(.*?)</g>', svg)
    found = re.findall(r'<path class="curve [^"]*" d="M([^"]+)"', group)
    return [[tuple(map(float, point.split())) for point in path.split("L")] for path in found]


def marks(svg, scale):
    """Height of each line of the grid -> the number beside it."""
    (group,) = re.findall(f'<g class="{scale}">(.*?)</g>', svg)
    ys = re.findall(r'class="grid"[^>]* y1="([\d.]+)"', group)
    texts = re.findall(r"<text[^>]*>([^<]+)</text>", group)
    return {float(y): float(text.replace(",", "")) for y, text in zip(ys, texts, strict=True)}


def test_a_value_stands_at_its_line_of_the_grid():
    (path,) = paths(svg := drawn("loss", ([1, 2, 3], [0.0, 5.0, 10.0])), "lin")
    places = {value: y for y, value in marks(svg, "lin").items()}
    assert [y for _, y in path] == [places[0], places[5], places[10]]
    assert path[0][0] < path[1][0] < path[2][0] <= WIDTH
    assert all(0 <= y <= HEIGHT for y in places.values())


def test_the_grid_ends_at_round_numbers_around_the_values():
    svg = drawn("loss", ([1, 2], [0.3, 9.7]))
    places = marks(svg, "lin")
    assert sorted(places.values()) == [0, 2.5, 5, 7.5, 10]
    (path,) = paths(svg, "lin")
    assert min(places) < path[1][1] < path[0][1] < max(places)


def test_equal_factors_are_equal_distances_on_the_logarithmic_scale():
    ((a, b, c),) = paths(drawn("lr", ([1, 2, 3], [1e-4, 1e-3, 1e-2])), "log")
    assert a[1] - b[1] == pytest.approx(b[1] - c[1], abs=0.2)


@pytest.mark.parametrize("values", [[-1.0, -10.0, -3.0], [0.0, 1.0, 2.0], [1.0, 1.1, 1.2]])
def test_there_is_no_logarithm_of_what_has_none(values):
    svg = drawn("term", ([1, 2, 3], values))
    assert '<g class="log">' not in svg and '<g class="lin">' in svg


@pytest.mark.parametrize(
    "values",
    [
        *([0.0, 5e-324], [5e-324, 5e-324], [-1e-310, 1e-310], [5e-324, 1e300], [-1e300, 1e300]),
        *([1.0, math.nextafter(1, 2)], [0.1, math.nextafter(0.1, 0)], [1e300, 1e300]),
    ],
)
def test_what_a_hostile_log_says_stands_in_the_chart_too(values):
    svg = drawn("term", ([1, 2], values), ([1, 2**53 - 1], values))
    for path in paths(svg, "lin"):
        assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in path)


@pytest.mark.parametrize("steps", [[10], [1, 2], [1, 3]])
def test_marks_of_steps_are_whole_steps(steps):
    svg = drawn("cosine", (steps, [0.5] * len(steps)))
    marked = [int(text) for text in re.findall(r'text-anchor="middle">([^<]+)</text>', svg)]
    assert marked == [*range(steps[0], max(steps[0] + 1, steps[-1]) + 1)]


def test_runs_share_one_scale():
    svg = drawn("loss", ([1, 2], [1.0, 2.0]), ([1, 4], [1.0, 4.0]))
    one, other = paths(svg, "lin")
    assert one[0] == other[0] and one[1][0] < other[1][0] and one[1][1] > other[1][1]


@pytest.mark.parametrize("value", [0.0, -2.5, 1e-9, 3e8])
def test_one_step_and_a_constant_are_drawn(value):
    assert "<circle" in drawn("loss", ([7], [value]))
    (path,) = paths(drawn("loss", ([1, 2], [value, value])), "lin")
    assert path[0][1] == path[1][1] and 0 < path[0][1] < HEIGHT


def test_a_long_curve_is_thinned_and_keeps_its_spikes():
    values = [1.0] * 100_000
    values[54_321] = 9.0
    svg = drawn("loss", (list(range(100_000)), values))
    faint, smooth = paths(svg, "lin")
    assert len(faint) < 400 and len(smooth) < 100
    top = min(y for _, y in faint)
    assert top < min(y for _, y in smooth) and len(svg) < 30_000


def test_what_the_script_reads_is_escaped():
    svg = chart("<b>", [Line('"><script>', 0, Series([1, 2], [1.0, 2.0]))])
    assert "<b>" not in svg and "<script>" not in svg
    (data,) = re.findall(r'data-chart="([^"]+)"', svg)
    assert json.loads(data.replace("&quot;", '"').replace("&lt;", "<").replace("&gt;", ">"))["s"]


def test_a_bar_has_its_shares():
    widths = re.findall(r'width="([\d.]+)"', bar((("wait", 0.25), ("work", 0.75)), "said"))
    assert widths == ["250", "750"]
