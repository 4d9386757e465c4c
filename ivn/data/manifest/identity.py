"""What clips are, wherever they lie: names, labels, times and weights, in their order.

The name of a clip is its path below the deepest folder that holds all of them, and its member's
where it is in a tar. So a folder, a list and a manifest of the same files agree, and clips that are
moved together keep their names.
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
# Sources that are Python objects at a time.
_ROWS = 4096


def described(sources: Iterable[Source]) -> Iterator[tuple[Any, ...]]:
    """What pretraining sees of each source: path, label, start, end, flip, member and weight.

    ``label`` may be None, ``weight`` is 1 but in manifests.
    """
    if isinstance(sources, SourceTable):
        return sources.described()
    return ((s.path, s.label, s.start, s.end, s.flip, s.member, 1.0) for s in sources)


def recorded(sources: Iterable[Source]) -> tuple[str, bytes]:
    """What tells whether clips are the same, and where they differ.

    Returns:
        SHA-256, hexadecimal, of what :func:`described` says of each source, with the clip's name
        for its path, as lines of JSON of up to 4096 clips; and these lines, compressed by gzip.
    """
    # The lines are kept beside the digest, which cannot say what differs: 9 MB for a million clips.
    found, text = hashlib.sha256(), io.BytesIO()
    with gzip.GzipFile(fileobj=text, mode="wb", compresslevel=1, mtime=0) as packed:
        for some in _lines(sources):
            found.update(some)
            packed.write(some)
    return found.hexdigest(), text.getvalue()


def _lines(sources: Iterable[Source]) -> Iterator[bytes]:
    length = len(_common_folder(sources))
    rows = described(sources)
    while some := list(itertools.islice(rows, _ROWS)):
        named = [(path[length:], *others) for path, *others in some]
        yield f"{json.dumps(named)}\n".encode()


def _rows(text: bytes) -> Iterator[list[Any]]:
    try:
        for line in gzip.GzipFile(fileobj=io.BytesIO(text)):
            yield from json.loads(line)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(str(error)) from error


def first_difference(now: bytes, then: bytes) -> str:
    """Where the clips of two calls of :func:`recorded` differ first, in words; "" if nowhere.

    Raises:
        ValueError: ``then`` is not as it was written.
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
        for field, one, other in zip(_FIELDS, ours, theirs, strict=True):
            if one != other:
                values = f"{json.dumps(one)} now, {json.dumps(other)} then"
                return f"clip {number}, {_name(ours)}: {field} {values}"
    return ""


def _name(row: list[Any]) -> str:
    path, member = row[0], row[_FIELDS.index("member")]
    return f"{path}, member {member}" if member else path


def _common_folder(sources: Iterable[Source]) -> str:
    """The deepest folder that holds all files, with a slash at its end; "" where none does."""
    if isinstance(sources, SourceTable):
        ends = sources.outermost()
    else:
        paths = [source.path for source in sources]
        ends = min(paths), max(paths)
    # What the first and the last of a sorted list begin with, all others do.
    folder, slash, _ = os.path.commonprefix(ends).rpartition("/")  # noqa: RUF071
    return folder + slash


def fingerprint(sources: Iterable[Source], *, base: str = "", instead: str = "") -> str:
    """SHA-256 of the sources in order, hexadecimal; what is in the files plays no part.

    Nor do groups, further labels and targets, which pretraining does not look at. Nor does where in
    a tar a member's bytes are, and what decodes them. Where the files lie does:
    :mod:`ivn.data.manifest.identity` leaves that out.

    Args:
        sources: the clips.
        base: folder, with a slash at its end, of the paths that are taken for others.
        instead: what stands in its place.
    """
    digest = hashlib.sha256()
    for path, label, start, end, flip, member, _ in described(sources):
        if base and path.startswith(base):
            path = instead + path[len(base) :]
        seen = path, label, start, end, flip
        digest.update(repr((*seen, member) if member else seen).encode())
    return digest.hexdigest()
