"""Markup that escapes everything that is not :class:`Html`."""

from collections.abc import Iterable, Mapping
from html import escape

from ivn.errors import as_text

_EMPTY = frozenset({"br", "circle", "img", "input", "line", "meta", "path", "rect"})


class Html(str):
    """Markup that was made here; any other string is text from elsewhere."""

    __slots__ = ()


def text(value: str) -> Html:
    """Returns ``value`` escaped, so that every character is shown."""
    return value if isinstance(value, Html) else Html(escape(_shown(value), quote=True))


def tag(name: str, attributes: Mapping[str, object], *children: str) -> Html:
    """Returns an element; attributes with value None are omitted, those with "" have no value."""
    inside = "".join(
        f" {key}" if value == "" else f' {key}="{escape(_shown(str(value)), quote=True)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _EMPTY and not children:
        return Html(
            f"<{name}{inside}>" if name in ("br", "img", "input", "meta") else f"<{name}{inside}/>"
        )
    return Html(f"<{name}{inside}>{join(children)}</{name}>")


def join(parts: Iterable[str]) -> Html:
    """Returns the parts one after another, each as :func:`text`."""
    return Html("".join(text(part) for part in parts))


def _shown(value: str) -> str:
    """Returns text that UTF-8 can encode: names of files may have any bytes."""
    return as_text(value).replace("\0", "\ufffd")
