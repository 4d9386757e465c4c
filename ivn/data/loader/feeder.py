"""Keeps workers busy with the next steps, by a thread, in the memory of a few batches."""

import itertools
import multiprocessing
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import Tensor

from ivn.data.batch import Batch
from ivn.data.loader.packing import ClipPacking
from ivn.data.loader.prefetch import Prefetch
from ivn.data.loader.ring import Ring, buffer_bytes
from ivn.data.loader.transfer import Transfer
from ivn.data.loader.workers import TASKS_PER_WORKER, DecodeTask, Workers
from ivn.data.sampling.plan import BatchSlot, Plan
from ivn.errors import DataError


# PyTorch's DataLoader has each worker make whole batches, two ahead: 32 batches with 16 workers.
# With 4 workers and batches of 64 clips of 8 frames, all processes here take 1.2 GB instead of 2.2,
# and the first batch 33 s instead of 84 (on two busy cores).
@dataclass
class _PendingBatch:
    """A batch that is being made: in a buffer of the ring, then on the device.

    Attributes:
        step: step of the batch.
        buffer: index of the ring's buffer.
        keys: int64 ``[B, 4]``, one key per clip.
        slots: sources of the clips.
        unfinished: number of slots whose clips are not written yet.
        error: row and error of the first slot for which no file is usable.
        tensors: clips and keys on the device; empty before they are copied.
    """

    step: int
    buffer: int
    keys: Tensor
    slots: list[BatchSlot]
    unfinished: int
    error: tuple[int, DataError] | None = None
    tensors: dict[str, Tensor] = field(default_factory=dict)


