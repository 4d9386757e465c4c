"""Identifies clips independently of their folder: by names, labels, times, weights and order.

The name of a clip is its path below the deepest folder of all clips, and its member's name in a
tar. So a folder, a list and a manifest of the same files agree, and clips that are moved together
keep their names.
"""

import gzip
import hashlib
import io
import itertools
import json
import os.path
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from ivn.data.manifest.table import SourceTable
from ivn.media.source import Source

_FIELDS = ("path", "label", "start", "end", "flip", "member", "weight")
# Sources in a line of JSON.
_ROWS = 4096


def training_fields(sources: Iterable[Source]) -> Iterator[tuple[Any, ...]]:
    """Yields what pretraining uses of each source: path, label, start, end, flip, member, weight.

    ``label`` may be None; ``weight`` is 1 for sources that are not from a manifest.
    """
    if isinstance(sources, SourceTable):
        return sources.training_fields()
    return ((s.path, s.label, s.start, s.end, s.flip, s.member, 1.0) for s in sources)


def recorded(sources: Iterable[Source]) -> tuple[str, bytes]:
    """Returns a digest that is equal for equal clips, and a text that shows where others differ.

    Returns:
        The hexadecimal SHA-256 of lines of JSON, and these lines compressed by gzip. A line has the
        :func:`training_fields` of up to 4096 sources, with the clip's name instead of its path.
    """
    # The lines are kept beside the digest, which cannot say what differs: 9 MB for a million clips.
    digest, text = hashlib.sha256(), io.BytesIO()
    with gzip.GzipFile(fileobj=text, mode="wb", compresslevel=1, mtime=0) as packed:
        for line in _lines(sources):
            digest.update(line)
            packed.write(line)

    return digest.hexdigest(), text.getvalue()


def _lines(sources: Iterable[Source]) -> Iterator[bytes]:
    length = len(_common_folder(sources))
    rows = training_fields(sources)
    while some := list(itertools.islice(rows, _ROWS)):
        shortened = [(path[length:], *others) for path, *others in some]
        yield f"{json.dumps(shortened)}\n".encode()


def _rows(text: bytes) -> Iterator[list[Any]]:
    try:
        for line in gzip.GzipFile(fileobj=io.BytesIO(text)):
            yield from json.loads(line)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(str(error)) from error


def first_difference(now: bytes, then: bytes) -> str:
    """Returns the first difference between two texts of :func:`recorded`, in words; "" if none.

    Raises:
        ValueError: ``then`` is damaged.
    """
    both = itertools.zip_longest(_rows(now), _rows(then))
    for number, (ours, theirs) in enumerate(both, 1):
        if ours == theirs:
            continue
        if ours is None or theirs is None:
            which = "missing" if ours is None else "new"
            return f"clip {number}, {_name(ours or theirs)}, is {which}"
        if _name(ours) != _name(theirs):
            return f"clip {number} is {_name(ours)} now, {_name(theirs)} then"
        for field, current, former in zip(_FIELDS, ours, theirs, strict=True):
            if current != former:
                values = f"{json.dumps(current)} now, {json.dumps(former)} then"
                return f"clip {number}, {_name(ours)}: {field} {values}"
    return ""


def _name(row: list[Any]) -> str:
    path, member = row[0], row[_FIELDS.index("member")]
    return f"{path}, member {member}" if member else path


def _common_folder(sources: Iterable[Source]) -> str:
    """Returns the deepest folder of all files, with a slash at its end; "" where there is none."""
    if isinstance(sources, SourceTable):
        ends = sources.outermost_paths()
    else:
        paths = [source.path for source in sources]
        ends = min(paths), max(paths)
    # The common beginning of the first and the last path in sorted order is that of all.
    folder, slash, _ = os.path.commonprefix(ends).rpartition("/")  # noqa: RUF071
    return folder + slash


def fingerprint(sources: Iterable[Source], *, base: str = "", instead: str = "") -> str:
    """Returns the hexadecimal SHA-256 of the sources in their order, without the files' contents.

    It depends on paths, unlike :func:`recorded`, and on what pretraining uses: not on groups, other
    labels and targets, nor on a member's offset in its tar or the decoder.

    Args:
        sources: sources to identify.
        base: folder, with a slash at its end, that is replaced where a path begins with it.
        instead: replacement of ``base``.
    """
    digest = hashlib.sha256()
    for path, label, start, end, flip, member, _ in training_fields(sources):
        if base and path.startswith(base):
            path = instead + path[len(base) :]
        fields = path, label, start, end, flip
        digest.update(repr((*fields, member) if member else fields).encode())
    return digest.hexdigest()
