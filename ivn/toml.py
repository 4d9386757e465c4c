"""Reads frozen dataclasses from TOML and writes them, and refuses unknown keys and wrong types.

Fields may be bool, int, float, str, Literal, tuple, another dataclass, or a union of dataclasses
that are told apart by their field ``kind: Literal[...]``. A base class with a class method
``members`` stands for the union of the dataclasses that the method returns at the time. A table
without a kind is of the class whose ``kind`` has ``metadata=WITHOUT_KIND``, if there is one:
configs that were saved before the field had other kinds do not state it.
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

# Not pydantic: making one sentence of its errors takes more lines than decoding does here, its
# strict mode reads JSON, in which a date has become a string, and a machine that has torch alone
# reads the predictor's config of a checkpoint by this module.
T = TypeVar("T")

WITHOUT_KIND = {"without_kind": True}


class _UnknownKeyError(ConfigError):
    """A key does not exist.

    Args:
        given: the whole dotted key.
        unknown: its part up to the first name that does not exist.
        names: the names that exist in the place of that one.
        every: all dotted keys of the config, among which the meant one is looked for.
    """

    def __init__(
        self, given: str, unknown: str, names: Iterable[str], every: Sequence[str] = ()
    ) -> None:
        self.given, self.unknown, self.names = given, unknown, list(names)
        super().__init__(f"{unknown}: unknown key{meant.key(given, unknown, self.names, every)}")


def dumps(value: Any) -> str:
    """Returns the dataclass ``value`` as TOML, from which :func:`loads` makes an equal one."""
    import tomli_w  # imported here: a GPU machine that only runs kernels and steps lacks it

    return tomli_w.dumps(encode(value))


def loads(text: str, cls: type[T]) -> T:
    """Returns the ``cls`` that ``text`` describes; absent fields take their defaults.

    Raises:
        ConfigError: the text is not TOML, a key is unknown or missing, or a value does not fit.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not TOML: {error}{meant.line(text, str(error))}") from None
    try:
        return decode(table, cls)
    except _UnknownKeyError as error:
        every = list(keys(cls))
        raise _UnknownKeyError(error.given, error.unknown, error.names, every) from None


def differences(one: Any, other: Any) -> list[tuple[str, str, str]]:
    """Returns each field in which two dataclasses differ: dotted key and both values, as TOML.

    The value of a field that one of them lacks, being of another kind or shorter, is ``absent``.
    """
    ours, theirs = dict(_leaves(encode(one))), dict(_leaves(encode(other)))
    keys = dict.fromkeys([*ours, *theirs])
    pairs = [(key, ours.get(key, "absent"), theirs.get(key, "absent")) for key in keys]
    return [pair for pair in pairs if pair[1] != pair[2]]


def override(value: T, *assignments: str) -> T:
    """Returns ``value`` with fields replaced, each as ``dotted.key=value`` says.

    The result is checked once, after all assignments. A new ``kind`` replaces its whole group by
    that kind's defaults.

    Raises:
        ConfigError: a key is unknown, or a value does not fit.
    """
    table = encode(value)
    for assignment in assignments:
        _assign(table, assignment, type(value))
    return decode(table, type(value))


def encode(value: Any) -> Any:
    """Returns dataclasses as dicts, tuples as lists, and everything else as it is."""
    if dataclasses.is_dataclass(value):
        hints = typing.get_type_hints(type(value))
        items = {name: getattr(value, name) for name in hints}
        # 50 in a field of floats is written as 50.0, as it would be read.
        return {
            name: float(item) if hints[name] is float else encode(item)
            for name, item in items.items()
        }
    if isinstance(value, tuple):
        return [encode(item) for item in value]
    return value


def decode(value: Any, hint: Any, path: str = "") -> Any:
    """Returns ``value``, as TOML reads it, as the type ``hint``.

    Args:
        value: nested dicts, lists and plain values.
        hint: a dataclass, or the type of a dataclass's field.
        path: dotted key of the value, for messages.

    Raises:
        ConfigError: the value does not fit.
    """
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return _decode_tuple(value, args, path)
    if classes(hint):
        return _decode_table(value, hint, path)
    if origin is Literal:
        if value not in args or type(value) is not type(args[args.index(value)]):
            raise ConfigError(
                f"{path} is {value!r}, expected {_choices(args)}{meant.near(value, args)}"
            )
        return value
    if hint is float and type(value) is int:
        return float(value)
    if hint is float and type(value) is float and not math.isfinite(value):
        raise ConfigError(f"{path} is {value}, expected a finite number")
    if type(value) is not hint:
        near = meant.value(value, hint)
        raise ConfigError(f"{path} is {value!r}, expected {hint.__name__}{near}")
    return value


