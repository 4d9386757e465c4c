"""Runs processes that decode: each fills rows of shared batches, one source after another."""

import contextlib
import importlib
import signal
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import cast

import torch
from torch import Tensor

from ivn import processes
from ivn.data.config import DataConfig
from ivn.data.loader.packing import ClipPacking
from ivn.data.loader.ring import Ring
from ivn.data.reader import read_crops
from ivn.errors import DecodeError, WorkerError
from ivn.media.source import Source
from ivn.media.storage import name_of

# One task at work and one waiting, so that no worker waits for the training process.
TASKS_PER_WORKER = 2

# torch imports torch._dynamo at the first call of an operator: 1.6 s, and memory to share.
_PRELOAD = (__name__, "av", "torch._dynamo")

# Seconds between checks of the processes, where none reports anything.
_CHECK_SECONDS = 0.5

# Signals that end a process whose decoder has a bug; any other end is not the file's fault.
_CRASHES = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL")


@dataclass(frozen=True)
class DecodeTask:
    """A source to decode, and the destination of its clips.

    Attributes:
        number: identifier among the tasks at work.
        source: video and window.
        keys: key of each clip.
        buffer: index of the ring's buffer.
        row: row of the first clip in the buffer; the others follow.
    """

    number: int
    source: Source
    keys: Sequence[Sequence[int]]
    buffer: int
    row: int


def fill(
    source: Source,
    packing: ClipPacking,
    config: DataConfig,
    keys: Tensor,
    rows: Mapping[str, Tensor],
    row: int,
) -> str:
    """Writes a source's clips into rows; returns "", or the reason why the source is unusable.

    Args:
        source: video and window.
        packing: format of ``rows``, with the consumers' specs.
        config: settings of sampling and cropping.
        keys: int64 ``[R, 4]``, one key per clip.
        rows: tensors of a batch, in the shapes of ``packing``.
        row: row of the first clip.
    """
    try:
        clips = read_crops(source, packing.specs, config, keys)
    except DecodeError as error:
        return str(error)
    for index, clip in enumerate(clips, row):
        packing.pack(clip, rows, index)
    return ""


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    tasks: deque[DecodeTask] = field(default_factory=deque)
    ready: bool = False  # whether the process has started
    since: float = 0.0  # time at which the first of its tasks began


class Workers:
    """The worker processes and the tasks of each. Only one thread may use them.

    Args:
        count: number of processes.
        ring: buffers of the batches to fill.
        packing, config: format and settings, see :func:`fill`.
    """

    def __init__(self, count: int, ring: Ring, packing: ClipPacking, config: DataConfig) -> None:
        self._arguments = ring, packing, config
        self._limit = config.decode_seconds
        self._now, self._checked = 0.0, time.monotonic()
        self._context = processes.context(_PRELOAD)
        self._workers = [self._start() for _ in range(count)]

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_work, args=(theirs, *self._arguments), name="ivn worker", daemon=True
        )
        process.start()
        theirs.close()
        return _Worker(process, ours)

    @property
    def processes(self) -> list[BaseProcess]:
        """The processes that are running."""
        return [worker.process for worker in self._workers]

    @property
    def free(self) -> bool:
        """Whether a worker can take a task."""
        return any(len(worker.tasks) < TASKS_PER_WORKER for worker in self._workers)

    @property
    def idle_share(self) -> float:
        """Share of the workers that have no task."""
        return sum(not worker.tasks for worker in self._workers) / len(self._workers)

    def give(self, task: DecodeTask) -> None:
        """Gives ``task`` to the worker with the fewest tasks."""
        worker = min(self._workers, key=lambda candidate: len(candidate.tasks))
        if not worker.tasks:
            worker.since = self._now
        worker.tasks.append(task)
        # wait() reports a process that has ended.
        with contextlib.suppress(ConnectionError):
            worker.connection.send(task)

    def wait(self, wake: Connection) -> list[tuple[DecodeTask, str]]:
        """Waits for tasks to end; returns them with "" or the reason why the file is unusable.

        A file that crashes its process, or takes longer than the limit, is unusable: another
        process takes over the tasks. A message on ``wake`` ends the wait.

        Raises:
            WorkerError: A process has ended, and not by a crash of its decoder.
        """
        by_connection = {worker.connection: worker for worker in self._workers}
        ready = wait([wake, *by_connection], _CHECK_SECONDS)
        # Time during which this process was stopped (Ctrl-Z) does not count for the files.
        now = time.monotonic()
        self._now, self._checked = self._now + min(now - self._checked, 2 * _CHECK_SECONDS), now
        done = []
        for connection in ready:
            if connection is wake:
                wake.recv()
                continue
            worker = by_connection[cast(Connection, connection)]
            try:
                reason = worker.connection.recv()
            except (EOFError, OSError):
                done += self._after_end_of(worker)
                continue
            if worker.ready:
                done.append((worker.tasks.popleft(), reason))
            worker.ready, worker.since = True, self._now
        for worker in list(self._workers):
            late = worker.ready and worker.tasks and self._now - worker.since > self._limit
            if late and not worker.connection.poll():
                done += self._replace(worker, f"not decoded within {self._limit:g} s")
        return done

    def _after_end_of(self, worker: _Worker) -> list[tuple[DecodeTask, str]]:
        """Replaces a worker that crashed at its first task; other ends raise WorkerError."""
        worker.process.join()
        code = worker.process.exitcode or 0
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        if name in _CRASHES and worker.tasks and worker.ready:
            return self._replace(worker, f"crashes its decoder ({name})")
        file = f" at {name_of(worker.tasks[0].source)}" if worker.tasks else ""
        raise WorkerError(f"{name}{file}")

    def _replace(self, worker: _Worker, reason: str) -> list[tuple[DecodeTask, str]]:
        """Replaces a worker: its first task has an unusable file, the new one gets the others."""
        worker.process.kill()
        # A process that waits for storage ends when that answers; it does not write any more.
        worker.process.join(5)
        worker.connection.close()
        fresh = self._start()
        self._workers[self._workers.index(worker)] = fresh
        first, *others = worker.tasks
        for task in others:
            fresh.tasks.append(task)
            fresh.connection.send(task)
        return [(first, f"{name_of(first.source)}: {reason}")]

    def close(self) -> None:
        """Kills the processes: they have nothing that must be saved."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join(5)
            worker.connection.close()


def _work(connection: Connection, ring: Ring, packing: ClipPacking, config: DataConfig) -> None:
    """Runs a worker process: reports that it has started, then does one task after another."""
    processes.prepare()
    processes.keep_some_freed_memory()
    # One process per core decodes better than many threads per process.
    torch.set_num_threads(1)
    buffers = [ring.buffer(index) for index in range(ring.count)]
    # Before the first task, so that no file's time includes imports.
    for name in _PRELOAD:
        importlib.import_module(name)
    connection.send("")
    while True:
        try:
            task: DecodeTask = connection.recv()
        except EOFError:
            return
        keys = torch.tensor(task.keys)
        connection.send(fill(task.source, packing, config, keys, buffers[task.buffer], task.row))
