"""Makes the elements that several sections have: tables, and boxes that scroll or open."""

from collections.abc import Container, Iterable, Sequence

from .html import Html, tag


def table(
    name: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numbers: Container[int] = (),
    wide: bool = True,
) -> Html:
    """Returns a table in a box that scrolls.

    Args:
        name: name of the box, for those who do not see it.
        heads: headings of the columns.
        rows: cells of each row, as text or markup.
        numbers: columns that are aligned at the right.
        wide: whether the table takes the whole width.
    """

    def row(kind: str, cells: Sequence[str]) -> Html:
        classes = ("number" if column in numbers else None for column in range(len(cells)))
        marked = zip(cells, classes, strict=True)
        return tag("tr", {}, *(tag(kind, {"class": name}, cell) for cell, name in marked))

    head = tag("thead", {}, row("th", heads))
    body = tag("tbody", {}, *(row("td", cells) for cells in rows))
    return scrolling(tag("table", {"class": "wide" if wide else None}, head, body), name)


def scrolling(inside: Html, name: str) -> Html:
    """Returns wide content in a box that scrolls, with the keyboard too."""
    box = {"class": "scroll", "tabindex": "0", "role": "region", "aria-label": name}
    return tag("div", box, inside)


def details(title: str, *inside: str, opened: bool = False) -> Html:
    """Returns a box that shows its content when its title is clicked."""
    summary = tag("summary", {}, title)
    return tag("details", {"open": "" if opened else None}, summary, *inside)


def colour_key(number: int) -> Html:
    """Returns a square in the colour of the curves of the ``number``-th run."""
    return tag("span", {"class": f"key c{number % 8}"}, "")


def lead(words: str) -> Html:
    """Returns the words that a section begins with."""
    return tag("p", {"class": "lead"}, words)


def faint(words: str) -> Html:
    """Returns a note, such as the reason why something is not shown."""
    return tag("p", {"class": "empty"}, words)


def count(number: int, what: str) -> str:
    """Returns a number of things in words: 1 clip, 2 clips."""
    return f"{number} {what}{'' if number == 1 else 's'}"
