"""Settings that cannot change a result: how a run is watched and kept, and how it is executed."""

from dataclasses import dataclass
from typing import Literal

import torch


@dataclass(frozen=True)
class RunConfig:
    """How a run is watched and kept.

    Attributes:
        log_every: steps between fetches of the metrics; each step has its line in the log, the one
            fetched last also its health, which is measured with each fetch and so costs time when
            this is small.
        save_every: steps between checkpoints; the last step is always saved.
        keep_last: checkpoints kept.
        max_bad_steps: stop after this many steps in a row with a loss or gradient that is not
            finite. Such steps change nothing.
        max_replaced_share: stop when more than this share of the clips had to be replaced.
        tensorboard: also write the log for TensorBoard, which must be installed.
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
        device: ``auto`` takes the GPU where there is one.
        accumulation: micro-batches a step, which divide the batch; more of them need less memory.
        workers: processes that decode; 0 decodes in the training process.
        threads: CPU threads of the training process; 0 leaves PyTorch's choice.
        prefetch_gib: memory for batches that are made ahead. There are two at first, and more
            while training waits for workers that have no room to go on.
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
    """The device that ``name`` means here.

    Raises:
        ValueError: CUDA was asked for and PyTorch sees no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("efficiency.device is cuda, but PyTorch sees no GPU; ivn doctor says why")
    return torch.device(name)
