"""Measures the time of the parts of a step."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch

# Part -> its functions, each as (object, name of its attribute).
Parts = Mapping[str, Sequence[tuple[Any, str]]]


# The part whose inner parts are not measured apart.
WHOLE = "teacher"


class PartTimes:
    """Adds up the milliseconds of named parts; an inner part's do not count for the outer one.

    Attributes:
        spans: name, start and stop of every piece of a part: seconds on a CPU, events on CUDA.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.spans: list[tuple[str, Any, Any]] = []
        self._open: list[str] = []
        self._since: Any = None

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        if WHOLE in self._open:
            yield
            return
        self._turn()
        self._open.append(name)
        yield
        self._turn()
        self._open.pop()

    @contextmanager
    def watching(self, parts: Parts) -> Iterator[None]:
        """Measures the functions of ``parts`` under those names while the context lasts."""
        with ExitStack() as stack:
            for name, found in parts.items():
                for owner, attribute in found:
                    timed = self._timed(name, getattr(owner, attribute))
                    stack.enter_context(patch.object(owner, attribute, timed))
            yield

    def milliseconds(self) -> dict[str, float]:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        found: dict[str, float] = {}
        for name, start, stop in self.spans:
            cuda = self.device.type == "cuda"
            span = start.elapsed_time(stop) if cuda else (stop - start) * 1e3
            found[name] = found.get(name, 0.0) + span
        return found

    def _turn(self) -> None:
        """Ends the current piece, and begins the next."""
        now = self._now()
        if self._open:
            self.spans.append((self._open[-1], self._since, now))
        self._since = now

    def _timed(self, name: str, function: Callable) -> Callable:
        def timed(*arguments: Any, **options: Any) -> Any:
            with self.part(name):
                return function(*arguments, **options)

        return timed

    def _now(self) -> Any:
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event
