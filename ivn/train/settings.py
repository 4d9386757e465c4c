"""Settings that cannot change a result: logging, checkpoints, and how a run is executed."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class RunConfig:
    """Logging, checkpoints, and when a run stops.

    Attributes:
        log_every: steps between two readings of the metrics. Every step has a line in the log;
            health metrics are measured once per reading, so small values cost time.
        save_every: steps between two checkpoints. The last step is always saved.
        keep_last: number of checkpoints that are kept.
        max_bad_steps: number of consecutive steps with a loss or gradient that is not finite after
            which the run stops. Such steps change no weight.
        max_replaced_share: largest share of unusable clips, for which others were taken; the run
            stops above it.
        tensorboard: whether the log is also written for TensorBoard, which has to be installed.
    """

    log_every: int = 10
    save_every: int = 500
    keep_last: int = 2
    max_bad_steps: int = 10
    max_replaced_share: float = 0.10
    tensorboard: bool = False

    def __post_init__(self) -> None:
        for name in ("log_every", "save_every", "keep_last", "max_bad_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")
        if not 0 <= self.max_replaced_share <= 1:
            raise ValueError(f"max_replaced_share is {self.max_replaced_share}, expected 0 to 1")


@dataclass(frozen=True)
class EfficiencyConfig:
    """Device, memory and processes. Results are the same to fp32 rounding.

    Attributes:
        device: device of the training; "auto" is the GPU if there is one.
        accumulation: micro-batches per step; it divides the batch size, and larger values need less
            memory.
        workers: processes that decode; with 0, the training process decodes.
        threads: CPU threads of the training process; 0 leaves the number to PyTorch.
        prefetch_gib: memory for batches that are prepared ahead, in GiB. Two batches are prepared
            at first, and more while training waits for workers that have no room for the next one.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    accumulation: int = 1
    workers: int = 2
    threads: int = 0
    prefetch_gib: float = 4.0

    def __post_init__(self) -> None:
        for name, least in (("accumulation", 1), ("workers", 0), ("threads", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least {least}")
        if not self.prefetch_gib > 0:
            raise ValueError(f"prefetch_gib is {self.prefetch_gib}, expected above 0")
