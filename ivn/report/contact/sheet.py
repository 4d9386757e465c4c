"""Makes a contact sheet of clips as a page: each clip's whole frame, its crop and its masks.

Legend: T frames of S x S pixels, h x w pixels of a decoded frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from ivn.report.draw.images import Pixels
from ivn.report.page.content import Film, Strip
from ivn.report.page.films import strips
from ivn.report.page.html import Html, tag
from ivn.report.page.page import bar, document, header

_MARK = (250, 204, 21)  # yellow


@dataclass(frozen=True)
class Cell:
    """One clip of a sheet.

    Attributes:
        name: name of the file; any characters.
        lines: further lines of text about the clip.
        whole: a decoded frame, uint8 ``[h, w, 3]``.
        crop: left, top, width and height of the part that training sees, in pixels.
        films: label -> frames, uint8 ``[T, S, S, 3]``.
    """

    name: str
    lines: Sequence[str]
    whole: Pixels
    crop: tuple[int, int, int, int]
    films: dict[str, Pixels]


def contact_sheet(
    cells: Sequence[Cell], *, title: str, notes: Sequence[str] = (), made_by: str
) -> str:
    """Returns the clips below one another, as HTML.

    Args:
        cells: the clips, at least one.
        title: title of the sheet.
        notes: lines below the title.
        made_by: names and versions of the program and its packages.
    """
    lead = [tag("p", {"class": "lead"}, note) for note in notes]
    return document(
        title,
        header("ivn data view", title),
        bar([]),
        tag("main", {}, *lead, *map(_section, cells)),
        generator="ivn data view",
        made_by=made_by,
    )


def _section(cell: Cell) -> Html:
    films = [Film("whole frame", _whole_frame(cell)[None])]
    films += [Film(label, frames) for label, frames in cell.films.items()]
    lines = tag("p", {"class": "lead"}, "; ".join(cell.lines))
    return tag("section", {}, strips([Strip(cell.name, films)]), lines)


def _whole_frame(cell: Cell) -> Pixels:
    """Returns the frame, darkened outside the crop, with an edge around the crop."""
    left, top, width, height = cell.crop
    dark = (cell.whole * 0.4).astype(np.uint8)
    inside = np.s_[top : top + height, left : left + width]
    dark[inside] = cell.whole[inside]
    picture = Image.fromarray(dark)
    edge = [left, top, left + width - 1, top + height - 1]
    if edge[0] <= edge[2] and edge[1] <= edge[3]:
        line = max(1, max(picture.size) // 100)
        ImageDraw.Draw(picture).rectangle(edge, outline=_MARK, width=line)
    return np.asarray(picture)
