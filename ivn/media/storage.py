"""The bytes of a video, as they lie in a file or inside a tar; read, never mapped or extracted."""

import functools
import hashlib
import os
import stat
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ivn.errors import DecodeError
from ivn.media.source import Source
from ivn.media.tar_members import members

# Bytes of a member that are held at a time: longer videos belong in files of their own.
_MOST = 2**32
_BLOCK = 512


def named(source: Source) -> str:
    """What messages call it: the path, and the member where there is one."""
    return f"{source.path}, member {source.member}" if source.member else source.path


def read_bytes(source: Source) -> bytes:
    """All bytes of the video: of the whole file, or of the member of the tar.

    A member whose place is known is read by one ``pread``, after its header's size and kind have
    been compared: a tar that changed since it was indexed is an error, not another video.

    Raises:
        DecodeError: it is missing, empty, no plain file, or shorter than it says; or there is no
            such member. Of several with its name the last is taken, as tar has it.
    """
    name = named(source)
    with _open(source) as (file, found):
        if not source.member:
            data = _pread(file, name, 0, found.st_size)
        else:
            offset, size = source.offset, source.size
            if size == 0:
                places, damage = _members(os.path.abspath(source.path), version_of(found))
                offset, size = places.get(source.member, (0, 0))
                if source.member not in places:
                    raise DecodeError(f"{name}: no plain file of this name in the tar{damage}")
                if size == 0:
                    raise DecodeError(f"{name}: the member is empty (0 bytes)")
            if size > _MOST:
                raise DecodeError(f"{name}: {size} bytes, more than {_MOST}: unpack it")
            if offset < _BLOCK or size < 0 or offset + size > found.st_size:
                raise DecodeError(
                    f"{name}: bytes {offset} to {offset + size} of a tar of {found.st_size}: "
                    "index it anew"
                )
            data = _pread(file, name, offset - _BLOCK, size + _BLOCK)
            _check_header(name, data[:_BLOCK], source.member, size)
            data = data[_BLOCK:]
        if version_of(os.fstat(file)) != version_of(found):
            raise DecodeError(f"{name}: the file changed while it was read")
    return data


def version_of(found: os.stat_result) -> tuple[int, int, int]:
    """Changes when a file is replaced, cut off or written to."""
    return found.st_ino, found.st_size, found.st_mtime_ns


@contextmanager
def _open(source: Source) -> Iterator[tuple[int, os.stat_result]]:
    """A descriptor of a plain file that is not empty."""
    name = named(source)
    check_file(name, source.path)
    try:
        # Not waiting, in case a pipe has taken the file's place since it was looked at.
        file = os.open(os.path.abspath(source.path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise DecodeError(f"{name}: cannot be read ({error.strerror})") from error
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise DecodeError(f"{name}: not a file")
        yield file, found
    finally:
        os.close(file)


def check_file(name: str, path: str) -> None:
    """Raise DecodeError unless there is a plain file at ``path`` that is not empty."""
    try:
        found = os.stat(os.path.abspath(path))
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        gone = isinstance(error, (FileNotFoundError, NotADirectoryError))
        reason = getattr(error, "strerror", None) or str(error)
        said = "no such file" if gone else f"cannot be read ({reason})"
        raise DecodeError(f"{name}: {said}") from error
    if not stat.S_ISREG(found.st_mode):
        raise DecodeError(f"{name}: not a file")
    if found.st_size == 0:
        raise DecodeError(f"{name}: the file is empty (0 bytes)")


def _pread(file: int, name: str, offset: int, size: int) -> bytes:
    """``size`` bytes; a system call gives at most 2 GiB."""
    parts, place = [], offset
    while place < offset + size:
        try:
            part = os.pread(file, offset + size - place, place)
        except OSError as error:
            raise DecodeError(f"{name}: cannot be read ({error.strerror})") from error
        if not part:
            raise DecodeError(f"{name}: truncated, {place - offset} of {size} bytes are there")
        parts.append(part)
        place += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


@functools.lru_cache(maxsize=4)
def _members(path: str, version: tuple[int, int, int]) -> tuple[Mapping[str, tuple[int, int]], str]:
    """Name -> offset and size of every plain file in the tar that has this version; and "", or
    why there may be more."""
    del version  # part of the key: a tar that was replaced is read anew
    places: dict[str, tuple[int, int]] = {}
    try:
        with open(path, "rb") as file:
            for member in members(file):
                if member.isreg() and not member.issparse():
                    places[member.name] = member.offset_data, member.size
    except (tarfile.ReadError, OSError) as error:
        return places, f", which is {error}"
    return places, ""


def _check_header(name: str, header: bytes, member: str, size: int) -> None:
    """Compare what was indexed with the header that precedes the member's bytes."""
    try:
        found = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise DecodeError(f"{name}: the tar is not as it was indexed: index it anew") from error
    # Of other names the header holds a part; their whole is in a block before it.
    whole = member.isascii() and len(member) < 100
    if found.size != size or not found.isreg() or (whole and found.name != member):
        raise DecodeError(
            f"{name}: the tar holds {found.name} of {found.size} bytes there: index it anew"
        )


def hash_of(source: Source) -> str:
    """``sha256:`` and the digest of the file's bytes, or the member's, hexadecimal.

    Raises:
        DecodeError: the file or the member is not there, or none.
        OSError: the file cannot be read.
    """
    if source.member:
        return f"sha256:{hashlib.sha256(read_bytes(source)).hexdigest()}"
    check_file(named(source), source.path)  # a pipe would be waited for, a device has no end
    with open(source.path, "rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
