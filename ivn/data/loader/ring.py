"""Memory that processes share: a ring of slots, each for one batch.

Anonymous memory, handed on as an open file: it needs no /dev/shm of any size, and is gone with the
last process that has it, however that ends.
"""

import contextlib
import mmap
import os
import tempfile
from collections.abc import Mapping
from multiprocessing import reduction
from typing import Any

import numpy as np
import torch
from torch import Tensor

_PAGE = 2**16  # a multiple of every system's


class Ring:
    """``slots`` batches of uint8 tensors, of which the first few are in use.

        ring = Ring({"pixels": (8, 5_000_000)}, slots=4)
        ring.reserve(2)
        ring.slot(1)["pixels"]      # the same memory in every process that has the ring

    It can be given to a process as that starts, not later.

    Args:
        shapes: of a batch's tensors, by name.
        slots: how many there may be; they cost nothing until they are reserved.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], slots: int) -> None:
        file = os.memfd_create("ivn-ring") if hasattr(os, "memfd_create") else _unlinked_file()
        os.ftruncate(file, slots * slot_bytes(shapes))
        self._map(file, dict(shapes), slots)

    def _map(self, file: int, shapes: dict[str, tuple[int, ...]], slots: int) -> None:
        self.shapes, self.slots, self._file = shapes, slots, file
        self.slot_bytes = slot_bytes(shapes)
        self._memory = torch.frombuffer(
            mmap.mmap(file, max(1, slots * self.slot_bytes)), dtype=torch.uint8
        )

    def __getstate__(self) -> tuple[Any, ...]:
        return reduction.DupFd(self._file), self.shapes, self.slots

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        file, shapes, slots = state
        self._map(file.detach(), shapes, slots)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, OSError):
            os.close(self._file)

    def reserve(self, count: int) -> None:
        """Take the memory of the first ``count`` slots now.

        Raises:
            OSError: there is not as much; without this a process would be killed as it writes.
        """
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self._file, 0, count * self.slot_bytes)

    def slot(self, index: int) -> dict[str, Tensor]:
        """The batch in a slot: its tensors, uint8, by name."""
        views, start = {}, index * self.slot_bytes
        for name, shape in self.shapes.items():
            size = int(np.prod(shape))
            views[name] = self._memory[start : start + size].view(shape)
            start += size
        return views

    def bytes_of(self, index: int) -> Tensor:
        """A slot's memory, uint8 ``[slot_bytes]``."""
        return self._memory[index * self.slot_bytes : (index + 1) * self.slot_bytes]


def slot_bytes(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Bytes of a batch of these shapes, in whole pages."""
    return -(-sum(int(np.prod(shape)) for shape in shapes.values()) // _PAGE) * _PAGE


def _unlinked_file() -> int:
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
