"""Tells the meaning, type and default of each field of a config, from the dataclasses.

The meaning is the field's entry under "Attributes:" in the docstring of its dataclass.
"""

import dataclasses
import inspect
import json
import re
import textwrap
import typing
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from ivn import docstring, toml

_SENTENCE_END = re.compile(r"(?<=\.)\s+(?=\S)")


@dataclasses.dataclass(frozen=True)
class Field:
    """One setting.

    Attributes:
        key: dotted key, as ``--set`` takes it; in a list of tables, the key in the first table.
        kind: bool, int, float, str, list or choice.
        text: first sentence of the field's entry, and the choices that the sentence does not name.
        more: the other sentences of the entry.
        default: default value as TOML; "" where the field has none.
    """

    key: str
    kind: str
    text: str
    more: str = ""
    default: str = ""


@dataclasses.dataclass(frozen=True)
class Table:
    """The settings of one dataclass.

    Attributes:
        name: dotted key of the table and, where there are several, its kind.
        text: first sentence of the dataclass's docstring.
        fields: settings of the table itself, without those of tables inside it.
    """

    name: str
    text: str
    fields: tuple[Field, ...]

    @property
    def title(self) -> str:
        """Name and sentence in one line."""
        return f"{self.name}: {self.text}"


def tables(cls: Any, key: str = "", kind: str = "", default: Any = None) -> Iterator[Table]:
    """Yields the settings of a dataclass, table by table, each before the tables inside it.

    Where a table is one of several kinds, all of them are yielded, each with its ``kind``.

    Args:
        cls: the dataclass.
        key: its dotted key in the config.
        kind: its kind, where there are several.
        default: the ``cls`` that the config has by default, or None for the class's own defaults.
    """
    hints = typing.get_type_hints(cls)
    entries = docstring.entries(cls)
    values = _defaults(cls) if default is None else vars(default)
    own = [
        _field(_join(key, name), hint, entries.get(name, ""), values.get(name))
        for name, hint in hints.items()
        if _is_value(hint) and not _is_kind(name, hint)
    ]
    if own:
        name = f"{key or 'the config'}{kind and f', kind {kind}'}"
        yield Table(name, _sentences(inspect.getdoc(cls) or "")[0], tuple(own))
    for name, hint in hints.items():
        yield from _inside(_join(key, name), hint, entries.get(name, ""), values.get(name))


def layout(found: Iterable[Table], width: int) -> str:
    """Returns the tables as text of ``width`` columns, a wrapped paragraph for each field."""
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


def markdown(found: Iterable[Table]) -> str:
    """Returns the tables as Markdown: a section for each, with a row for each of its fields."""
    lines = []
    for table in found:
        lines += ["", f"## {table.name}", "", f"{_capitalised(table.text)}.", ""]
        lines += ["| Setting | Type | Default | Meaning |", "| --- | --- | --- | --- |"]
        for field in table.fields:
            default = f"`{field.default}`" if field.default else "none: must be given"
            meaning = f"{_capitalised(field.text)}. {field.more}".strip()
            cells = [f"`{field.key}`", field.kind, default, meaning.replace("|", "\\|")]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines[1:])


def _inside(key: str, hint: Any, entry: str, default: Any) -> Iterator[Table]:
    """Yields the tables below the field ``key``; none for a plain value."""
    classes = toml.classes(hint)
    if typing.get_origin(hint) is tuple and classes:
        yield from tables(classes[0], f"{key}.0", default=default[0] if default else None)
    elif len(classes) == 1:
        yield from tables(classes[0], key, default=default)
    elif classes:
        first, more = _sentences(entry)
        all_kinds = " | ".join(map(_kinds, classes))
        text = f"{first}{first and ': '}{all_kinds}; another kind brings all its own defaults"
        kind = getattr(default, "kind", toml.unstated_kind(hint))
        field = Field(f"{key}.kind", "choice", text, more, _value(kind))
        yield Table(key, "one of several kinds", (field,))
        for one in classes:
            own = default if type(default) is one else None
            yield from tables(one, key, _kinds(one), own)


def _field(key: str, hint: Any, entry: str, default: Any) -> Field:
    text, more = _sentences(entry)
    if typing.get_origin(hint) is not Literal:
        kind = "list" if typing.get_origin(hint) is tuple else hint.__name__
        return Field(key, kind, text, more, _value(default))
    choices = [str(choice) for choice in typing.get_args(hint)]
    if text and not all(re.search(rf"\b{choice}\b", text) for choice in choices):
        text += f" ({' | '.join(choices)})"
    return Field(key, "choice", text, more, _value(default))


def _defaults(cls: Any) -> dict[str, Any]:
    """Returns the defaults of the fields that have one."""
    made = {
        field.name: field.default_factory()
        for field in dataclasses.fields(cls)
        if field.default_factory is not dataclasses.MISSING
    }
    plain = {
        field.name: field.default
        for field in dataclasses.fields(cls)
        if field.default is not dataclasses.MISSING
    }
    return made | plain


def _value(value: Any) -> str:
    """Returns a default as TOML, dataclasses in a list by the fields that differ from their own."""
    if value is None:
        return ""
    if dataclasses.is_dataclass(value):
        usual = _defaults(type(value))
        changed = {name: item for name, item in vars(value).items() if usual.get(name) != item}
        return f"{{{', '.join(f'{name} = {_value(item)}' for name, item in changed.items())}}}"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value)


def _sentences(text: str) -> tuple[str, str]:
    """Returns the first sentence of the first paragraph, without its full stop, and the others."""
    paragraph = " ".join(text.partition("\n\n")[0].split()).replace("``", "`")
    first, *others = _SENTENCE_END.split(paragraph, maxsplit=1)
    return first.removesuffix("."), "".join(others)


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def _is_value(hint: Any) -> bool:
    """Returns whether a field of type ``hint`` can be set as a whole: it is no table."""
    return typing.get_origin(hint) is tuple or not toml.classes(hint)


def _is_kind(name: str, hint: Any) -> bool:
    """Returns whether the field only says which of several kinds its table is."""
    return name == "kind" and len(typing.get_args(hint)) == 1


def _kinds(cls: Any) -> str:
    return " | ".join(toml.kinds(cls))


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name
