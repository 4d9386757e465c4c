"""How processes start, end and keep memory; none outlives the main one."""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, SpawnContext

# The parameters of glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -2, -3, -4


def context(preload: Sequence[str]) -> ForkServerContext | SpawnContext:
    """Returns a way to start processes, never a fork: OpenMP or CUDA may run in this one.

    Args:
        preload: modules to import once, in the server that processes are forked from: they then
            start in milliseconds and share the modules' memory. It has an effect only if the server
            does not run yet.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload(list(preload))
    _start_server()
    return forking


def prepare() -> None:
    """Makes the main process alone decide when this one ends; to be called first in it."""
    # Ctrl-C reaches the whole process group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The parent is the fork server, which lives as long as its processes: a main process that is
    # killed would leave them all behind.
    threading.Thread(target=_end_with_main_process, daemon=True).start()


def keep_some_freed_memory() -> None:
    """Makes this process keep up to 128 MiB of freed memory; no effect without glibc.

    A C library gives arrays of megabytes back to the system, which hands them out anew page by
    page: a quarter of the time of a clip that is cheap to decode.
    """
    _mallopt({_M_TRIM_THRESHOLD: 2**27, _M_MMAP_THRESHOLD: 2**25})


def keep_all_freed_memory() -> None:
    """Makes this process keep all memory that tensors free; no effect without glibc.

    By default large blocks go back to the system at once, and the next step waits for it to map
    and clear the same pages again: half the time of a small model's step.
    """
    _mallopt({_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: 2**31 - 1, _M_TOP_PAD: 64 << 20})


def _mallopt(values: Mapping[int, int]) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for parameter, value in values.items():
            mallopt(parameter, value)


def _end_with_main_process() -> None:
    main = multiprocessing.parent_process()
    assert main is not None
    main.join()
    os._exit(1)


def _start_server() -> None:
    """Starts the server that processes are forked from, if it does not run.

    It is a ``python -c``, which by default imports an ``ivn`` in the working directory before the
    one that is installed.
    """
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before


def cores() -> int:
    """Returns the number of cores that this process may use."""
    if hasattr(os, "process_cpu_count"):  # from Python 3.13 on
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
