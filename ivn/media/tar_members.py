"""Reads the headers of a tar that may be damaged or malicious: no number in them is trusted."""

import tarfile
from collections.abc import Iterator
from typing import Any, BinaryIO

from ivn.errors import one_line
from ivn.media.stand_in import HEAD, stand_in

# tarfile reads a name or header of any length into memory.
_LONGEST_HEADER = 2**20

COMPRESSED = "a compressed tar, whose members cannot be reached: unpack it"
# First bytes of files that gzip, compress, bzip2, xz, lzip, zstd and lz4 write.
_COMPRESSED_STARTS = (
    *(b"\x1f\x8b", b"\x1f\x9d", b"BZh", b"\xfd7zXZ\0", b"LZIP"),
    *(b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18"),
)


class _LimitedReads:
    """A file that refuses reads longer than a header, since tarfile trusts any size."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._file.read(size)


def members(file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """Yields the members of a tar in its order, folders excepted.

    The bytes of a member may lie beyond the end of the file: they are not looked at.

    Raises:
        tarfile.ReadError: The tar is compressed, or damaged: nothing after the damage can be found.
    """
    last = -1
    limited: Any = _LimitedReads(file)
    try:
        with tarfile.open(fileobj=limited, mode="r:", errors="surrogateescape") as tar:
            while (member := tar.next()) is not None:
                vars(tar)["members"].clear()  # tarfile keeps them all
                # Otherwise headers that point backwards would be read for ever.
                if member.offset_data <= last or member.size < 0:
                    raise tarfile.ReadError("a member before the last one")
                last = member.offset_data
                if not member.isdir():
                    yield member
            # tarfile takes an invalid header for the end of the tar.
            file.seek(tar.offset)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("cut off, or no header there")
    except (tarfile.TarError, ValueError, RecursionError, OverflowError, OSError) as error:
        if last < 0 and (kind := _other_kind(file)):
            raise tarfile.ReadError(kind) from error
        raise tarfile.ReadError(
            f"damaged behind byte {max(last, 0)} ({one_line(error)})"
        ) from error


def _other_kind(file: BinaryIO) -> str:
    """Returns what a file that is no tar is instead; "" where that is unknown."""
    file.seek(0)
    head = file.read(HEAD)
    return (
        COMPRESSED if head.startswith(_COMPRESSED_STARTS) else stand_in(head).removeprefix("it is ")
    )
