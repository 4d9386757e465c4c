"""Draws ``ops.json``: the speed of each operation as a share of a copy's of the same bytes."""

from pathlib import Path

from ivn.durable import new_file
from ivn.provenance import in_words

# Libraries share a colour.
_COLOURS = {"ours": "tab:blue", "eager": "tab:gray", "compiled": "tab:orange"}
_OTHERS = "tab:green"


def draw(found: dict, file: Path) -> None:
    """Draws bars for every row of ``found``: each implementation's share of the copy's speed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [row for row in found["rows"] if row["implementations"]]
    bars = sum(len(row["implementations"]) for row in rows)
    figure = Figure(figsize=(11, 1.5 + 0.16 * bars + 0.12 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    place, ticks = 0.0, []
    for row in rows:
        start = place
        for name, cells in row["implementations"].items():
            axes.barh(place, cells["of_copy"], color=_COLOURS.get(name, _OTHERS), height=0.9)
            axes.text(cells["of_copy"], place, f" {name}", va="center", fontsize=6)
            place += 1
        ticks.append(((start + place - 1) / 2, f"{row['case']}, {row['direction']}"))
        place += 0.8
    axes.set_yticks([at for at, _ in ticks], [name for _, name in ticks], fontsize=7)
    axes.set_ylim(place, -1)  # the first row on top, no margins
    axes.axvline(1, color="black", linewidth=0.6)
    axes.set_xlabel("speed, as a share of a copy that moves the same bytes")
    about = {key: value for key, value in found.items() if key != "rows"}
    axes.set_title(in_words(about), fontsize=7)
    with new_file(file, overwrite=True) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
