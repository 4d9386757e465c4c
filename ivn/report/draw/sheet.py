"""A contact sheet of clips: the frame that each was cut from, what is seen of it, and its masks.

Legend: T frames of S x S pixels, h x w pixels of a decoded frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from ivn.report.draw.images import Pixels

from .lettering import Colour, cut_short, readable, width, write
from .picture import shown_frames

_INK: Colour = (24, 24, 27)
_FAINT: Colour = (113, 113, 122)
_PAPER: Colour = (255, 255, 255)
_RULE: Colour = (228, 228, 231)
_MARK: Colour = (250, 204, 21)
_MARGIN, _GAP, _SPACE = 28, 4, 16
_TILE, _WHOLE = 112, 224  # pixels: a frame's side, and the width of a whole frame
_TITLE, _TEXT, _SMALL = 15, 13, 11
_FRAMES = 8  # of a clip that are shown


@dataclass(frozen=True)
class Cell:
    """One clip of the sheet.

    Attributes:
        name: of the file; any characters.
        lines: what else is to be said of it.
        whole: uint8 ``[h, w, 3]``, a decoded frame.
        crop: left, top, width and height of what is seen of it, in pixels.
        times: T, seconds at which the frames appear.
        films: label -> uint8 ``[T, S, S, 3]``, rows of frames.
    """

    name: str
    lines: Sequence[str]
    whole: Pixels
    crop: tuple[int, int, int, int]
    times: Sequence[float]
    films: dict[str, Pixels]


def contact_sheet(cells: Sequence[Cell], *, title: str, notes: Sequence[str] = ()) -> Image.Image:
    """The clips below one another, with lines of text above and below.

    Args:
        cells: at least one.
        title: above them.
        notes: below the title.
    """
    blocks = [_block(cell) for cell in cells]
    inner = max(block.width for block in blocks)
    lines = [cut_short(readable(note), _TEXT, inner) for note in notes]
    head = 34 + 20 * len(lines) + _SPACE
    height = head + sum(block.height + 2 * _SPACE + 1 for block in blocks)
    sheet = Image.new("RGB", (inner + 2 * _MARGIN, height + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(sheet)
    write(draw, (_MARGIN, _MARGIN - 6), cut_short(readable(title), 20, inner), 20, _INK)
    for number, line in enumerate(lines):
        write(draw, (_MARGIN, _MARGIN + 24 + 20 * number), line, _TEXT, _FAINT)
    y = head + _SPACE
    for block in blocks:
        draw.line([(_MARGIN, y), (_MARGIN + inner, y)], fill=_RULE)
        sheet.paste(block, (_MARGIN, y + _SPACE))
        y += block.height + 2 * _SPACE + 1
    return sheet


def _block(cell: Cell) -> Image.Image:
    """Name above, the whole frame and what is told at the left, rows of frames at the right."""
    shown = shown_frames(len(cell.times), _FRAMES)
    label_width = max(width(readable(label), _SMALL) for label in cell.films) + 10
    left = _WHOLE + _SPACE
    across = left + label_width + _FRAMES * (_TILE + _GAP) - _GAP
    whole = _whole_frame(cell)
    top = 28
    told = [cut_short(readable(line), _TEXT, _WHOLE) for line in cell.lines]
    rows = top + 18 + len(cell.films) * (_TILE + _GAP)
    block = Image.new("RGB", (across, max(rows, top + whole.height + 8 + 18 * len(told))), _PAPER)
    draw = ImageDraw.Draw(block)
    write(draw, (0, 0), cut_short(readable(cell.name), _TITLE, across), _TITLE, _INK)
    block.paste(whole, (0, top))
    for number, line in enumerate(told):
        write(draw, (0, top + whole.height + 8 + 18 * number), line, _TEXT, _FAINT)
    for column, t in enumerate(shown):
        x = left + label_width + column * (_TILE + _GAP)
        write(draw, (x, top), f"{cell.times[t]:.2f} s", _SMALL, _FAINT)
    for row, (label, film) in enumerate(cell.films.items()):
        y = top + 18 + row * (_TILE + _GAP)
        write(draw, (left, y + _TILE // 2 - 8), readable(label), _SMALL, _FAINT)
        for column, t in enumerate(shown):
            tile = Image.fromarray(film[t]).resize((_TILE, _TILE), Image.Resampling.LANCZOS)
            block.paste(tile, (left + label_width + column * (_TILE + _GAP), y))
    return block


def _whole_frame(cell: Cell) -> Image.Image:
    """The frame with what is not seen of it darkened, and an edge around what is."""
    h, w = cell.whole.shape[:2]
    left, top, across, down = cell.crop
    dark = (cell.whole * 0.4).astype(np.uint8)
    dark[top : top + down, left : left + across] = cell.whole[
        top : top + down, left : left + across
    ]
    # As high as it is wide at most: a tall frame would leave gaps between the clips.
    scale = min(_WHOLE / w, _WHOLE / h)
    size = max(1, round(w * scale)), max(1, round(h * scale))
    picture = Image.fromarray(dark).resize(size, Image.Resampling.LANCZOS)
    corners = [round(left * scale), round(top * scale)]
    corners += [round((left + across) * scale) - 1, round((top + down) * scale) - 1]
    if corners[0] <= corners[2] and corners[1] <= corners[3]:
        ImageDraw.Draw(picture).rectangle(corners, outline=_MARK, width=2)
    return picture
