"""The training loop: any stage, from its newest checkpoint to the last step."""

import time
from collections import Counter
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ivn.data.batch import Batch
from ivn.devices import resolve_device
from ivn.errors import DataError, NotFiniteError, ReplacedError, RunError, one_line
from ivn.processes import keep_all_freed_memory
from ivn.stages.stage import Stage

from . import checkpoint, folder
from .board import Board
from .gradients import Loss, compute_gradients
from .health import CollapseAlarm, HealthCheck
from .metrics import Log, StepRecord, StepWindow
from .optimizer import OptimConfig, clip_gradients, load_optimizer, make_optimizer
from .progress import Display
from .schedule import learning_rate, total_steps
from .settings import EfficiencyConfig, RunConfig
from .signals import StopRequest

# A share of fewer clips says little: one unusable file in a first batch of four is a quarter.
_CLIPS_FOR_A_SHARE = 100


class Loader(Protocol):
    """An iterator over batches that does not end.

    Attributes:
        step: number of the next batch; may be set before the first.
        steps_per_epoch: batches of an epoch.
        prefetch: number of batches that are made ahead, 0 without any.
    """

    step: int
    steps_per_epoch: int

    @property
    def prefetch(self) -> int: ...

    def __next__(self) -> Batch: ...
    def close(self) -> None: ...


def pretrain(
    stage: Stage,
    loader: Loader,
    run_dir: Path,
    *,
    config: dict[str, Any],
    optim: OptimConfig,
    run: RunConfig,
    efficiency: EfficiencyConfig,
) -> int:
    """Trains ``stage`` from the newest checkpoint in ``run_dir``, or from its present weights.

    Args:
        stage: the stage to train; it is moved to the device.
        loader: iterator over batches.
        run_dir: the run's folder, locked by the caller; log and checkpoints go there.
        config: the resolved config, for checkpoints.
        optim, run, efficiency: groups of the config that the loop itself reads.

    Returns:
        0 after the last step; 130 or 143 after SIGINT or SIGTERM, with a checkpoint saved.

    Raises:
        RunError: the run cannot go on.
        DataError: its data cannot be used.
    """
    trainer = _Trainer(stage, loader, run_dir, config, optim, run, efficiency)
    try:
        return trainer.train()
    finally:
        loader.close()
        for log in trainer.logs:
            log.close()


