"""Shows the progress of a run: a bar on a terminal, plain lines elsewhere."""

import os
import sys
from collections.abc import Iterable, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text


class _Bar(Progress):
    """A line with the bar and a line of losses, which is cut where the terminal is narrow."""

    losses = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        yield Text(self.losses, no_wrap=True, overflow="ellipsis")


class _Console(Console):
    """Standard output, which may close before the run ends."""

    def on_broken_pipe(self) -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Display:
    """Shows steps as they are taken and metrics as they are fetched.

    Args:
        total: steps of the run.
        done: steps taken before.
        clips_per_step: clips of the global batch.
        console: console to write to; None for standard output.
    """

    def __init__(
        self, total: int, done: int, clips_per_step: int, console: Console | None = None
    ) -> None:
        self._console = console or _Console(highlight=False, soft_wrap=True)
        self._total, self._clips_per_step = total, clips_per_step
        self._ahead = 0  # batches, in the last line that has their number
        self._bar = _Bar(
            MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=5)),
            BarColumn(bar_width=None, table_column=Column(ratio=1)),
            TimeRemainingColumn(
                elapsed_when_finished=True, table_column=Column(no_wrap=True, min_width=7)
            ),
            TextColumn("{task.fields[speed]}", table_column=Column(no_wrap=True)),
            expand=True,
            console=self._console,
            disable=not self._console.is_terminal,
            refresh_per_second=4,  # its thread takes time from a small model's step
            speed_estimate_period=600,  # steps may take minutes
        )
        self._task = self._bar.add_task("steps", total=total, completed=done, speed="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def step(self) -> None:
        """Counts one more step."""
        self._bar.advance(self._task)

    def metrics(self, lines: Sequence[dict[str, Any]]) -> None:
        """Shows the metrics of the last of some steps; the warnings of all stay on the screen."""
        if not lines:
            return
        for line in lines:
            ahead = line.get("prefetch", self._ahead)
            if self._ahead and ahead != self._ahead:
                self.say(
                    f"step {line['step']}: {ahead} batches are made ahead, {self._ahead} before"
                )
            self._ahead = ahead
            if "warning" in line:
                self.say(f"warning: step {line['step']}: {line['warning']}")
        line = lines[-1]
        terms = "  ".join(f"{name} {value:.4f}" for name, value in line["terms"].items())
        losses = f"loss {line['loss']:.4f}  {terms}"
        speed = f"{line['clips_per_s']:.1f} clips/s  waiting {line['wait_share']:.0%}"
        if self._console.is_terminal:
            self._bar.losses = losses
            self._bar.update(self._task, speed=speed)
            return
        clips_left = (self._total - line["step"]) * self._clips_per_step
        self.say(
            f"step {line['step']}/{self._total}  {losses}  {speed}  lr {line['lr']:.2e}  "
            f"left {timedelta(seconds=round(clips_left / line['clips_per_s']))}"
        )

    def say(self, text: str) -> None:
        """Prints a line that stays."""
        self._console.print(text, markup=False)
