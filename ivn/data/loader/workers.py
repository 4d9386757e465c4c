"""Processes that decode: each fills rows of shared batches, one source after another."""

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
from ivn.data.loader.packing import Packing
from ivn.data.loader.ring import Ring
from ivn.data.reader import read_crops
from ivn.errors import DecodeError, WorkerError
from ivn.media.source import Source
from ivn.media.storage import name_of

# One at work and one waiting for it: a worker never waits for the training process.
TASKS = 2

# The last is what torch imports at the first call of an operator: 1.6 s, and memory to share.
_PRELOAD = (__name__, "av", "torch._dynamo")

# Seconds from one look at the processes to the next, where none has anything to say.
_TICK = 0.5

# How a process ends when a decoder does what it must not; another end is no file's fault.
_CRASHES = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL")


@dataclass(frozen=True)
class Task:
    """A source to decode, and where its clips go.

    Attributes:
        number: unique among those at work.
        source: the file.
        keys: of each clip to make of it.
        slot, row: of the ring: the first clip's, others follow.
    """

    number: int
    source: Source
    keys: Sequence[Sequence[int]]
    slot: int
    row: int


def fill(
    source: Source,
    packing: Packing,
    config: DataConfig,
    keys: Tensor,
    rows: Mapping[str, Tensor],
    row: int,
) -> str:
    """Write a source's clips into rows ``row`` and on; "", or why it cannot be used.

    Args:
        source, config: as :func:`ivn.data.reader.read_clips`.
        packing: how clips lie in ``rows``, and who sees them.
        keys: int64 ``[R, 4]``.
        rows: of a batch.
        row: of the first clip.
    """
    try:
        clips = read_crops(source, packing.specs, config, keys)
    except DecodeError as error:
        return str(error)
    for at, clip in enumerate(clips, row):
        packing.pack(clip, rows, at)
    return ""


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    tasks: deque[Task] = field(default_factory=deque)
    ready: bool = False  # the process is there
    since: float = 0.0  # when the first of its tasks began


class Workers:
    """Some processes and what each is doing. For one thread alone.

    Args:
        count: of processes.
        ring: the batches to fill.
        packing, config: as :func:`fill`.
    """

    def __init__(self, count: int, ring: Ring, packing: Packing, config: DataConfig) -> None:
        self._given = ring, packing, config
        self._limit = config.decode_seconds
        self._now, self._looked = 0.0, time.monotonic()
        self._context = processes.context(_PRELOAD)
        self._workers = [self._start() for _ in range(count)]

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_work, args=(theirs, *self._given), name="ivn worker", daemon=True
        )
        process.start()
        theirs.close()
        return _Worker(process, ours)

    @property
    def processes(self) -> list[BaseProcess]:
        """Those at work."""
        return [worker.process for worker in self._workers]

    @property
    def free(self) -> bool:
        """Whether a task can be given."""
        return any(len(worker.tasks) < TASKS for worker in self._workers)

    @property
    def idle_share(self) -> float:
        """Of the processes, how many have nothing to do."""
        return sum(not worker.tasks for worker in self._workers) / len(self._workers)

    def give(self, task: Task) -> None:
        """Have the least busy process do ``task``."""
        worker = min(self._workers, key=lambda one: len(one.tasks))
        if not worker.tasks:
            worker.since = self._now
        worker.tasks.append(task)
        # One that is gone wait() will find.
        with contextlib.suppress(ConnectionError):
            worker.connection.send(task)

    def wait(self, wake: Connection) -> list[tuple[Task, str]]:
        """Tasks that have ended, with "" or why the file cannot be used; none if ``wake`` spoke.

        A file that brings its process down, or keeps it for too long, is one that cannot be used:
        another process takes its place.

        Raises:
            WorkerError: a process is gone, and not by a crash of its decoder.
        """
        by_connection = {worker.connection: worker for worker in self._workers}
        ready = wait([wake, *by_connection], _TICK)
        # A process that was stopped (Ctrl-Z) comes back late; its files took no longer for that.
        now = time.monotonic()
        self._now, self._looked = self._now + min(now - self._looked, 2 * _TICK), now
        done = []
        for connection in ready:
            if connection is wake:
                wake.recv()
                continue
            worker = by_connection[cast(Connection, connection)]
            try:
                reason = worker.connection.recv()
            except (EOFError, OSError):
                done += self._after(worker)
                continue
            if worker.ready:
                done.append((worker.tasks.popleft(), reason))
            worker.ready, worker.since = True, self._now
        for worker in list(self._workers):
            late = worker.ready and worker.tasks and self._now - worker.since > self._limit
            if late and not worker.connection.poll():
                done += self._replace(worker, f"not decoded within {self._limit:g} s")
        return done

    def _after(self, worker: _Worker) -> list[tuple[Task, str]]:
        """What becomes of the tasks of a process that is gone."""
        worker.process.join()
        code = worker.process.exitcode or 0
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        if name in _CRASHES and worker.tasks and worker.ready:
            return self._replace(worker, f"crashes its decoder ({name})")
        what = f" at {name_of(worker.tasks[0].source)}" if worker.tasks else ""
        raise WorkerError(f"{name}{what}")

    def _replace(self, worker: _Worker, reason: str) -> list[tuple[Task, str]]:
        """Another process for the tasks of ``worker``, but the first: that file is at fault."""
        worker.process.kill()
        # One that waits for its storage is gone only when that answers; it writes no more.
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
        """End the processes, whatever they are doing: they hold nothing that is not to be lost."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join(5)
            worker.connection.close()


def _work(connection: Connection, ring: Ring, packing: Packing, config: DataConfig) -> None:
    """What a process does: tells that it is there, then task after task."""
    processes.prepare()
    processes.keep_some_freed_memory()
    # One process a core decodes better than many threads a process.
    torch.set_num_threads(1)
    slots = [ring.slot(index) for index in range(ring.slots)]
    # Here if the server does not have them: what is imported is not time that a file takes.
    for name in _PRELOAD:
        importlib.import_module(name)
    connection.send("")
    while True:
        try:
            task: Task = connection.recv()
        except EOFError:
            return
        keys = torch.tensor(task.keys)
        connection.send(fill(task.source, packing, config, keys, slots[task.slot], task.row))
