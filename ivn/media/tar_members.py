"""The headers of a tar, one after another, from a stranger: nothing that they say is believed."""

import tarfile
from collections.abc import Iterator
from typing import Any, BinaryIO

from ivn.errors import one_line
from ivn.media.stand_in import HEAD, stand_in

# Longer names and headers are read into memory by whoever believes them.
_LONGEST_HEADER = 2**20

COMPRESSED = "a compressed tar, whose members cannot be reached: unpack it"
# How files begin that gzip, compress, bzip2, xz, lzip, zstd and lz4 write.
_PACKED = (
    *(b"\x1f\x8b", b"\x1f\x9d", b"BZh", b"\xfd7zXZ\0", b"LZIP"),
    *(b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18"),
)


class _Careful:
    """A file that gives no more at a time than headers have; tarfile believes any size."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._file.read(size)


def members(file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """What is in the tar, but for folders, in its order; what a member claims may not be there.

    Raises:
        tarfile.ReadError: it is compressed, or damaged: nothing behind that can be found.
    """
    last = -1
    careful: Any = _Careful(file)
    try:
        with tarfile.open(fileobj=careful, mode="r:", errors="surrogateescape") as tar:
            while (member := tar.next()) is not None:
                vars(tar)["members"].clear()  # it keeps them all
                # Or headers that point backwards would be read for ever.
                if member.offset_data <= last or member.size < 0:
                    raise tarfile.ReadError("a member before the last one")
                last = member.offset_data
                if not member.isdir():
                    yield member
            # It takes a header that makes no sense for the end.
            file.seek(tar.offset)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("cut off, or no header there")
    except (tarfile.TarError, ValueError, RecursionError, OverflowError, OSError) as error:
        if last < 0 and (known := _instead(file)):
            raise tarfile.ReadError(known) from error
        raise tarfile.ReadError(
            f"damaged behind byte {max(last, 0)} ({one_line(error)})"
        ) from error


def _instead(file: BinaryIO) -> str:
    """What a file is that is no tar, "" where that is not known."""
    file.seek(0)
    head = file.read(HEAD)
    return COMPRESSED if head.startswith(_PACKED) else stand_in(head).removeprefix("it is ")
