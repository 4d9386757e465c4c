"""Text in pictures: any script as far as the fonts of the machine go, and no line too long.

What cannot be drawn, and what would change how the rest is read (line ends, marks of direction,
bytes that are no text), is written as Python writes it: ``\\n``, ``\\u202e``, ``\\udcff``.
"""

import functools
import unicodedata
from itertools import groupby

from PIL import ImageDraw, ImageFont

Colour = tuple[int, int, int]

# Looked for where systems keep their fonts, in this order, for what Pillow's own does not have.
_OTHERS = (
    *("DejaVuSans.ttf", "NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "wqy-zenhei.ttc"),
    *("DroidSansFallbackFull.ttf", "Arial Unicode.ttf", "msyh.ttc", "arial.ttf"),
)
# Drawn by no font, so that what looks like it is no glyph.
_NOTHING = "\U0010fffd"
# Control, format, surrogate, private use, unassigned; separators of lines and paragraphs.
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own.

    Raises:
        ValueError: it was built without FreeType.
    """
    own = ImageFont.load_default(size)
    if not isinstance(own, ImageFont.FreeTypeFont):
        raise ValueError(
            "this Pillow was built without FreeType: pip install --force-reinstall pillow"
        )
    return own


def readable(text: str) -> str:
    """``text`` with escapes in the place of what cannot be drawn."""
    return "".join(map(_readable, text))


def width(text: str, size: int) -> int:
    """Pixels that a readable text takes."""
    return round(sum(found.getlength(run) for found, run in _runs(text, size)))


def cut_short(text: str, size: int, most: int) -> str:
    """A readable text, or its beginning and end if it is wider than ``most`` pixels."""
    if width(text, size) <= most:
        return text
    kept = len(text)
    while kept > 1 and width(_without_middle(text, kept), size) > most:
        kept -= 1
    return _without_middle(text, kept)


def write(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int, fill: Colour
) -> None:
    """Draw a readable text, its upper left corner at ``place``."""
    x, y = place
    line = font(size).getmetrics()[0]
    for found, run in _runs(text, size):
        draw.text((x, y + line), run, fill=fill, font=found, anchor="ls")
        x += round(found.getlength(run))


def _without_middle(text: str, kept: int) -> str:
    """Of a name the end tells as much as the beginning."""
    end = kept // 3
    return f"{text[: kept - end]}...{text[len(text) - end :]}"


def _runs(text: str, size: int) -> list[tuple[ImageFont.FreeTypeFont, str]]:
    """Parts of the text and the fonts that draw them."""
    runs = groupby(text, _font_number)
    return [(_fonts(size)[number or 0], "".join(run)) for number, run in runs]


@functools.lru_cache(maxsize=4096)
def _readable(character: str) -> str:
    hidden = unicodedata.category(character) in _HIDDEN
    if not hidden and _font_number(character) is not None:
        return character
    code = ord(character)
    short = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
    if character in short:
        return short[character]
    return (
        f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
    )


@functools.lru_cache(maxsize=4096)
def _font_number(character: str) -> int | None:
    """The first of the fonts that has a glyph for it."""
    if character == " ":
        return 0
    for number, found in enumerate(_fonts(16)):
        if _drawn(found, character) not in (_drawn(found, _NOTHING), b""):
            return number
    return None


def _drawn(found: ImageFont.FreeTypeFont, character: str) -> bytes:
    mask = found.getmask(character)
    return bytes(mask) + repr(mask.size).encode() if mask.getbbox() else b""


@functools.lru_cache(maxsize=8)
def _fonts(size: int) -> list[ImageFont.FreeTypeFont]:
    found = [font(size)]
    for name in _OTHERS:
        try:
            found.append(ImageFont.truetype(name, size))
        except OSError:
            continue
    return found
