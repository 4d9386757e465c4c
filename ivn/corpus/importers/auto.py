"""Recognition of the format of annotation files, where they leave no doubt."""

from collections.abc import Sequence
from pathlib import Path

from ivn.corpus.importers.importer import IMPORTERS, FileHead
from ivn.errors import DataError


def recognised(files: Sequence[Path]) -> str:
    """Returns the name of the format; files of classes, which say nothing, may be among them.

    Raises:
        DataError: none of the files is unmistakable, or they are of different formats.
    """
    found = dict.fromkeys(name for name in map(_format_of, files) if name)
    if len(found) != 1:
        what = f"are {' and '.join(found)}" if found else "could be of several formats"
        raise DataError(f"{', '.join(map(str, files[:3]))}: {what}: give --format its name")
    return next(iter(found))


def _format_of(file: Path) -> str:
    """Returns the format of a file; "" if none is certain."""
    head = FileHead(file)
    names = [name for name, one in IMPORTERS.items() if one.recognises(head)]
    if len(names) > 1:
        any_of = f"{', '.join(names[:-1])} or {names[-1]}"
        raise DataError(
            f"{file}: annotations of {any_of}, which look alike: give --format {any_of}"
        )
    return names[0] if names else ""
