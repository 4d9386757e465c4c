"""A function over many items, in processes that may hang, crash or eat memory.

Strangers' files are decoded in it. If a process does not survive an item, the item's outcome has
the reason, a new process takes the next item, and the others never notice: each process has one
item at a time and a pipe of its own, so there is no lock or queue that a killed one could hold.

    def look(path: str) -> int: ...          # of a module, so that processes can import it

    for outcome in in_processes(look, paths, workers=4, seconds=30):
        print(outcome.item, outcome.reason or outcome.value)
"""

import collections
import resource
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from typing import Any, Generic, TypeVar

from ivn import processes
from ivn.errors import DataError, one_line

Item = TypeVar("Item")
Value = TypeVar("Value")

# concurrent.futures gives up when a process dies, and cannot end one that hangs. pebble (LGPL) can,
# but its processes share a pipe and its lock, which one that is killed may hold.

# Items that may be done before the one whose turn it is: a slow one does not hold up the others.
_AHEAD = 4096
MEMORY = 4 << 30


@dataclass(frozen=True)
class Outcome(Generic[Item, Value]):
    """The result of one item.

    Attributes:
        item: the item as it was given.
        value: return value of the function; None if there is a reason.
        reason: "", or in a few words why there is no value: the exception of the function, or the
            end of its process.
        seconds: duration of the work.
    """

    item: Item
    value: Value | None
    reason: str
    seconds: float


def in_processes(
    function: Callable[[Item], Value],
    items: Iterable[Item],
    *,
    workers: int,
    seconds: float,
    memory: int = MEMORY,
) -> Iterator[Outcome[Item, Value]]:
    """Yields the outcomes in the order of ``items``, which are taken as they are needed.

    ValueError, OSError and MemoryError of the function are reasons; any other exception is a
    defect, and ends its process with a traceback. Processes end with the iterator and with this
    process, however that ends.

    Args:
        function: function of a module; it is pickled by name. A script of your own must start the
            work under ``if __name__ == "__main__"``.
        items: picklable items.
        workers: number of processes.
        seconds: time limit per item; its process is killed then.
        memory: limit of a process's allocations, in bytes (RLIMIT_DATA); beyond it there is a
            MemoryError, or the process ends.

    Raises:
        DataError: processes cannot be started.
    """
    team = _Team(function, workers, seconds, memory)
    waiting = iter(items)
    done: dict[int, Outcome[Item, Value]] = {}
    given = told = 0
    try:
        while True:
            while team.idle and given - told < _AHEAD:
                try:
                    item = next(waiting)
                except StopIteration:
                    break
                team.give(given, item)
                given += 1
            if given == told:
                return
            done |= team.outcomes()
            while told in done:
                yield done.pop(told)
                told += 1
    finally:
        team.end()


class _Team(Generic[Item, Value]):
    """Processes, each idle or with one item."""

    def __init__(
        self, function: Callable[[Item], Value], workers: int, seconds: float, memory: int
    ) -> None:
        if workers < 1 or not seconds > 0 or memory < 1:
            raise ValueError(f"{workers} workers, {seconds} s, {memory} bytes: expected more")
        # A partial function is of functools itself.
        module = getattr(function, "func", function).__module__
        modules = {__name__, module, "av"} - {"__main__"}
        self._context = processes.context(sorted(modules))
        self._work = function, memory
        self._seconds = seconds
        self.idle = collections.deque(
            _PoolWorker(self._context, *self._work) for _ in range(workers)
        )
        self._busy: list[tuple[_PoolWorker, int, Item, float]] = []

    def give(self, number: int, item: Item) -> None:
        worker = self.idle.popleft()
        worker.pipe.send(item)
        self._busy.append((worker, number, item, time.monotonic()))

    def outcomes(self) -> dict[int, Outcome[Item, Value]]:
        """Returns number -> outcome of finished items; waits for at least one."""
        found: dict[int, Outcome[Item, Value]] = {}
        while not found:
            first = min(began for *_, began in self._busy) + self._seconds
            ready = wait([worker.pipe for worker, *_ in self._busy], first - time.monotonic())
            for task in list(self._busy):
                worker, number, item, began = task
                took = time.monotonic() - began
                if worker.pipe in ready:
                    value, reason = worker.answer()
                elif took >= self._seconds:
                    value, reason = None, f"took longer than {self._seconds:g} s"
                    worker.end()
                else:
                    continue
                self._busy.remove(task)
                alive = not worker.pipe.closed
                self.idle.append(worker if alive else _PoolWorker(self._context, *self._work))
                found[number] = Outcome(item, value, reason, took)
        return found

    def end(self) -> None:
        for worker in [*self.idle, *(worker for worker, *_ in self._busy)]:
            worker.end()


class _PoolWorker:
    """A process and the pipe to it."""

    def __init__(
        self,
        context: ForkServerContext | SpawnContext,
        function: Callable[[Any], Any],
        memory: int,
    ) -> None:
        self.pipe, other = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(other, function, memory), name="ivn pool", daemon=True
        )
        self._process.start()
        other.close()
        # Imports do not count towards an item's time limit.
        try:
            self.pipe.recv()
        except (EOFError, ConnectionError) as error:
            self.end()
            raise DataError(
                f"a worker process cannot start ({self._how_it_ended()}): free memory, or in a "
                'script of your own, start under if __name__ == "__main__"'
            ) from error

    def answer(self) -> tuple[Any, str]:
        """Returns the value, or the reason why there is none; removes a process that has ended."""
        try:
            return self.pipe.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            reason = f"its process ended ({self._how_it_ended()})"
            self.end()
            return None, reason

    def end(self) -> None:
        self.pipe.close()
        self._process.kill()
        self._process.join()

    def _how_it_ended(self) -> str:
        code = self._process.exitcode
        if code is None or code >= 0:
            return f"exit code {code}"
        name = signal.Signals(-code).name
        return f"{name}, as when memory runs out" if name == "SIGKILL" else name


def _serve(pipe: Connection, function: Callable[[Any], Any], memory: int) -> None:
    processes.prepare()
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    least = memory if most == resource.RLIM_INFINITY else min(memory, most)
    resource.setrlimit(resource.RLIMIT_DATA, (least, most))
    pipe.send(None)
    while True:
        try:
            item = pipe.recv()
        except EOFError:
            return
        value, reason = None, ""
        try:
            value = function(item)
        except MemoryError:
            reason = f"needs more than {memory / 2**30:.3g} GiB of memory"
        except (ValueError, OSError) as error:
            reason = one_line(error)
        pipe.send((value, reason))
