"""Writes the table of formats in docs/data.md: ``python -m tests.corpus.importers.formats_table``.

Its rows are what the importers say of themselves; whether ``auto`` recognises a format is tried on
the published files of ``CASES``.
"""

import re
import tempfile
from pathlib import Path

from ivn.corpus.importers import IMPORTERS
from ivn.corpus.importers.auto import recognised
from ivn.errors import DataError
from tests.corpus.importers.published import CASES, written
from tests.processes import ROOT

PAGE = ROOT / "docs" / "data.md"
HEAD = """\
| format | files | a row is | labels, captions | group | `auto` |
|---|---|---|---|---|---|
"""
WRITTEN_BY = "<!-- Written by `python -m tests.corpus.importers.formats_table`. -->"


def is_recognised(name: str) -> bool:
    """Returns whether the published files of a format show which it is."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            return recognised(written(Path(folder), CASES[name][0])) == name
        except DataError:
            return False


def table() -> str:
    """Returns the table, with a row for each importer, in the order of their names."""
    rows = (
        f"| `{name}` | {one.files} | {one.row} | {one.labels} | {one.group} "
        f"| {'yes' if is_recognised(name) else 'no'} |\n"
        for name, one in sorted(IMPORTERS.items())
    )
    return HEAD + "".join(rows)


def in_page(text: str) -> re.Match[str]:
    """Returns the place of the table in the text of docs/data.md."""
    found = re.search(rf"(?<={re.escape(WRITTEN_BY)}\n\n)(\|.*\n)+", text)
    assert found is not None, f"{PAGE} has no table behind {WRITTEN_BY}"
    return found


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    place = in_page(page)
    text = page[: place.start()] + table() + page[place.end() :]
    PAGE.write_text(text, encoding="utf-8")
