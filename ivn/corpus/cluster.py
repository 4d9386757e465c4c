"""A function over many items on a Ray cluster, in guarded processes on each node."""

import collections
import itertools
import socket
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Protocol

from ivn.corpus.limits import ClusterLimits
from ivn.corpus.pool import Item, Outcome, Value, in_processes
from ivn.errors import DataError, one_line

# Items of a task, so that its way to a node is short beside its work.
_ITEMS = 16
_SECONDS = 10.0


class Runner(Protocol):
    """Runs a function on all items and yields the outcomes in their order."""

    def __call__(
        self, function: Callable[[Item], Value], items: Iterable[Item]
    ) -> Iterator[Outcome[Item, Value]]: ...


def runner(limits: ClusterLimits) -> Runner:
    """Returns a function that runs work on this machine, or on a Ray cluster."""
    here: dict[str, Any] = {"workers": limits.processes, "seconds": limits.seconds}
    if limits.ray:
        return partial(in_ray, address=limits.ray, **here)
    return partial(in_processes, **here)


def in_ray(
    function: Callable[[Item], Value],
    items: Iterable[Item],
    *,
    address: str,
    workers: int,
    seconds: float,
) -> Iterator[Outcome[Item, Value]]:
    """Yields the outcomes in the order of ``items``, as :func:`ivn.corpus.pool.in_processes` does.

    A task takes some items to a node, where a process of its own handles them one by one, with the
    same limits and the same reasons. Tasks of a node that is lost are done again elsewhere.

    Args:
        function: function of a module that is installed on all nodes.
        items: picklable; their paths must be the same on all nodes.
        address: ``auto``, ``ray://HOST:PORT`` or ``HOST:PORT`` of a cluster; ``local`` starts one
            on this machine, for as long as it is needed.
        workers: number of processes of a local cluster.
        seconds: time limit per item.

    Raises:
        DataError: Ray is not installed, or there is no cluster at the address.
    """
    try:
        import ray
    except ImportError as error:
        raise DataError('Ray is not installed: pip install "ivn[ray]"') from error
    _check_address(address)
    try:
        cpus = workers if address == "local" else None
        ray.init(address, num_cpus=cpus, log_to_driver=False, configure_logging=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise DataError(f"--ray {address}: no cluster there ({one_line(error)})") from error
    try:
        task: Any = ray.remote(num_cpus=1, max_retries=3)(_in_one_process)
        waiting = iter(items)
        ahead = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
        running: collections.deque[Any] = collections.deque()
        while True:
            while len(running) < ahead and (some := list(itertools.islice(waiting, _ITEMS))):
                running.append(task.remote(function, some, seconds))
            if not running:
                return
            yield from ray.get(running.popleft())
    finally:
        ray.shutdown()


def _check_address(address: str) -> None:
    """Raises DataError if nobody listens; Ray would try for minutes, and log every time."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"--ray {address}: no cluster there ({reason})") from error


def _in_one_process(
    function: Callable[[Item], Value], items: list[Item], seconds: float
) -> list[Outcome[Item, Value]]:
    return list(in_processes(function, items, workers=1, seconds=seconds))
