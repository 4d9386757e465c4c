"""Reads the bytes of a video from a file or from inside a tar, without mapping or extracting."""

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

# Limit of bytes of a member, which is held in memory whole: longer videos belong in own files.
_MAX_MEMBER_BYTES = 2**32
_BLOCK = 512


def name_of(source: Source) -> str:
    """Returns the source's name in messages: the path, and the member where there is one."""
    return f"{source.path}, member {source.member}" if source.member else source.path


def read_bytes(source: Source) -> bytes:
    """Returns all bytes of the video: those of the file, or of the member of the tar.

    A member whose offset is known is read with its header, whose size and kind are compared: a tar
    that changed since it was indexed is an error, not another video. Of several members with one
    name the last is read, as tar has it.

    Raises:
        DecodeError: The file or member does not exist, is empty, no plain file, or shorter than its
            size says.
    """
    name = name_of(source)
    with _open(source) as (file, status):
        if not source.member:
            data = _pread(file, name, 0, status.st_size)
        else:
            offset, size = source.offset, source.size
            if size == 0:
                spans, damage = _members(os.path.abspath(source.path), version_of(status))
                offset, size = spans.get(source.member, (0, 0))
                if source.member not in spans:
                    raise DecodeError(f"{name}: no plain file of this name in the tar{damage}")
                if size == 0:
                    raise DecodeError(f"{name}: the member is empty (0 bytes)")
            if size > _MAX_MEMBER_BYTES:
                raise DecodeError(f"{name}: {size} bytes, more than {_MAX_MEMBER_BYTES}: unpack it")
            if offset < _BLOCK or size < 0 or offset + size > status.st_size:
                raise DecodeError(
                    f"{name}: bytes {offset} to {offset + size} of a tar of {status.st_size}: "
                    "index it anew"
                )
            data = _pread(file, name, offset - _BLOCK, size + _BLOCK)
            _check_header(name, data[:_BLOCK], source.member, size)
            data = data[_BLOCK:]
        if version_of(os.fstat(file)) != version_of(status):
            raise DecodeError(f"{name}: the file changed while it was read")
    return data


def version_of(status: os.stat_result) -> tuple[int, int, int]:
    """Returns numbers that change when a file is replaced, cut off or written to."""
    return status.st_ino, status.st_size, status.st_mtime_ns


@contextmanager
def _open(source: Source) -> Iterator[tuple[int, os.stat_result]]:
    """Opens a plain file that is not empty: its descriptor and its status."""
    name = name_of(source)
    check_file(name, source.path)
    try:
        # A pipe may have replaced the file since it was checked: opening that must not wait.
        file = os.open(os.path.abspath(source.path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise DecodeError(f"{name}: cannot be read ({error.strerror})") from error
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise DecodeError(f"{name}: not a file")
        yield file, status
    finally:
        os.close(file)


def check_file(name: str, path: str) -> None:
    """Raises DecodeError unless ``path`` is a plain file that is not empty."""
    try:
        status = os.stat(os.path.abspath(path))
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
        reason = getattr(error, "strerror", None) or str(error)
        problem = "no such file" if missing else f"cannot be read ({reason})"
        raise DecodeError(f"{name}: {problem}") from error
    if not stat.S_ISREG(status.st_mode):
        raise DecodeError(f"{name}: not a file")
    if status.st_size == 0:
        raise DecodeError(f"{name}: the file is empty (0 bytes)")


def _pread(file: int, name: str, offset: int, size: int) -> bytes:
    """Reads ``size`` bytes from ``offset`` on; one system call gives at most 2 GiB."""
    parts, position = [], offset
    while position < offset + size:
        try:
            part = os.pread(file, offset + size - position, position)
        except OSError as error:
            raise DecodeError(f"{name}: cannot be read ({error.strerror})") from error
        if not part:
            raise DecodeError(f"{name}: truncated, {position - offset} of {size} bytes are there")
        parts.append(part)
        position += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


@functools.lru_cache(maxsize=4)
def _members(path: str, version: tuple[int, int, int]) -> tuple[Mapping[str, tuple[int, int]], str]:
    """Returns name -> offset and size of every plain file in a tar, and "" or why it has more."""
    del version  # only part of the cache's key: a tar that was replaced is read anew
    spans: dict[str, tuple[int, int]] = {}
    try:
        with open(path, "rb") as file:
            for member in members(file):
                if member.isreg() and not member.issparse():
                    spans[member.name] = member.offset_data, member.size
    except (tarfile.ReadError, OSError) as error:
        return spans, f", which is {error}"
    return spans, ""


def _check_header(name: str, header: bytes, member: str, size: int) -> None:
    """Raises DecodeError where the header before the member's bytes differs from the index."""
    try:
        info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise DecodeError(f"{name}: the tar is not as it was indexed: index it anew") from error
    # Longer and other names are only in part in this header; a block before it has the whole name.
    whole = member.isascii() and len(member) < 100
    if info.size != size or not info.isreg() or (whole and info.name != member):
        raise DecodeError(
            f"{name}: the tar holds {info.name} of {info.size} bytes there: index it anew"
        )


def hash_of(source: Source) -> str:
    """Returns ``sha256:`` and the hexadecimal digest of the file's, or the member's, bytes.

    Raises:
        DecodeError: There is no such file or member.
        OSError: The file cannot be read.
    """
    if source.member:
        return f"sha256:{hashlib.sha256(read_bytes(source)).hexdigest()}"
    # Reading a pipe would wait, and a device has no end.
    check_file(name_of(source), source.path)
    with open(source.path, "rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
