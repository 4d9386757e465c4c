"""The rows of a finished tar, read from its own headers and JSON."""

import json
import tarfile
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from ivn.data.manifest.parquet import Row
from ivn.errors import DataError

_COLUMNS = {column.name for column in fields(Row)}


def keys_of(path: Path) -> Iterator[str]:
    """Yields the keys of the samples in a tar of ours, in order."""
    with _opened(path) as tar:
        for member in tar:
            key, _, suffix = member.name.partition(".")
            if suffix == "json":
                yield key


def rows_of(path: Path, folder: Path) -> Iterator[Row]:
    """Yields the rows of the clips in a tar of ours, with paths relative to ``folder``.

    Raises:
        DataError: it is not as it was written.
    """
    clip: tarfile.TarInfo | None = None
    with _opened(path) as tar:
        for member in tar:
            if not member.name.endswith(".json"):
                clip = member
                continue
            told = tar.extractfile(member)
            if told is None or clip is None:
                raise DataError(
                    f"{path}: {member.name} has no clip: delete the tar and give the command again"
                )
            place = {"member": clip.name, "offset": clip.offset_data}
            record = json.load(told)
            for known in record.get("rows", [record]):
                named = {name: value for name, value in known.items() if name in _COLUMNS}
                yield Row(path.relative_to(folder).as_posix(), **(named | place))


def _opened(path: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(path, "r:")
    except (tarfile.TarError, OSError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}): delete the tar and give the command again"
        ) from error
