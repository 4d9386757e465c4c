"""Frozen dataclasses to TOML and back, strictly: an unknown key or a wrong type is an error.

Fields may be bool, int, float, str, Literal, tuple, another dataclass, or a union of dataclasses
that are told apart by their field ``kind: Literal[...]``. A base class with a class method
``members`` stands for the union of the dataclasses that the method returns at the time. A table
without a kind is of the class whose ``kind`` says so (``metadata=WITHOUT_KIND``), if one does: it
was written before there were others.
"""

import dataclasses
import json
import math
import tomllib
import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, TypeVar, Union

from ivn.errors import ConfigError

from . import meant

T = TypeVar("T")

WITHOUT_KIND = {"without_kind": True}


class _UnknownKeyError(ConfigError):
    """A key that is not there; arguments as :func:`ivn.meant.key`."""

    def __init__(
        self, given: str, unknown: str, names: Iterable[str], every: Sequence[str] = ()
    ) -> None:
        self.given, self.unknown, self.names = given, unknown, list(names)
        super().__init__(f"{unknown}: unknown key{meant.key(given, unknown, self.names, every)}")


def dumps(value: Any) -> str:
    """``value``, a dataclass, as TOML; :func:`loads` gives an equal one back."""
    import tomli_w  # needed by nothing that a bare GPU machine does

    return tomli_w.dumps(encode(value))


def loads(text: str, cls: type[T]) -> T:
    """The ``cls`` that ``text`` describes; fields left out take their defaults.

    Raises:
        ConfigError: not TOML, an unknown or missing key, or a value of the wrong type.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not TOML: {error}{meant.line(text, str(error))}") from None
    try:
        return decode(table, cls)
    except _UnknownKeyError as error:
        every = list(_keys(cls))
        raise _UnknownKeyError(error.given, error.unknown, error.names, every) from None


def differences(one: Any, other: Any) -> list[tuple[str, str, str]]:
    """Each field in which two dataclasses differ: dotted key and both values, as TOML.

    A field that one of them lacks, being of another kind or shorter, is ``absent`` there.
    """
    ours, theirs = dict(_leaves(encode(one))), dict(_leaves(encode(other)))
    keys = [*ours, *(key for key in theirs if key not in ours)]
    pairs = [(key, ours.get(key, "absent"), theirs.get(key, "absent")) for key in keys]
    return [pair for pair in pairs if pair[1] != pair[2]]


def override(value: T, *assignments: str) -> T:
    """``value`` with fields replaced, each by ``dotted.key=value``; judged when all are in place.

    A new ``kind`` replaces its whole group by that kind's defaults.

    Raises:
        ConfigError: as :func:`loads`.
    """
    table = encode(value)
    for assignment in assignments:
        _assign(table, assignment, type(value))
    return decode(table, type(value))


def _assign(table: dict[str, Any], assignment: str, cls: Any) -> None:
    """Put one field into the ``table`` of a ``cls``."""
    dotted, equals, text = assignment.partition("=")
    path = dotted.strip().split(".")
    if not equals or not all(path):
        raise ConfigError(
            f"{assignment!r}: expected key=value, such as optim.lr=1e-3; a value with spaces "
            "stands in quotes: 'optim.betas=[0.9, 0.95]'"
        )
    every = [key for key, _ in _leaves(table)]
    group: Any = table
    hint = cls
    for depth, key in enumerate(path[:-1]):
        group, parent = _child(group, path[: depth + 1], path, every), group
        hint = _hint(hint, parent, key)
    key = path[-1]
    old = _child(group, path, path, every)
    new = text.strip() if isinstance(old, str) else _parse(text.strip())
    if isinstance(old, str) and new[:1] in ("'", '"'):
        new = _parse(new)
    if key == "kind" and new not in kinds(_class(hint, group)):
        # The fields of the new kind, for assignments that follow.
        fresh = encode(decode({"kind": new}, hint, ".".join(path[:-1])))
        group.clear()
        group.update(fresh)
    elif isinstance(group, list):
        group[int(key)] = new
    else:
        group[key] = new


def _hint(hint: Any, group: Any, key: str) -> Any:
    """The type of what is under ``key`` in ``group``, which is of the type ``hint``."""
    if typing.get_origin(hint) is tuple:
        return typing.get_args(hint)[0]
    return hints_of(_class(hint, group))[key]


def _class(hint: Any, group: dict[str, Any]) -> Any:
    """The dataclass that the table ``group`` of the type ``hint`` describes."""
    if typing.get_origin(hint) not in (Union, types.UnionType):
        return hint
    return next(cls for cls in typing.get_args(hint) if group["kind"] in kinds(cls))


def hints_of(cls: Any) -> dict[str, Any]:
    """Returns the type of each field of a dataclass, unions in place of open families."""
    return {name: _union(hint) for name, hint in typing.get_type_hints(cls).items()}


def _union(hint: Any) -> Any:
    family = isinstance(hint, type) and not dataclasses.is_dataclass(hint)
    return Union[hint.members()] if family and hasattr(hint, "members") else hint  # noqa: UP007


def encode(value: Any) -> Any:
    """Dataclasses as dicts, tuples as lists, everything else as it is."""
    if dataclasses.is_dataclass(value):
        hints = hints_of(type(value))
        items = {name: getattr(value, name) for name in hints}
        # 50 in a field of floats is written as 50.0, as it would be read.
        return {
            name: float(item) if hints[name] is float else encode(item)
            for name, item in items.items()
        }
    if isinstance(value, tuple):
        return [encode(item) for item in value]
    return value


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every plain value in nested dicts and lists of dicts, by its dotted key, as TOML."""
    tables = isinstance(value, list) and value and isinstance(value[0], dict)
    if isinstance(value, dict) or tables:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from _leaves(item, _join(path, str(key)))
    else:
        yield path, json.dumps(value, ensure_ascii=False)


