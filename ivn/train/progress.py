"""What a person sees of a run: a bar on a terminal, plain lines elsewhere."""

from collections.abc import Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column


class Display:
    """Shows steps as they are taken and metrics as they are fetched.

    Args:
        total: steps of the run.
        done: steps taken before.
        clips_per_step: of the global batch.
        console: where to; None is standard output.
    """

    def __init__(
        self, total: int, done: int, clips_per_step: int, console: Console | None = None
    ) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._total, self._clips_per_step = total, clips_per_step
        self._bar = Progress(
            MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=5)),
            BarColumn(bar_width=12),
            TimeRemainingColumn(
                elapsed_when_finished=True, table_column=Column(no_wrap=True, min_width=7)
            ),
            # The rest of the line, cut at its end where the terminal is narrow.
            TextColumn(
                "{task.fields[metrics]}",
                table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1),
            ),
            expand=True,
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("steps", total=total, completed=done, metrics="")

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
        """One more step was taken."""
        self._bar.advance(self._task)

    def metrics(self, lines: Sequence[dict[str, Any]]) -> None:
        """Shows the last of some steps' metrics, and warnings for good."""
        if not lines:
            return
        for line in lines:
            if "warning" in line:
                self.say(f"warning: step {line['step']}: {line['warning']}")
        line = lines[-1]
        terms = "  ".join(f"{name} {value:.4f}" for name, value in line["terms"].items())
        text = (
            f"loss {line['loss']:.4f}  {terms}  {line['clips_per_s']:.1f} clips/s  "
            f"waiting {line['wait_share']:.0%}"
        )
        if self._console.is_terminal:
            self._bar.update(self._task, metrics=text)
            return
        clips_left = (self._total - line["step"]) * self._clips_per_step
        self.say(
            f"step {line['step']}/{self._total}  {text}  lr {line['lr']:.2e}  "
            f"left {timedelta(seconds=round(clips_left / line['clips_per_s']))}"
        )

    def say(self, text: str) -> None:
        """A line that stays."""
        self._console.print(text, markup=False)