def classes(hint: Any) -> tuple[Any, ...]:
    """Returns the dataclasses that a field of type ``hint`` may hold, also inside a tuple."""
    if dataclasses.is_dataclass(hint):
        return (hint,)
    if hasattr(hint, "members"):
        return hint.members()
    if typing.get_origin(hint) in (Union, types.UnionType, tuple):
        return tuple(cls for arg in typing.get_args(hint) for cls in classes(arg))
    return ()


def kinds(cls: Any) -> tuple[str, ...]:
    """Returns the values that the field ``kind`` of a dataclass can take."""
    return typing.get_args(typing.get_type_hints(cls)["kind"])


def unstated_kind(hint: Any) -> str | None:
    """Returns the kind of a table that states none, or None where it has to be stated."""
    for cls in classes(hint):
        if any(field.metadata == WITHOUT_KIND for field in dataclasses.fields(cls)):
            return kinds(cls)[0]
    return None


def keys(cls: Any, path: str = "") -> Iterator[str]:
    """Yields the dotted key of every plain field of a dataclass, of all kinds of its tables."""
    for name, hint in typing.get_type_hints(cls).items():
        key = _join(path, name)
        if not classes(hint):
            yield key
        for one in classes(hint):
            yield from keys(one, f"{key}.0" if typing.get_origin(hint) is tuple else key)


def _decode_table(value: Any, hint: Any, path: str) -> Any:
    """Returns a dataclass, the one that ``kind`` names where ``hint`` is a union of several."""
    cls = hint
    if not dataclasses.is_dataclass(hint):
        known = {kind: cls for cls in classes(hint) for kind in kinds(cls)}
        expected = _choices(tuple(known))
        if not isinstance(value, dict):
            raise ConfigError(f"{path} is {value!r}, expected a table with kind {expected}")
        kind = value.get("kind", unstated_kind(hint))
        if not isinstance(kind, str) or kind not in known:
            near = meant.near(kind, known)
            raise ConfigError(f"{path}.kind is {kind!r}, expected {expected}{near}")
        cls = known[kind]
    if not isinstance(value, dict):
        raise ConfigError(f"{path} is {value!r}, expected a table of {cls.__name__}'s fields")
    hints = typing.get_type_hints(cls)
    for key in value:
        if key not in hints:
            raise _UnknownKeyError(_join(path, key), _join(path, key), hints)
    values = {key: decode(item, hints[key], _join(path, key)) for key, item in value.items()}
    for field in dataclasses.fields(cls):
        required = field.default is field.default_factory is dataclasses.MISSING
        if required and field.name not in value:
            raise ConfigError(f"{_join(path, field.name)} is missing and has no default")
    try:
        return cls(**values)
    except ConfigError:
        raise
    except ValueError as error:
        own = str(error).partition(" ")[0].partition(".")[0] in hints
        raise ConfigError(f"{path}{'.' if own else ': '}{error}" if path else str(error)) from None


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


def _assign(table: dict[str, Any], assignment: str, cls: Any) -> None:
    """Puts one field into the ``table`` of a ``cls``."""
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
    """Returns the type of the entry ``key`` in ``group``, which is of the type ``hint``."""
    if typing.get_origin(hint) is tuple:
        return typing.get_args(hint)[0]
    return typing.get_type_hints(_class(hint, group))[key]


def _class(hint: Any, group: dict[str, Any]) -> Any:
    """Returns the dataclass that the table ``group`` of the type ``hint`` describes."""
    if dataclasses.is_dataclass(hint):
        return hint
    return next(cls for cls in classes(hint) if group["kind"] in kinds(cls))


def _child(group: Any, path: list[str], whole: list[str], every: Sequence[str]) -> Any:
    """Returns the entry of ``group`` under the last name of ``path``.

    Args:
        group: a table, a list or a plain value.
        path: names up to the entry.
        whole: names of the whole key that was given, for messages.
        every: all dotted keys of the config, among which a meant one is looked for.
    """
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


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yields the dotted key and the TOML of every plain value in nested dicts and lists."""
    tables = isinstance(value, list) and value and isinstance(value[0], dict)
    if isinstance(value, dict) or tables:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from _leaves(item, _join(path, str(key)))
    else:
        yield path, json.dumps(value, ensure_ascii=False)


def _parse(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word, which no typed field but a string accepts


def _choices(values: typing.Sequence[Any]) -> str:
    return " or ".join(repr(value) for value in values)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
