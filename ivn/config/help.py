"""What each field of a config means, from the "Attributes:" of its dataclass's docstring."""

import dataclasses
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Iterator
from typing import Any, Literal, Union

from ivn import toml

_ENTRY = re.compile(r"(\w+(?:, \w+)*): (.*)")
_SENTENCE_END = re.compile(r"\.(?=\s|$)")


@dataclasses.dataclass(frozen=True)
class Field:
    """One setting.

    Attributes:
        key: dotted, as ``--set`` takes it; in a list of tables that of the first.
        kind: bool, int, float, str, list or choice.
        text: the first sentence of its entry, and the choices that it leaves out; "" without one.
    """

    key: str
    kind: str
    text: str


@dataclasses.dataclass(frozen=True)
class Table:
    """The settings of one dataclass: what it is, and its own fields."""

    title: str
    fields: tuple[Field, ...]


def tables(cls: Any, key: str = "", kind: str = "") -> Iterator[Table]:
    """The settings of ``cls``, a dataclass, table by table, those inside it after it.

    Where a table is one of several kinds, all of them come, each under its ``kind``.
    """
    hints = toml.hints_of(cls)
    words = _words(cls)
    own = [
        _field(_join(key, name), hint, words.get(name, ""))
        for name, hint in hints.items()
        if _is_value(hint) and not _is_kind(name, hint)
    ]
    if own:
        title = _first_sentence(inspect.getdoc(cls) or "")
        yield Table(f"{key or 'the run'}{kind and f', kind {kind}'}: {title}", tuple(own))
    for name, hint in hints.items():
        yield from _inside(_join(key, name), hint, _first_sentence(words.get(name, "")))


def layout(found: typing.Iterable[Table], width: int) -> str:
    """The tables as text of ``width`` columns: a line a field, wrapped under its words."""
    lines = []
    for table in found:
        lines += ["", *textwrap.wrap(table.title, width)]
        column = max(len(field.key) for field in table.fields)
        for field in table.fields:
            head = f"  {field.key:<{column}}  {field.kind:<6}  "
            indent = " " * len(head)
            lines += textwrap.wrap(
                field.text,
                width,
                initial_indent=head,
                subsequent_indent=indent,
                break_on_hyphens=False,
            )
    return "\n".join(lines[1:])


def _inside(key: str, hint: Any, words: str) -> Iterator[Table]:
    """The tables below the field ``key``, of which ``words`` are said; none for a plain value."""
    classes = _classes(hint)
    if typing.get_origin(hint) is tuple and classes:
        yield from tables(classes[0], f"{key}.0")
    elif len(classes) == 1:
        yield from tables(classes[0], key)
    elif classes:
        all_kinds = " | ".join(map(_kinds, classes))
        text = f"{words}{words and ': '}{all_kinds}; another kind brings all its own defaults"
        yield Table(f"{key}: one of several kinds", (Field(f"{key}.kind", "choice", text),))
        for one in classes:
            yield from tables(one, key, _kinds(one))


def _field(key: str, hint: Any, entry: str) -> Field:
    text = _first_sentence(entry)
    if typing.get_origin(hint) is not Literal:
        kind = "list" if typing.get_origin(hint) is tuple else hint.__name__
        return Field(key, kind, text)
    choices = [str(choice) for choice in typing.get_args(hint)]
    if text and not all(re.search(rf"\b{choice}\b", text) for choice in choices):
        text += f" ({' | '.join(choices)})"
    return Field(key, "choice", text)


def _words(cls: Any) -> dict[str, str]:
    """Field -> its whole entry under "Attributes:"."""
    section = (inspect.getdoc(cls) or "").partition("Attributes:\n")[2].partition("\n\n")[0]
    words: dict[str, str] = {}
    names: list[str] = []
    for line in textwrap.dedent(section).splitlines():
        if entry := _ENTRY.fullmatch(line):
            names = entry[1].split(", ")
            words |= dict.fromkeys(names, entry[2])
        elif line.startswith(" "):
            words |= {name: f"{words[name]} {line.strip()}" for name in names}
    return words


def _first_sentence(text: str) -> str:
    paragraph = " ".join(text.partition("\n\n")[0].split())
    return _SENTENCE_END.split(paragraph, maxsplit=1)[0].replace("``", "`")


def _classes(hint: Any) -> list[Any]:
    """The dataclasses that a field of type ``hint`` holds: itself, a union's, or a tuple's."""
    if dataclasses.is_dataclass(hint):
        return [hint]
    if typing.get_origin(hint) in (Union, types.UnionType, tuple):
        return [one for one in typing.get_args(hint) if dataclasses.is_dataclass(one)]
    return []


def _is_value(hint: Any) -> bool:
    """Whether a field of type ``hint`` is set as a whole: it is no table."""
    return typing.get_origin(hint) is tuple or not _classes(hint)


def _is_kind(name: str, hint: Any) -> bool:
    """Whether the field only says which kind of several its table is."""
    return name == "kind" and len(typing.get_args(hint)) == 1


def _kinds(cls: Any) -> str:
    return " | ".join(toml.kinds(cls))


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name