class Feeder:
    """A source of the batches of steps ``start``, ``start + 1``, ..., made by worker processes.

    Args:
        plan: sources and keys of each step.
        packing: format of clips in shared memory, with the consumers' specs.
        workers: number of processes.
        start: the first step.
        limit_bytes: limit of the memory of all batches.
        transfer: the way of batches to their device.

    Raises:
        DataError: There is too little memory for two batches.
    """

    def __init__(
        self,
        plan: Plan,
        packing: ClipPacking,
        *,
        workers: int,
        start: int,
        limit_bytes: int,
        transfer: Transfer,
    ) -> None:
        rows = len(plan.keys(start))
        shapes = packing.shapes(rows)
        self._batch_bytes = buffer_bytes(shapes)
        # Enough small batches for the tasks of all workers, and one more that is being taken.
        sources = rows // plan.config.repeats
        least = 1 + -(-TASKS_PER_WORKER * workers // sources)
        self.prefetch = Prefetch(self._batch_bytes, limit_bytes, least)
        self._ring = Ring(shapes, self.prefetch.most)
        self._plan, self._packing, self._transfer = plan, packing, transfer
        self._copies_ahead = transfer.copies_ahead(self._batch_bytes)
        self._next = start
        self._pending: deque[_PendingBatch] = deque()
        self._at_work: dict[int, tuple[_PendingBatch, BatchSlot]] = {}
        self._retries: deque[tuple[_PendingBatch, BatchSlot]] = deque()
        self._waiting: Iterator[tuple[_PendingBatch, BatchSlot]] = iter(())
        self._numbers = itertools.count()
        self._free: deque[int] = deque()
        self._changed = threading.Condition()
        self._failure: BaseException | None = None
        self._closed = False
        self._idle, self._taken = 0.0, 0.0
        for buffer in range(self.prefetch.depth):
            self._open_buffer(buffer)
        self._woken, self._wake = multiprocessing.Pipe(duplex=False)
        self._workers = Workers(workers, self._ring, packing, plan.config)
        self._thread = threading.Thread(target=self._run, name="ivn-feeder", daemon=True)
        self._thread.start()

    @property
    def workers(self) -> Workers:
        """The worker processes."""
        return self._workers

    def take(self, step: int) -> Batch:
        """Returns the batch of ``step``; steps must be taken in order.

        Raises:
            DataError: Eleven files in a row are unusable.
            WorkerError: A worker died.
        """
        started = time.perf_counter()
        with self._changed:
            while not (self._failure or self._is_ready()):
                self._changed.wait()
            if self._failure is not None:
                raise self._failure
            batch = self._pending.popleft()
        assert batch.step == step
        if batch.error is not None:
            raise batch.error[1]
        if not batch.tensors:
            self._copy(batch)
        self._transfer.hand_over(batch.tensors.values())
        self._adapt(started)
        self._wake.send(0)
        keys = batch.tensors.pop("keys")
        replaced = [file for slot in batch.slots for file in slot.substitutions()]
        return Batch(batch.tensors, keys, replaced, batch.keys, self._plan.config.repeats)

    def close(self) -> None:
        """Ends the thread and the processes."""
        if not self._closed:
            self._closed = True
            self._wake.send(0)
            self._thread.join()
            self._workers.close()
            self._transfer.close()

    def _is_ready(self) -> bool:
        if not self._pending or self._pending[0].unfinished:
            return False
        first = self._pending[0]
        return bool(first.tensors or first.error) or not self._copies_ahead

    def _adapt(self, started: float) -> None:
        """Adds a batch ahead where that would help; the wait for the first batch does not count."""
        now, before = time.perf_counter(), self._taken
        self._taken, idle, self._idle = now, self._idle, 0.0
        if before and self.prefetch.wants_more(now - started, now - before, idle):
            try:
                self._open_buffer(self.prefetch.depth)
            except DataError:
                self.prefetch.stay()
            else:
                self.prefetch.grow()

    def _open_buffer(self, buffer: int) -> None:
        try:
            self._ring.reserve(buffer + 1)
            self._transfer.register(self._ring.bytes_of(buffer))
        except OSError as error:
            size = self._batch_bytes / 2**30
            raise DataError(
                f"no memory for {buffer + 1} batches of {size:.2f} GiB ({error}): use smaller "
                "batches, or more processes to share them"
            ) from error
        self._free.append(buffer)

    def _run(self) -> None:
        try:
            while not self._closed:
                self._assign_tasks()
                idle, since = self._workers.idle_share, time.perf_counter()
                ended = self._workers.wait(self._woken)
                self._idle += idle * (time.perf_counter() - since)
                for task, reason in ended:
                    self._finish(task, reason)
                self._copy_one_ahead()
        except BaseException as error:  # the thread that waits raises it again
            with self._changed:
                self._failure = error
                self._changed.notify()

    def _assign_tasks(self) -> None:
        """Gives the workers as many tasks as they can take."""
        while self._workers.free and (assigned := self._next_slot()):
            batch, slot = assigned
            number = next(self._numbers)
            self._at_work[number] = assigned
            keys = slot.keys.tolist()
            self._workers.give(DecodeTask(number, slot.source, keys, batch.buffer, slot.row))

    def _next_slot(self) -> tuple[_PendingBatch, BatchSlot] | None:
        """Returns the next slot to decode, of a new batch where a buffer is free."""
        if self._retries:
            return self._retries.popleft()
        waiting = next(self._waiting, None)
        if waiting is None and self._free:
            keys = self._plan.keys(self._next)
            slots = self._plan.slots(self._next, keys)
            batch = _PendingBatch(self._next, self._free.popleft(), keys, slots, len(slots))
            self._next += 1
            with self._changed:
                self._pending.append(batch)
            self._waiting = ((batch, slot) for slot in slots)
            waiting = next(self._waiting)
        return waiting

    def _finish(self, task: DecodeTask, reason: str) -> None:
        """Counts a task that has ended; its file is unusable where there is a reason."""
        batch, slot = self._at_work.pop(task.number)
        if reason:
            try:
                slot.mark_unusable(reason)
            except DataError as error:
                if batch.error is None or slot.row < batch.error[0]:
                    batch.error = slot.row, error
            else:
                self._retries.append((batch, slot))
                return
        with self._changed:
            batch.unfinished -= 1
            self._changed.notify()

    def _copy_one_ahead(self) -> None:
        """Copies the next batch that will be taken, unless it is copied already."""
        if not self._copies_ahead:
            return
        with self._changed:
            first = self._pending[0] if self._pending else None
        if first is not None and not (first.unfinished or first.tensors or first.error):
            self._copy(first)
            with self._changed:
                self._changed.notify()

    def _copy(self, batch: _PendingBatch) -> None:
        """Copies a whole batch to its device and frees its buffer."""
        rows, device = self._ring.buffer(batch.buffer), self._transfer.device
        with self._transfer.side_stream():
            keys = batch.keys.to(device, non_blocking=True)
            tensors = {"keys": keys, **self._packing.unpack(rows, device)}
        batch.tensors = tensors
        self._free.append(batch.buffer)
