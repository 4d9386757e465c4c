"""A function over many items on a Ray cluster, each node guarding it as one machine does."""

import collections
import itertools
import socket
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Protocol

from ivn.corpus.pool import Item, Outcome, Value, in_processes
from ivn.errors import DataError, one_line

# Items of a task, so that its way to a node is short beside its work.
_ITEMS = 16
_SECONDS = 10.0


class Spread(Protocol):
    """Gives the outcomes of a function in the order of the items; see :func:`in_processes`."""

    def __call__(
        self, function: Callable[[Item], Value], items: Iterable[Item]
    ) -> Iterator[Outcome[Item, Value]]: ...


def spread(*, workers: int, seconds: float, ray: str) -> Spread:
    """How items reach processes: of this machine, or of the Ray cluster at ``ray``."""
    if ray:
        return partial(in_ray, address=ray, workers=workers, seconds=seconds)
    return partial(in_processes, workers=workers, seconds=seconds)


def in_ray(
    function: Callable[[Item], Value],
    items: Iterable[Item],
    *,
    address: str,
    workers: int,
    seconds: float,
) -> Iterator[Outcome[Item, Value]]:
    """The outcomes in the order of ``items``, as :func:`ivn.corpus.pool.in_processes` gives them.

    A task takes some items to a node, where a process of its own has them one by one, with the
    same limits and the same reasons. A node that is lost has its tasks done again elsewhere.

    Args:
        function: of a module that is installed on all nodes.
        items: picklable; their paths must be the same on all nodes.
        address: ``auto``, ``ray://HOST:PORT`` or ``HOST:PORT`` of a cluster; ``local`` starts one
            here for the time being.
        workers: of the local one.
        seconds: that an item may take.

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
        task: Any = ray.remote(num_cpus=1, max_retries=3)(_some)
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
    """Raise DataError where nobody listens: Ray would try for minutes, and log every time."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"--ray {address}: no cluster there ({reason})") from error


def _some(
    function: Callable[[Item], Value], items: list[Item], seconds: float
) -> list[Outcome[Item, Value]]:
    return list(in_processes(function, items, workers=1, seconds=seconds))
