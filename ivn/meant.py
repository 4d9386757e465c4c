"""Suggests what a setting was meant to be: misspelt, in another place, or in another language."""

import difflib
import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

_MOST = 3  # suggestions in a message
_EMPTY = ("", "none", "null", "nan")
# Names of other programs for a value that looks like none of ours, or like a wrong one.
_OTHERS = {"gpu": "cuda"}


def near(word: Any, names: Iterable[Any], path: str = "") -> str:
    """Returns the one of ``names`` that looks most like ``word``, as a question, or ""."""
    words = {name.lower(): name for name in names if isinstance(name, str)}
    given = str(word).lower()
    close = difflib.get_close_matches(_OTHERS.get(given, given), words, n=1, cutoff=0.5)
    found = [words[each] for each in close]
    return _asked([f"{path}.{each}" if path else each for each in found])


def key(given: str, unknown: str, names: Iterable[str], every: Sequence[str]) -> str:
    """Returns the settings that a dotted key may mean, as a question, else the existing names.

    Args:
        given: the whole key.
        unknown: its part up to the first name that does not exist.
        names: the names that exist in the place of that one.
        every: all dotted keys of the config.
    """
    path, _, word = unknown.rpartition(".")
    names = list(names)
    tables = [each[:end] for each in every for end, sign in enumerate(each) if sign == "."]
    every = list(dict.fromkeys([*every, *tables]))
    if given in every:
        return f"; another kind of {path} has it, this one has {', '.join(names)}"
    beside = near(word, names, path)
    # The whole end of a key, or else its last name, says more than the likeness of a word.
    found = _ending(every, given)
    if not found and given != unknown and beside:
        whole = beside.removeprefix("; did you mean ")[:-1] + given[len(unknown) :]
        if any(f"{each}.".startswith(f"{whole}.") for each in every):
            return beside
    last = _last(given)
    if found := found or _ending(every, last):
        return _asked(found)
    if beside:
        return beside
    found = [each for each in every if _alike(_last(each), last)]
    found.sort(key=lambda each: (not each.startswith(f"{path}."), -_likeness(_last(each), last)))
    return _asked(found[:1]) or f"; {path or 'the config'} has {', '.join(names)}"


def setting(word: str, text: str, every: Iterable[str]) -> str:
    """Returns how to give a setting that was typed as an option, as a question, or "".

    Args:
        word: a setting's key or its last name, perhaps misspelt.
        text: its value.
        every: all dotted keys of the config.
    """
    every, last = list(dict.fromkeys(every)), _last(word)
    found = _ending(every, word) or _ending(every, last)
    if not found:
        alike = [each for each in every if _alike(_last(each), last)]
        found = sorted(alike, key=lambda each: -_likeness(_last(each), last))[:1]
    return _asked([f"--set {shlex.quote(f'{each}={text}')}" for each in found])


def value(given: Any, hint: Any) -> str:
    """Returns how the value is written in TOML, as a question, or "" where that is unknown.

    Args:
        given: the value, of another type than expected.
        hint: the expected type: bool, int, float or str.
    """
    text = _plain(given, hint)
    return f"; did you mean {text}?" if text else ""


def line(text: str, error: str) -> str:
    """Returns the line of a TOML ``text`` that the parser's error names, and how to mend it."""
    if not (found := re.search(r"at line (\d+)", error)):
        return ""
    there = text.splitlines()[int(found[1]) - 1].strip()
    name, _, given = (part.strip() for part in there.partition("="))
    hint = ""
    if given in ("True", "False"):
        hint = f"; did you mean {name} = {given.lower()}?"
    elif re.fullmatch(r"\(?[^\[\]{}\"']*,[^\[\]{}\"']*", given):
        hint = f"; a list is written {name} = [{given.strip(' ()')}]"
    elif given.lower() in _EMPTY[1:3]:
        hint = "; TOML has no word for nothing: leave the line out"
    elif re.fullmatch(r"[A-Za-z_]\w*", given):
        hint = f'; a word is written {name} = "{given}"'
    return f": {there}{hint}"


def example(given: Any, hints: tuple[Any, ...]) -> str:
    """Returns an example of a list, made of the given values if they fit; "" for lists of tables.

    Args:
        given: the value that stands instead of a list.
        hints: types of the list's values; one type and ``...`` for any number of values.
    """
    more = len(hints) == 2 and hints[1] is Ellipsis
    if isinstance(given, dict) or hints[0] not in (bool, int, float, str):
        return ""
    parts = str(given).strip("()[] ").split(",") if isinstance(given, str) else [given]
    words = [part.strip() if isinstance(part, str) else part for part in parts]
    kinds = [hints[0]] * len(words) if more else list(hints)
    if len(kinds) != len(words):
        return f" of {len(kinds)} in brackets, such as [{', '.join(map(_sample, kinds))}]"
    texts = [_plain(word, kind) for word, kind in zip(words, kinds, strict=True)]
    if not all(texts):
        texts = [_sample(kind) for kind in kinds]
    return f" in brackets, such as [{', '.join(texts)}]"


def _plain(given: Any, hint: Any) -> str:
    """Returns ``given`` as TOML writes a ``hint``, or ""."""
    word = str(given).strip().lower()
    if hint is str:
        return repr(str(given))
    if hint is bool:
        return {"1": "true", "0": "false", "yes": "true", "no": "false"}.get(
            word, word if word in ("true", "false") else ""
        )
    if isinstance(given, bool) or hint not in (int, float) or word in _EMPTY:
        return ""
    try:
        number = float(word)
        if hint is float:
            return word
        return str(int(number)) if number == int(number) else ""
    except (ValueError, OverflowError):
        return ""


def _sample(hint: Any) -> str:
    return {bool: "true", int: "1", float: "0.5", str: "'a'"}[hint]


def _asked(found: Sequence[str]) -> str:
    if not found:
        return ""
    *others, last = list(dict.fromkeys(found))[:_MOST]
    before = f"{', '.join(others)} or " if others else ""
    return f"; did you mean {before}{last}?"


def _ending(every: Iterable[str], end: str) -> list[str]:
    """Returns the keys whose last names are those of ``end``."""
    return [each for each in every if f".{each}".endswith(f".{end}")]


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _alike(name: str, word: str) -> bool:
    """Returns whether one abbreviates the other, is a part of it, or they look alike."""
    initials = ["".join(part[:1] for part in one.split("_")) for one in (name, word)]
    if (len(word) > 1 and initials[0] == word) or (len(name) > 1 and initials[1] == name):
        return True
    if word in name.split("_"):
        return True
    return _likeness(name, word) >= 0.75


def _likeness(name: str, word: str) -> float:
    return difflib.SequenceMatcher(None, name, word).ratio()
