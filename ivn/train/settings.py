"""Settings that cannot change a result: how a run is logged, saved and executed."""

from dataclasses import dataclass
from typing import Literal

import torch


@dataclass(frozen=True)
class RunConfig:
    """How a run is logged and saved.

    Attributes:
        log_every: steps between fetches of the metrics. Each step has a line in the log; the last
            one of a fetch also has the run's health, whose measurement costs time when this is
            small.
        save_every: steps between checkpoints; the last step is always saved.
        keep_last: number of checkpoints kept.
        max_bad_steps: number of steps in a row, with a loss or gradient that is not finite, after
            which the run stops. Such steps change no weight.
        max_replaced_share: share of unusable clips, replaced by others, above which the run stops.
        tensorboard: whether the log is also written for TensorBoard, which must be installed.
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
    """How a run is executed; the same results to fp32 rounding.

    Attributes:
        device: device to train on; ``auto`` takes the GPU where there is one.
        accumulation: micro-batches of a step, which divide the batch; more of them need less
            memory.
        workers: processes that decode; 0 decodes in the training process.
        threads: CPU threads of the training process; 0 leaves the choice to PyTorch.
        prefetch_gib: memory, in GiB, for batches that are made ahead. They are two at first, and
            more when training waits while workers have no room for another batch.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    accumulation: int = 1
    workers: int = 2
    threads: int = 0
    prefetch_gib: float = 4.0

    def __post_init__(self) -> None:
        if self.accumulation < 1 or self.workers < 0 or self.threads < 0:
            raise ValueError(
                f"accumulation {self.accumulation}, workers {self.workers}, threads "
                f"{self.threads}: expected accumulation >= 1 and the others at least 0"
            )
        if not self.prefetch_gib > 0:
            raise ValueError(f"prefetch_gib is {self.prefetch_gib}, expected above 0")


def resolve_device(name: str) -> torch.device:
    """Returns the device that ``name`` means on this machine.

    Raises:
        ValueError: CUDA was asked for and PyTorch sees no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("efficiency.device is cuda, but PyTorch sees no GPU; ivn doctor says why")
    return torch.device(name)
