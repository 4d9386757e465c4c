"""Markup in which text can only be text: whatever is not :class:`Html` is escaped."""

from collections.abc import Iterable, Mapping
from html import escape

_EMPTY = frozenset({"br", "circle", "img", "input", "line", "meta", "path", "rect"})


class Html(str):
    """Markup, made here; every other string is text that somebody may have written."""

    __slots__ = ()


def text(value: str) -> Html:
    """``value`` as text: each character is shown."""
    return value if isinstance(value, Html) else Html(escape(_shown(value), quote=True))


def tag(name: str, attributes: Mapping[str, object], *children: str) -> Html:
    """An element; attributes of the value None are left out, of "" stand alone."""
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
    """Parts one after another, each as :func:`text`."""
    return Html("".join(text(part) for part in parts))


def _shown(value: str) -> str:
    """Without what no file as UTF-8 can hold: names of files may be any bytes."""
    return value.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\ufffd")
