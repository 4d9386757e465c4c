"""A thread that keeps workers busy with the steps to come, in memory of a few batches."""

import itertools
import multiprocessing
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import Tensor

from ivn.data.batch import Batch
from ivn.data.loader.packing import Packing
from ivn.data.loader.prefetch import Prefetch
from ivn.data.loader.ring import Ring, slot_bytes
from ivn.data.loader.transfer import Transfer
from ivn.data.loader.workers import TASKS, Task, Workers
from ivn.data.sampling.plan import Place, Plan
from ivn.errors import DataError


# PyTorch's DataLoader has each worker make whole batches, two ahead: 32 batches with 16 workers.
# With 4 workers and batches of 64 clips of 8 frames, all processes here take 1.2 GB instead of 2.2,
# and the first batch 33 s instead of 84 (on two busy cores).
@dataclass
class _Filling:
    """A batch on its way: in a slot, then, where there is a device, on that."""

    step: int
    slot: int
    keys: Tensor
    places: list[Place]
    left: int  # places that are not done
    error: tuple[int, DataError] | None = None  # of the first place that has one
    tensors: dict[str, Tensor] = field(default_factory=dict)


class Feeder:
    """Batches of the steps ``start``, ``start + 1``, ... made by processes.

    Args:
        plan: which sources and keys.
        packing: how clips lie in memory on their way, and who sees them.
        workers: processes.
        start: the first step.
        stop: the first step not to make; -1 goes on for ever.
        limit_bytes: of the batches ahead.
        transfer: to where they are used.

    Raises:
        DataError: there is no memory for two batches.
    """

    def __init__(
        self,
        plan: Plan,
        packing: Packing,
        *,
        workers: int,
        start: int,
        stop: int,
        limit_bytes: int,
        transfer: Transfer,
    ) -> None:
        rows = len(plan.keys(start))
        shapes = packing.shapes(rows)
        self._batch_bytes = slot_bytes(shapes)
        # Of small batches as many as all workers have tasks, and the one that is being taken.
        places = rows // plan.config.repeats
        least = 1 + -(-TASKS * workers // places)
        self.prefetch = Prefetch(self._batch_bytes, limit_bytes, least)
        self._ring = Ring(shapes, self.prefetch.most)
        self._plan, self._packing, self._transfer = plan, packing, transfer
        self._copies_ahead = transfer.ahead(self._batch_bytes)
        self._next, self._stop = start, stop
        self._fillings: deque[_Filling] = deque()
        self._at_work: dict[int, tuple[_Filling, Place]] = {}
        self._again: deque[tuple[_Filling, Place]] = deque()
        self._to_give: Iterator[tuple[_Filling, Place]] = iter(())
        self._numbers = itertools.count()
        self._free: deque[int] = deque()
        self._changed = threading.Condition()
        self._failure: BaseException | None = None
        self._closed = False
        self._idle, self._taken = 0.0, 0.0
        for slot in range(self.prefetch.depth):
            self._open_slot(slot)
        self._woken, self._wake = multiprocessing.Pipe(duplex=False)
        self._workers = Workers(workers, self._ring, packing, plan.config)
        self._thread = threading.Thread(target=self._run, name="ivn-feeder", daemon=True)
        self._thread.start()

    @property
    def workers(self) -> Workers:
        """The processes."""
        return self._workers

    def take(self, step: int) -> Batch:
        """The batch of ``step``, which must be the next that was not taken.

        Raises:
            DataError: ten broken files in a row.
            WorkerError: a worker died.
        """
        started = time.perf_counter()
        with self._changed:
            while not (self._failure or self._is_ready()):
                self._changed.wait()
            if self._failure is not None:
                raise self._failure
            filling = self._fillings.popleft()
        assert filling.step == step
        if filling.error is not None:
            raise filling.error[1]
        if not filling.tensors:
            self._copy(filling)
        self._transfer.take(filling.tensors.values())
        self._adapt(started)
        self._wake.send(0)
        keys = filling.tensors.pop("keys")
        replaced = [one for place in filling.places for one in place.replaced()]
        return Batch(filling.tensors, keys, replaced, filling.keys, self._plan.config.repeats)

    def close(self) -> None:
        """End the thread and the processes."""
        if not self._closed:
            self._closed = True
            self._wake.send(0)
            self._thread.join()
            self._workers.close()
            self._transfer.close()

    def _is_ready(self) -> bool:
        if not self._fillings or self._fillings[0].left:
            return False
        first = self._fillings[0]
        return bool(first.tensors or first.error) or not self._copies_ahead

    def _adapt(self, started: float) -> None:
        """Prefetch more where that would help; the wait for the first batch tells nothing."""
        now, before = time.perf_counter(), self._taken
        self._taken, idle, self._idle = now, self._idle, 0.0
        if before and self.prefetch.wants_more(now - started, now - before, idle):
            try:
                self._open_slot(self.prefetch.depth)
            except DataError:
                self.prefetch.stay()
            else:
                self.prefetch.grow()

    def _open_slot(self, slot: int) -> None:
        try:
            self._ring.reserve(slot + 1)
            self._transfer.use(self._ring.bytes_of(slot))
        except OSError as error:
            size = self._batch_bytes / 2**30
            raise DataError(
                f"no memory for {slot + 1} batches of {size:.2f} GiB ({error}): use smaller "
                "batches, or more processes to share them"
            ) from error
        self._free.append(slot)

    def _run(self) -> None:
        try:
            while not self._closed:
                self._deal()
                idle, since = self._workers.idle_share, time.perf_counter()
                ended = self._workers.wait(self._woken)
                self._idle += idle * (time.perf_counter() - since)
                for task, reason in ended:
                    self._end(task, reason)
                self._copy_one_ahead()
        except BaseException as error:  # raised again by the thread that waits
            with self._changed:
                self._failure = error
                self._changed.notify()

    def _deal(self) -> None:
        """Give the workers what they can take."""
        while self._workers.free and (found := self._next_place()):
            filling, place = found
            number = next(self._numbers)
            self._at_work[number] = found
            keys = place.keys.tolist()
            self._workers.give(Task(number, place.source, keys, filling.slot, place.row))

    def _next_place(self) -> tuple[_Filling, Place] | None:
        if self._again:
            return self._again.popleft()
        found = next(self._to_give, None)
        if found is None and self._free and self._next != self._stop:
            keys = self._plan.keys(self._next)
            places = self._plan.places(self._next, keys)
            filling = _Filling(self._next, self._free.popleft(), keys, places, len(places))
            self._next += 1
            with self._changed:
                self._fillings.append(filling)
            self._to_give = ((filling, place) for place in places)
            found = next(self._to_give)
        return found

    def _end(self, task: Task, reason: str) -> None:
        """A task has ended; the file is broken where there is a reason."""
        filling, place = self._at_work.pop(task.number)
        if reason:
            try:
                place.broken(reason)
            except DataError as error:
                if filling.error is None or place.row < filling.error[0]:
                    filling.error = place.row, error
            else:
                self._again.append((filling, place))
                return
        with self._changed:
            filling.left -= 1
            self._changed.notify()

    def _copy_one_ahead(self) -> None:
        """Copy the next batch that will be taken, unless one is there already."""
        if not self._copies_ahead:
            return
        with self._changed:
            first = self._fillings[0] if self._fillings else None
        if first is not None and not (first.left or first.tensors or first.error):
            self._copy(first)
            with self._changed:
                self._changed.notify()

    def _copy(self, filling: _Filling) -> None:
        """Bring a whole batch to where it is used; its slot is free then."""
        rows, device = self._ring.slot(filling.slot), self._transfer.device
        with self._transfer.beside():
            keys = filling.keys.to(device, non_blocking=True)
            tensors = {"keys": keys, **self._packing.unpack(rows, device)}
        filling.tensors = tensors
        self._free.append(filling.slot)
