"""Reads docstrings: the summary, the text, and what is said of each attribute."""

import inspect
import re
import textwrap
from typing import Any

_ENTRY = re.compile(r"(\w+(?:, \w+)*): (.*)")
_SECTION = "Attributes:\n"


def entries(cls: Any) -> dict[str, str]:
    """Returns the whole entry of each name under "Attributes:", on one line."""
    section = (inspect.getdoc(cls) or "").partition(_SECTION)[2].partition("\n\n")[0]
    found: dict[str, str] = {}
    names: list[str] = []
    for line in textwrap.dedent(section).splitlines():
        if entry := _ENTRY.fullmatch(line):
            names = entry[1].split(", ")
            found |= dict.fromkeys(names, entry[2])
        elif line.startswith(" "):
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return found


def text(cls: Any) -> str:
    """Returns the docstring without its attributes."""
    return (inspect.getdoc(cls) or "").partition(_SECTION)[0].strip()


def summary(cls: Any) -> str:
    """Returns the first line of the docstring."""
    return text(cls).partition("\n")[0]


def examples(cls: Any) -> list[str]:
    """Returns the command lines behind the first line, each of which begins with ``$``."""
    return [line for line in text(cls).splitlines() if line.startswith("$ ")]


def notes(cls: Any) -> list[str]:
    """Returns the paragraphs behind the first, each on one line."""
    return [" ".join(each.split()) for each in text(cls).split("\n\n")[1:]]
