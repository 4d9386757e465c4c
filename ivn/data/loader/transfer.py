"""Batches from shared memory to where they are used."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

import torch
from torch import Tensor


class Transfer(Protocol):
    """A way to a device."""

    device: torch.device

    def use(self, memory: Tensor) -> None:
        """Slots lie in ``memory``, which stays where it is."""

    def ahead(self, size: int) -> bool:
        """Whether a batch of ``size`` bytes is to be copied before it is asked for."""

    def beside(self) -> AbstractContextManager[None]:
        """What a thread has the device do in it is done beside all else, and done at its end."""

    def take(self, tensors: Iterable[Tensor]) -> None:
        """The calling thread's stream is going to use what was made :meth:`beside` it."""

    def close(self) -> None:
        """Leave the memory of :meth:`use` alone."""


class ToHost:
    """Nothing but the CPU."""

    device = torch.device("cpu")

    def use(self, memory: Tensor) -> None:
        pass

    def ahead(self, size: int) -> bool:
        return False

    def beside(self) -> AbstractContextManager[None]:
        return nullcontext()

    def take(self, tensors: Iterable[Tensor]) -> None:
        pass

    def close(self) -> None:
        pass


class ToCuda:
    """A stream of its own, beside the training step's, and memory page-locked in place.

    Args:
        device: a CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream = torch.cuda.Stream(device)
        self._locked: list[Tensor] = []

    def use(self, memory: Tensor) -> None:
        with torch.cuda.device(self.device):
            error = torch.cuda.cudart().cudaHostRegister(memory.data_ptr(), memory.numel(), 0)
        if int(error) != 0:
            size = memory.numel() / 2**30
            raise OSError(f"{size:.2f} GiB cannot be page-locked (CUDA error {int(error)})")
        self._locked.append(memory)

    def ahead(self, size: int) -> bool:
        # A second batch on the device must not be what makes a step run out of memory.
        return 16 * size < torch.cuda.get_device_properties(self.device).total_memory

    @contextmanager
    def beside(self) -> Iterator[None]:
        with torch.cuda.device(self.device), torch.cuda.stream(self._stream):
            yield
            self._stream.synchronize()

    def take(self, tensors: Iterable[Tensor]) -> None:
        # Their memory belongs to the other stream, which must not reuse it too early.
        for tensor in tensors:
            tensor.record_stream(torch.cuda.current_stream(self.device))

    def close(self) -> None:
        self._stream.synchronize()
        for memory in self._locked:
            torch.cuda.cudart().cudaHostUnregister(memory.data_ptr())
        self._locked.clear()


def transfer_to(device: torch.device) -> Transfer:
    """How batches get to ``device``."""
    return ToCuda(device) if device.type == "cuda" else ToHost()