def decode(value: Any, hint: Any, path: str = "") -> Any:
    """``value``, as TOML reads it, as the type ``hint``; ``path`` is its dotted key.

    Raises:
        ConfigError: it does not fit.
    """
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return _decode_union(value, args, path)
    if dataclasses.is_dataclass(hint):
        return _decode_dataclass(value, hint, path)
    if origin is Literal:
        if value not in args or type(value) is not type(args[args.index(value)]):
            raise ConfigError(
                f"{path} is {value!r}, expected {_choices(args)}{meant.near(value, args)}"
            )
        return value
    if origin is tuple:
        return _decode_tuple(value, args, path)
    if hint is float and type(value) is int:
        return float(value)
    if hint is float and type(value) is float and not math.isfinite(value):
        raise ConfigError(f"{path} is {value}, expected a finite number")
    if type(value) is not hint:
        near = meant.value(value, hint)
        raise ConfigError(f"{path} is {value!r}, expected {hint.__name__}{near}")
    return value


def _decode_dataclass(value: Any, cls: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise ConfigError(f"{path} is {value!r}, expected a table of {cls.__name__}'s fields")
    hints = hints_of(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for key in value:
        if key not in fields:
            raise _UnknownKeyError(_join(path, key), _join(path, key), fields)
    values = {key: decode(item, hints[key], _join(path, key)) for key, item in value.items()}
    for name, field in fields.items():
        defaults = (field.default, field.default_factory)
        if name not in value and defaults == (dataclasses.MISSING, dataclasses.MISSING):
            raise ConfigError(f"{_join(path, name)} is missing and has no default")
    try:
        return cls(**values)
    except ConfigError:
        raise
    except ValueError as error:
        own = str(error).partition(" ")[0] in fields
        raise ConfigError(f"{path}{'.' if own else ': '}{error}" if path else str(error)) from None


def _decode_union(value: Any, classes: tuple[Any, ...], path: str) -> Any:
    known = {kind: cls for cls in classes for kind in kinds(cls)}
    expected = _choices(tuple(known))
    if not isinstance(value, dict):
        raise ConfigError(f"{path} is {value!r}, expected a table with kind {expected}")
    kind = value.get("kind", _unspoken(classes))
    if not isinstance(kind, str) or kind not in known:
        raise ConfigError(f"{path}.kind is {kind!r}, expected {expected}{meant.near(kind, known)}")
    return _decode_dataclass(value, known[kind], path)


def _decode_tuple(value: Any, args: tuple[Any, ...], path: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        example = meant.example(value, args)
        raise ConfigError(f"{path} is {value!r}, expected a list{example}")
    if len(args) == 2 and args[1] is Ellipsis:
        args = (args[0],) * len(value)
    if len(args) != len(value):
        raise ConfigError(f"{path} is {value!r}, expected {len(args)} values")
    pairs = enumerate(zip(value, args, strict=True))
    return tuple(decode(item, hint, f"{path}.{i}") for i, (item, hint) in pairs)


def kinds(cls: Any) -> tuple[str, ...]:
    """What the field ``kind`` of a dataclass may be."""
    return typing.get_args(typing.get_type_hints(cls)["kind"])


def _unspoken(classes: tuple[Any, ...]) -> str | None:
    """The kind of a table that has none, or None where each has to say its own."""
    for cls in classes:
        (field,) = (field for field in dataclasses.fields(cls) if field.name == "kind")
        if field.metadata == WITHOUT_KIND:
            return kinds(cls)[0]
    return None


def _child(group: Any, path: list[str], whole: list[str], every: Sequence[str]) -> Any:
    """What is at ``path``, the last of it in ``group``; ``whole`` is all that was given."""
    key, dotted = path[-1], ".".join(path)
    if isinstance(group, list) and key.isdecimal() and int(key) < len(group):
        return group[int(key)]
    if isinstance(group, dict) and key in group:
        return group[key]
    if isinstance(group, dict):
        raise _UnknownKeyError(".".join(whole), dotted, group, every)
    place = dotted.rpartition(".")[0]
    if isinstance(group, list):
        there = f"has entries 0 to {len(group) - 1}" if group else "is empty"
        raise ConfigError(f"{dotted}: unknown key; {place} {there}")
    raise ConfigError(f"{dotted}: unknown key; {place} is one value, not a table")


def _keys(hint: Any, path: str = "") -> Iterator[str]:
    """The dotted key of every plain field of a dataclass, in lists of tables of the first."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    classes = args if origin in (Union, types.UnionType, tuple) else (hint,)
    if origin is tuple and args:
        if any(dataclasses.is_dataclass(one) for one in _members(args[0])):
            yield from _keys(args[0], f"{path}.0")
        else:
            yield path
        return
    for cls in classes:
        if not dataclasses.is_dataclass(cls):
            yield path
            continue
        for name, inner in hints_of(cls).items():
            yield from _keys(inner, _join(path, name))


def _members(hint: Any) -> tuple[Any, ...]:
    union = typing.get_origin(hint) in (Union, types.UnionType)
    return typing.get_args(hint) if union else (hint,)


def _parse(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word, which no typed field but a string accepts


def _choices(values: typing.Sequence[Any]) -> str:
    return " or ".join(repr(value) for value in values)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
