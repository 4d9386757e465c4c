"""Writes the log's numbers for TensorBoard: ``tensorboard --logdir RUN/tensorboard``."""

import contextlib
import importlib.util
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ivn.errors import RunError

from .metrics import not_logged


def check_installed() -> None:
    """Raises RunError where TensorBoard is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        raise RunError(
            "run.tensorboard is true and TensorBoard is not installed: "
            'pip install "ivn[tensorboard]", or leave it false'
        )


class Board:
    """Event files that hold each step once when they are read together.

    Args:
        folder: folder of the files; each start of the run adds one.
        after_step: last step before this start; later steps in older files are void.

    Raises:
        RunError: TensorBoard is not installed.
        LogError: ``folder`` cannot be written to.
    """

    def __init__(self, folder: Path, *, after_step: int) -> None:
        check_installed()
        from torch.utils.tensorboard import SummaryWriter

        self._folder = folder
        try:
            self._writer = SummaryWriter(str(folder), purge_step=after_step + 1)
        except OSError as error:
            raise not_logged(folder, error) from error
        # Its writer is a thread, whose errors the next call raises here: not printed as well.
        self._hook, threading.excepthook = threading.excepthook, self._except

    def write(self, lines: list[dict[str, Any]]) -> None:
        """Adds each number in ``lines``, under its path: ``terms/pixels``."""
        try:
            for line in lines:
                for tag, value in _scalars(line):
                    if tag != "step":
                        self._writer.add_scalar(tag, value, line["step"])
        except OSError as error:
            raise not_logged(self._folder, error) from error

    def sync(self) -> None:
        """Hands all written numbers to the system."""
        try:
            self._writer.flush()
        except OSError as error:
            raise not_logged(self._folder, error) from error

    def close(self) -> None:
        """Ends the writer; :meth:`sync` has reported failed writes."""
        with contextlib.suppress(OSError):
            self._writer.close()
        threading.excepthook = self._hook

    def _except(self, arguments: threading.ExceptHookArgs) -> None:
        if not type(arguments.thread).__module__.startswith("tensorboard."):
            self._hook(arguments)


def _scalars(table: dict[str, Any], path: str = "") -> Iterator[tuple[str, float]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _scalars(value, f"{path}{key}/")
        elif isinstance(value, (bool, int, float)):
            yield f"{path}{key}", float(value)
