"""Processes that decode the same files by every way in turn, so that all are timed alike."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from ivn.processes import context, prepare

from .decoders import ways

Job = tuple[str, list[int]]  # a file, and the numbers of the frames


class DecodingProcesses:
    """Processes that each decode a share of the jobs on request."""

    def __init__(self, jobs: Sequence[Job], *, processes: int, threads: int) -> None:
        self._pipes: list[Connection] = []
        self._processes: list[BaseProcess] = []
        starting = context(["av", "torch"])
        for number in range(processes):
            mine, theirs = starting.Pipe()
            share = list(jobs[number::processes])
            process = starting.Process(target=_work, args=(theirs, share, threads), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(mine)
            self._processes.append(process)

    def seconds(self, way: str) -> float:
        """Returns the seconds that all jobs take by a way, until the last process is done."""
        started = time.perf_counter()
        for pipe in self._pipes:
            pipe.send(way)
        for pipe in self._pipes:
            pipe.recv()
        return time.perf_counter() - started

    def close(self) -> None:
        """Ends the processes."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join()


def _work(pipe: Connection, jobs: list[Job], threads: int) -> None:
    prepare()
    found, _ = ways()
    with ThreadPoolExecutor(threads) as pool:
        while True:
            try:
                way = found[pipe.recv()]
            except EOFError:
                return
            for _ in pool.map(lambda job, way=way: way(*job) is None, jobs):
                pass
            pipe.send(None)