class _Trainer:
    def __init__(
        self,
        stage: Stage,
        loader: Loader,
        run_dir: Path,
        config: dict[str, Any],
        optim: OptimConfig,
        run: RunConfig,
        efficiency: EfficiencyConfig,
    ) -> None:
        if efficiency.threads:
            torch.set_num_threads(efficiency.threads)
        self.device = resolve_device(efficiency.device, "efficiency.device")
        if self.device.type == "cpu":
            keep_all_freed_memory()
        self.stage = stage.to(self.device).train()
        self.loader, self.run_dir, self.config = loader, run_dir, config
        self.optim, self.run, self.efficiency = optim, run, efficiency
        self.total = total_steps(optim, loader.steps_per_epoch)
        self.optimizer = make_optimizer(self.stage.parameter_groups(), stage, optim)
        self.step = 0
        self.bad_steps = 0
        self.bad_in_a_row = 0
        self.replaced: Counter[str] = Counter()  # reason, which names the file -> times
        self.replaced_clips = 0
        self.alarm = CollapseAlarm()
        folder.remove_temporaries(run_dir)
        self._restore()
        self.logs: list[Log | Board] = [Log(run_dir / folder.LOG, after_step=self.step)]
        if run.tensorboard:
            self.logs.append(Board(run_dir / folder.BOARD, after_step=self.step))
        self.window = StepWindow(list(self.stage.loss_weights), optim.batch_size)
        self.health: HealthCheck | None = None  # of a step that is about to be fetched
        self.prefetch = 0  # as the log has it

    def train(self) -> int:
        display = Display(self.total, self.step, self.optim.batch_size)
        if self.step:
            display.say(f"going on after step {self.step} of {self.total}")
        self.loader.step = self.step
        with StopRequest() as stop, display:
            while self.step < self.total and not stop.number:
                batch = self._next_batch(stop)
                if batch is None:
                    break
                self._take_step(batch)
                display.step()
                last = self.step == self.total or stop.number
                if last or self.step % self.run.log_every == 0:
                    display.metrics(self._fetch())
                if last or self.step % self.run.save_every == 0:
                    display.metrics(self._save())
                self._check_replaced()
            if self.step:
                display.metrics(self._save())
        self._summarise(display, stop)
        return stop.exit_code

    def _next_batch(self, stop: StopRequest) -> Batch | None:
        """Returns the next batch on the device, or None where a signal ended the workers, too."""
        started = time.perf_counter()
        try:
            batch = next(self.loader)
        except DataError:
            if stop.number:
                return None
            if self.step:
                self._save()
            raise
        self.window.wait_seconds += time.perf_counter() - started
        self.replaced.update(one.reason for one in batch.replaced)
        self.replaced_clips += len({one.row for one in batch.replaced})
        return batch.to(self.device, non_blocking=True)

    def _take_step(self, batch: Batch) -> None:
        lr = learning_rate(self.optim, self.step, self.loader.steps_per_epoch)
        loss = compute_gradients(self.stage, batch, self.efficiency.accumulation)
        # By the step's number, and not wherever a signal or a checkpoint leads to a fetch: the log
        # of a run that was cut off has the same lines.
        if (self.step + 1) % self.run.log_every == 0 or self.step + 1 == self.total:
            self.health = HealthCheck(self.stage, batch)
        norm = clip_gradients(self.stage.parameters(), self.optim.clip_norm)
        good = loss.value.isfinite() & norm.isfinite()
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step_if(good)
        if self.health is not None:
            self.health.stepped()
        self.stage.after_step(good)
        self.step += 1
        epoch = self.step / self.loader.steps_per_epoch
        values = _stacked(good, loss, norm)
        self.window.add(StepRecord(self.step, values, lr, epoch, batch.replaced))

    def _fetch(self) -> list[dict[str, Any]]:
        """Writes the metrics since the last fetch to the log, and returns their lines."""
        lines = self.window.fetch()
        if lines and self.loader.prefetch != self.prefetch:
            self.prefetch = lines[-1]["prefetch"] = self.loader.prefetch
        if self.health is not None:
            health = self.health.fetch(lines[-1]["terms"])
            self.health = None
            lines[-1]["health"] = health
            if warning := self.alarm.warning(health):
                lines[-1]["warning"] = warning
        for log in self.logs:
            log.write(lines)
        for line in lines:
            self.bad_steps += line["skipped"]
            self.bad_in_a_row = self.bad_in_a_row + 1 if line["skipped"] else 0
            if self.bad_in_a_row >= self.run.max_bad_steps:
                raise NotFiniteError(
                    f"loss or gradient was not finite in {self.bad_in_a_row} steps in a row up to "
                    f"step {line['step']}; lower optim.lr, or check the data of these steps"
                )
        return lines

    def _save(self) -> list[dict[str, Any]]:
        """Saves a checkpoint, unless this step has one, and returns the lines fetched before."""
        lines = self._fetch()
        for log in self.logs:
            log.sync()
        state = {
            "step": self.step,
            "stage": self.stage.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "bad_steps": self.bad_steps,
            "bad_in_a_row": self.bad_in_a_row,
            "replaced": dict(self.replaced),
            "replaced_clips": self.replaced_clips,
            "collapsed": self.alarm.collapsed,
            "config": self.config,
        }
        checkpoint.save(
            self.run_dir,
            self.step,
            state,
            parts=self.stage.parts,
            config=self.config,
            keep_last=self.run.keep_last,
        )
        return lines

    def _restore(self) -> None:
        path = checkpoint.latest(self.run_dir)
        if path is None:
            return
        state = checkpoint.load(path)
        try:
            self.stage.load_state_dict(state["stage"])
        except RuntimeError as error:
            raise RunError(f"{path} does not fit the run's config: {one_line(error)}") from error
        load_optimizer(self.optimizer, state["optimizer"])
        self.step = state["step"]
        self.bad_steps, self.bad_in_a_row = state["bad_steps"], state["bad_in_a_row"]
        self.replaced = Counter(state["replaced"])
        self.replaced_clips = state["replaced_clips"]
        self.alarm.collapsed = state["collapsed"]

    def _check_replaced(self) -> None:
        clips = self.step * self.optim.batch_size
        enough = min(_CLIPS_FOR_A_SHARE, self.loader.steps_per_epoch * self.optim.batch_size)
        share = self.replaced_clips / clips
        if share > self.run.max_replaced_share and (clips >= enough or self.step == self.total):
            self._save()
            files = "\n".join(f"  {name}" for name in sorted(self.replaced))
            raise ReplacedError(
                f"{self.replaced_clips} of {clips} clips had to be replaced, more than the share "
                f"run.max_replaced_share = {self.run.max_replaced_share}; repair these, or go on "
                f"with a larger share (ivn pretrain --resume {self.run_dir} --set "
                f"run.max_replaced_share=1):\n"
                f"{files}"
            )

    def _summarise(self, display: Display, stop: StopRequest) -> None:
        if self.bad_steps:
            display.say(f"{self.bad_steps} steps were skipped: loss or gradient not finite")
        for name, times in sorted(self.replaced.items()):
            display.say(f"replaced {times} times: {name}")
        if stop.number:
            display.say(
                f"stopped after step {self.step} of {self.total}; go on with: "
                f"ivn pretrain --resume {self.run_dir}"
            )
        else:
            display.say(f"finished {self.total} steps: {checkpoint.latest(self.run_dir)}")


def _stacked(good: Tensor, loss: Loss, norm: Tensor) -> Tensor:
    scalars = [good, loss.value, norm, *loss.means.values()]
    return torch.stack([scalar.detach().to(torch.float64) for scalar in scalars])
