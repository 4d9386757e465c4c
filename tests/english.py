"""Refuses docstrings that only make sense with a name read into them.

``python -m tests.english`` prints each fragment with its file and line; ``make lint`` runs it. An
entry under "Args:", "Attributes:", "Returns:", "Raises:" or "Yields:" is a noun phrase or a
sentence ("seconds: time limit per file", not "seconds: that a file may take"), and the first line
of a docstring is a whole sentence.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
ROOMS = ["benchmarks", "ivn", "kernels"]

SECTION = re.compile(r"(Args|Attributes|Returns|Raises|Yields):$")
ENTRY = re.compile(r"\*{0,2}[\w.]+(?:, \*{0,2}[\w.]+)*(?: \([^)]*\))?:(?: (?P<text>.*))?$")
FRAGMENT = re.compile(r"(of|that|by|whose|which|what|to|for|where|as)\b", re.IGNORECASE)
FIRST_LINE = re.compile(r"(What|Of|This function)\b", re.IGNORECASE)


class Sentence(NamedTuple):
    """An entry of a docstring, or a docstring's first line.

    Attributes:
        file: relative to the root of the repository.
        line: number of its line in the file, from 1.
        text: the line itself.
        is_entry: false for a first line.
        is_fragment: whether it cannot be read by itself.
    """

    file: str
    line: int
    text: str
    is_entry: bool
    is_fragment: bool


def docstrings(source: str) -> Iterator[tuple[int, list[str]]]:
    """Yields each docstring's first line number, and its lines without their common indent."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if (text := ast.get_docstring(node)) is not None:
            yield node.body[0].lineno, text.splitlines()


def entries(lines: list[str]) -> Iterator[tuple[int, str, str]]:
    """Yields the index, the line and the text of each entry in a docstring's sections."""
    section, indent = "", 0
    for index, line in enumerate(lines):
        depth = len(line) - len(line.lstrip())
        if match := SECTION.match(line):
            section, indent = match[1], 0
        elif not line.strip():
            continue
        elif not depth:
            section = ""
        elif section and depth == (indent := indent or depth):
            match = ENTRY.match(line.strip())
            if match is None and section in ("Returns", "Yields") and index:
                # A paragraph has one beginning: of its lines the first is read.
                if SECTION.match(lines[index - 1]):
                    yield index, line.strip(), line.strip()
            elif match is not None:
                following = lines[index + 1].strip() if index + 1 < len(lines) else ""
                yield index, line.strip(), match["text"] or following


def sentences(file: str, source: str) -> Iterator[Sentence]:
    """Yields every entry and every first line of the docstrings in ``source``."""
    for number, lines in docstrings(source):
        first = lines[0] if lines else ""
        yield Sentence(file, number, first, False, FIRST_LINE.match(first) is not None)
        for index, line, text in entries(lines):
            yield Sentence(file, number + index, line, True, FRAGMENT.match(text) is not None)


def main() -> int:
    """Prints the fragments and their share; returns 1 if there is one."""
    files = [file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py"))]
    checked = [
        sentence
        for file in files
        for sentence in sentences(str(file.relative_to(ROOT)), file.read_text())
    ]
    fragments = [sentence for sentence in checked if sentence.is_fragment]
    for sentence in fragments:
        print(f"{sentence.file}:{sentence.line}: {sentence.text}")
    for kind, is_entry in [("entries", True), ("first lines", False)]:
        total = sum(sentence.is_entry == is_entry for sentence in checked)
        wrong = sum(sentence.is_entry == is_entry for sentence in fragments)
        print(f"{wrong} of {total} {kind} are fragments ({wrong / max(total, 1):.1%})")
    if fragments:
        print("Write a noun phrase or a sentence that can be read without the name before it.")
    return 1 if fragments else 0


if __name__ == "__main__":
    sys.exit(main())
