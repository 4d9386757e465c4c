"""Copies batches from shared memory to the device where they are used."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

import torch
from torch import Tensor


class Transfer(Protocol):
    """The way of batches to one device."""

    device: torch.device

    def register(self, memory: Tensor) -> None:
        """Prepares ``memory``, which has batches and does not move, for copies."""

    def copies_ahead(self, size: int) -> bool:
        """Returns whether a batch of ``size`` bytes should be copied before it is wanted."""

    def side_stream(self) -> AbstractContextManager[None]:
        """Runs device work of the ``with`` block beside the training step, and waits at its end."""

    def hand_over(self, tensors: Iterable[Tensor]) -> None:
        """Hands tensors that were made in :meth:`side_stream` to the calling thread's stream."""

    def close(self) -> None:
        """Releases the memory of :meth:`register`."""


class ToHost:
    """The way to the CPU, where nothing has to be copied."""

    device = torch.device("cpu")

    def register(self, memory: Tensor) -> None:
        pass

    def copies_ahead(self, size: int) -> bool:
        return False

    def side_stream(self) -> AbstractContextManager[None]:
        return nullcontext()

    def hand_over(self, tensors: Iterable[Tensor]) -> None:
        pass

    def close(self) -> None:
        pass


class ToCuda:
    """The way to a GPU: page-locked memory and a CUDA stream beside the training step's.

    Args:
        device: CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream = torch.cuda.Stream(device)
        self._locked: list[Tensor] = []

    def register(self, memory: Tensor) -> None:
        with torch.cuda.device(self.device):
            error = torch.cuda.cudart().cudaHostRegister(memory.data_ptr(), memory.numel(), 0)
        if int(error) != 0:
            size = memory.numel() / 2**30
            raise OSError(f"{size:.2f} GiB cannot be page-locked (CUDA error {int(error)})")
        self._locked.append(memory)

    def copies_ahead(self, size: int) -> bool:
        # A second batch on the device must not be what makes a step run out of memory.
        return 16 * size < torch.cuda.get_device_properties(self.device).total_memory

    @contextmanager
    def side_stream(self) -> Iterator[None]:
        with torch.cuda.device(self.device), torch.cuda.stream(self._stream):
            yield
            self._stream.synchronize()

    def hand_over(self, tensors: Iterable[Tensor]) -> None:
        # The memory belongs to the side stream, which must not reuse it too early.
        for tensor in tensors:
            tensor.record_stream(torch.cuda.current_stream(self.device))

    def close(self) -> None:
        self._stream.synchronize()
        for memory in self._locked:
            torch.cuda.cudart().cudaHostUnregister(memory.data_ptr())
        self._locked.clear()


def transfer_to(device: torch.device) -> Transfer:
    """Returns the way of batches to ``device``."""
    return ToCuda(device) if device.type == "cuda" else ToHost()
