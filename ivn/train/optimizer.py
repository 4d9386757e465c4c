"""AdamW over a stage's parameter groups, and its settings."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ivn.stages.stage import ParameterGroup


@dataclass(frozen=True)
class OptimConfig:
    """AdamW and its schedule; the defaults are those of the paper's stage one.

    Attributes:
        batch_size: clips per step, over all processes and micro-batches.
        epochs: length of the schedule, in passes over the sources.
        steps: length of the schedule in steps, with warm-up and decay in proportion; 0 leaves the
            length to ``epochs``.
        lr: peak learning rate, before scaling.
        min_lr: learning rate at the end, before scaling.
        lr_scaling: "linear" multiplies ``lr`` and ``min_lr`` by ``batch_size / 256``, "none" does
            not.
        warmup_epochs: length of the linear warm-up from zero, in epochs; it is part of ``epochs``.
        betas: decay rates of AdamW's running means of the gradient and of its square.
        eps: number that AdamW adds to the denominator.
        weight_decay: AdamW's weight decay, on the parameters that decay.
        clip_norm: largest norm of the whole gradient; with 0, gradients are not clipped.
    """

    batch_size: int = 256
    epochs: float = 50.0
    steps: int = 0
    lr: float = 1e-3
    min_lr: float = 1e-5
    lr_scaling: Literal["none", "linear"] = "linear"
    warmup_epochs: float = 0.0
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6
    weight_decay: float = 0.05
    clip_norm: float = 5.0

    def __post_init__(self) -> None:
        leasts = {"batch_size": 1, "steps": 0, "weight_decay": 0, "clip_norm": 0}
        for name, least in leasts.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least {least}")
        if not 0 <= self.warmup_epochs <= self.epochs or not 0 < self.epochs < math.inf:
            raise ValueError(
                f"epochs {self.epochs}, warmup_epochs {self.warmup_epochs}: expected finite "
                "epochs > 0 and 0 <= warmup_epochs <= epochs"
            )
        if not 0 <= self.min_lr <= self.lr:
            raise ValueError(f"lr {self.lr}, min_lr {self.min_lr}: expected 0 <= min_lr <= lr")
        if self.eps <= 0:
            raise ValueError(f"eps is {self.eps}, expected above 0")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas is {self.betas}, expected two numbers in [0, 1)")


class SkippingAdamW(torch.optim.AdamW):
    """AdamW that can skip a step by a flag on the device, without waiting for it."""

    # Read by the fused step, which PyTorch's gradient scaler uses in this way.
    grad_scale: Tensor | None = None
    found_inf: Tensor | None = None

    def step_if(self, good: Tensor) -> None:
        """Takes a step where ``good``, a bool scalar on the device, is true."""
        # A skipped step counts: schedule, data and random numbers move on as after any other.
        self.found_inf = (~good).float()
        self.step()


def make_optimizer(
    groups: Iterable[ParameterGroup], stage: nn.Module, config: OptimConfig
) -> SkippingAdamW:
    """Returns AdamW over ``groups``, each in a decaying and a non-decaying part.

    Biases, one-dimensional parameters and groups without ``weight_decay`` do not decay. The
    optimiser is the fused version, which runs on CPU and CUDA.

    Raises:
        ValueError: a trainable parameter of ``stage`` is in no group, or in two.
    """
    groups = list(groups)
    _check_complete(groups, stage)
    parts = []
    for group in groups:
        for decays in (True, False):
            named = [
                (name, parameter)
                for name, parameter in group.params.items()
                if decays == (group.weight_decay and _may_decay(name, parameter))
            ]
            if named:
                decay = config.weight_decay if decays else 0.0
                parts.append({"params": named, "weight_decay": decay, "name": group.name})
    return SkippingAdamW(
        parts, lr=config.lr, betas=config.betas, eps=config.eps, weight_decay=0.0, fused=True
    )


def load_optimizer(optimizer: torch.optim.AdamW, state: dict) -> None:
    """Restores ``optimizer`` from ``state``, which has the same parameters in the same order.

    Raises:
        ValueError: ``state`` belongs to other parameters.
    """
    names = [group["param_names"] for group in optimizer.param_groups]
    saved = [group.get("param_names") for group in state["param_groups"]]
    if names != saved:
        raise ValueError("the checkpoint's optimiser has other parameters than this stage")
    optimizer.load_state_dict(state)


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float) -> Tensor:
    """Scales all gradients together to ``max_norm`` at most, and returns their norm before."""
    parameters = list(parameters)
    norm = nn.utils.get_total_norm(
        [parameter.grad for parameter in parameters if parameter.grad is not None]
    )
    if max_norm:
        nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
    return norm


def _may_decay(name: str, parameter: nn.Parameter) -> bool:
    return parameter.ndim > 1 and name.rpartition(".")[2] != "bias"


def _check_complete(groups: list[ParameterGroup], stage: nn.Module) -> None:
    names: dict[int, str] = {}
    for group in groups:
        for name, parameter in group.params.items():
            if id(parameter) in names:
                raise ValueError(f"parameter {name} is in two groups, expected one")
            if not parameter.requires_grad:
                raise ValueError(f"parameter {name} is frozen, expected trainable ones in groups")
            names[id(parameter)] = name
    for name, parameter in stage.named_parameters():
        if parameter.requires_grad and id(parameter) not in names:
            raise ValueError(f"parameter {name} is trainable and in no group")
