"""A run's metrics, fetched from the device for several steps at once, and its log."""

import contextlib
import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ivn.data.batch import Replacement
from ivn.durable import why
from ivn.errors import LogError


@dataclass
class StepRecord:
    """One step's metrics before they are fetched.

    Attributes:
        step: steps taken, this one included.
        values: fp64 ``[3 + terms]`` on the device: 1, or 0 where the step was skipped, loss,
            gradient norm, then the mean of each term.
        lr: learning rate.
        epoch: passes over the clips so far.
        replaced: unusable files that others took the place of in the batch.
    """

    step: int
    values: Tensor
    lr: float
    epoch: float
    replaced: list[Replacement] = field(default_factory=list)


class StepWindow:
    """Steps since the last fetch; only :meth:`fetch` waits for the device."""

    def __init__(self, terms: list[str], clips_per_step: int) -> None:
        self.terms = terms
        self.wait_seconds = 0.0
        self._clips_per_step = clips_per_step
        self._records: list[StepRecord] = []
        self._started = time.perf_counter()

    def __len__(self) -> int:
        return len(self._records)

    def add(self, record: StepRecord) -> None:
        self._records.append(record)

    def fetch(self) -> list[dict[str, Any]]:
        """Returns a dict of plain values for each step since the last call, and forgets them."""
        if not self._records:
            return []
        rows = torch.stack([record.values for record in self._records]).tolist()
        seconds = time.perf_counter() - self._started
        speed = {
            "clips_per_s": round(len(rows) * self._clips_per_step / seconds, 3),
            "wait_share": round(self.wait_seconds / seconds, 4),
        }
        lines = [
            self._line(record, row) | speed for record, row in zip(self._records, rows, strict=True)
        ]
        self._records, self.wait_seconds = [], 0.0
        self._started = time.perf_counter()
        return lines

    def _line(self, record: StepRecord, row: list[float]) -> dict[str, Any]:
        good, loss, norm, *means = row
        line = {
            "step": record.step,
            "epoch": round(record.epoch, 6),
            "lr": record.lr,
            "loss": loss,
            "terms": dict(zip(self.terms, means, strict=True)),
            "grad_norm": norm,
            "skipped": not good,
            "replaced": len(record.replaced),
        }
        if record.replaced:
            line["replacements"] = [
                {"path": one.path, "reason": one.reason, "by": one.by} for one in record.replaced
            ]
        return line


class Log:
    """A JSONL file with a line for each step, in order.

    Raises:
        LogError: the file cannot be written.
    """

    def __init__(self, path: Path, *, after_step: int) -> None:
        """Opens ``path`` to append after the line of ``after_step``; later lines are removed."""
        self._path = path
        with self._reporting(), path.open("a+b") as file:
            file.seek(0)
            end = 0
            for line in file:
                if not line.endswith(b"\n") or _step(line) > after_step:
                    break
                end += len(line)
            file.truncate(end)

    def write(self, lines: list[dict[str, Any]]) -> None:
        """Appends ``lines``; numbers that are not finite become null."""
        if lines:
            text = "".join(json.dumps(_finite(line), allow_nan=False) + "\n" for line in lines)
            with self._reporting(), self._path.open("a", encoding="utf-8") as file:
                file.write(text)

    def sync(self) -> None:
        """Makes all lines durable, so that no checkpoint is ever ahead of the log."""
        with self._reporting(), self._path.open("r+b") as file:
            os.fsync(file.fileno())

    def close(self) -> None:
        """Does nothing: the file is open only while it is written."""

    @contextlib.contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise not_logged(self._path, error) from error


def not_logged(path: Path, error: OSError) -> LogError:
    """Returns the error for a log at ``path`` that could not be written."""
    return LogError(
        f"{path} could not be written ({why(error, path)}); the checkpoints are as they were: once "
        "it can be, go on with ivn pretrain --resume"
    )


def _step(line: bytes) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError):
        return math.inf  # a line that a crash of the machine has left


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
