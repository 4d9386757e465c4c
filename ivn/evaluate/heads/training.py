"""Trains a stack of heads in one pass over the features, and computes their probabilities.

Legend: H heads, n clips, s training samples (a clip in a view), V views, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ivn.data.sampling.order import epoch_order
from ivn.errors import DataError
from ivn.evaluate.features.cache import Features
from ivn.evaluate.objective import ONE_CLASS, Objective

from .adamw import StackedAdamW
from .heads import Head, Parameters

# Numbers that the heads and samples of a pass may take: 1 GB on a CPU, 8 GB on a GPU.
_FLOATS = {"cpu": 2**28, "cuda": 2**31}
_CLIPS_AT_ONCE = 64


@dataclass(frozen=True)
class Training:
    """The schedule by which heads are trained.

    Attributes:
        epochs: passes over the training samples.
        least_steps: smallest number of steps, whatever the epochs: on small data they would end too
            early.
        batch_size: samples per step.
        seed: seed of the initial parameters and of the order of samples.
        device: device on which heads are trained.
    """

    epochs: int = 20
    least_steps: int = 200
    batch_size: int = 64
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        if min(self.epochs, self.least_steps, self.batch_size) < 1 or not 0 <= self.seed < 2**63:
            raise DataError(
                f"{self.epochs} epochs, {self.least_steps} steps, batches of {self.batch_size}, "
                f"seed {self.seed}: expected at least 1 of each, and a seed from 0 to below 2**63"
            )


@dataclass(frozen=True)
class Standard:
    """Mean and deviation of each channel over the training samples, ``[C]``."""

    mean: Tensor
    deviation: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return (x.float() - self.mean.to(x.device)) / self.deviation.to(x.device)


@dataclass(frozen=True)
class TrainingSamples:
    """Training samples of heads: clips in views, with their labels.

    Attributes:
        clips, views: numbers of clips and views, int64 ``[s]``.
        labels: index of the class, int64 ``[s]``; with several labels per clip bool ``[s, K]``.
    """

    clips: Tensor
    views: Tensor
    labels: Tensor

    @classmethod
    def of(cls, clips: Tensor, views: Sequence[int], labels: Tensor) -> "TrainingSamples":
        """Returns each of ``clips``, whose labels are ``labels``, in each of ``views``."""
        count = len(views)
        return cls(
            clips.repeat_interleave(count),
            torch.tensor(views).repeat(len(clips)),
            labels.repeat_interleave(count, dim=0),
        )

    def __len__(self) -> int:
        return len(self.clips)


def standard(head: type[Head], features: Features, samples: TrainingSamples) -> Standard:
    """Returns the mean and deviation of the samples' features, channel by channel.

    The deviation of a channel that never changes is taken as 1.
    """
    total = square = torch.zeros(())
    count = 0
    for part in torch.arange(len(samples)).split(_CLIPS_AT_ONCE):
        x = head.arranged(features.take(samples.clips[part], samples.views[part])).double()
        x = x.flatten(0, -2)
        total, square, count = total + x.sum(0), square + x.square().sum(0), count + len(x)
    mean = total / count
    deviation = (square / count - mean.square()).clamp(min=0).sqrt()
    flat = deviation <= 1e-6 * mean.abs().clamp(min=1e-6)
    return Standard(mean.float(), torch.where(flat, 1.0, deviation).float())


def train(
    head: Head,
    features: Features,
    samples: TrainingSamples,
    weights: Tensor,
    *,
    lr: Tensor,
    decay: Tensor,
    standard: Standard,
    training: Training,
    objective: Objective = ONE_CLASS,
) -> dict[str, Tensor]:
    """Returns the parameters of H heads, each trained as if alone, on the CPU.

    All heads read the same samples in the same order; a head's loss is the weighted mean of the
    samples' errors. Where memory does not hold all heads at once, some are trained at a time.

    Args:
        head: the kind of head.
        features: features of all clips.
        samples: the s training samples.
        weights: weight of each sample for each head, ``[H, s]``; 0 leaves it out.
        lr, decay: learning rate at the start and weight decay of each head, ``[H]``.
        standard: the standardisation that features go through first.
        training: the schedule.
        objective: the objective, which defines a sample's error.
    """
    device, s, size = training.device, len(samples), min(training.batch_size, len(samples))
    per_epoch = -(-s // size)
    steps = max(training.epochs * per_epoch, training.least_steps)

    def train_some(rows: Tensor) -> dict[str, Tensor]:
        """Returns the parameters of the heads ``rows``."""
        initial = head.initial(seed=training.seed, count=len(rows))
        parameters = {name: value.to(device).requires_grad_() for name, value in initial.items()}
        rates = lr[rows].to(device), decay[rows].to(device)
        optimizer = StackedAdamW(parameters, *rates, steps=steps)
        at_once = _samples_at_once(head, len(rows), device)
        order = torch.empty(0)
        for step in range(steps):
            epoch, number = divmod(step, per_epoch)
            if number == 0:
                order = epoch_order(training.seed, epoch, s)
            batch = order[number * size : (number + 1) * size]
            weight = weights[rows[:, None], batch].to(device)
            weight = weight / weight.sum(1, keepdim=True).clamp(min=1e-12)
            for columns in torch.arange(len(batch)).split(at_once):
                part = batch[columns]
                x = features.take(samples.clips[part], samples.views[part]).to(device)
                logits = head.logits(parameters, standard(head.arranged(x)))
                errors = objective.errors(logits, samples.labels[part].to(device))
                # Heads share nothing: the gradient of the sum is that of each.
                (errors * weight[:, columns.to(device)]).sum().backward()
            optimizer.step()
        return {name: value.detach().cpu() for name, value in parameters.items()}

    together = _heads_at_once(head, device)
    parts = [train_some(rows) for rows in torch.arange(len(lr)).split(together)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


@torch.no_grad()
def probabilities(
    head: Head,
    parameters: Parameters,
    features: Features,
    clips: Tensor,
    views: Sequence[int],
    *,
    standard: Standard,
    device: str,
    objective: Objective = ONE_CLASS,
) -> Tensor:
    """Returns each class's probability by every head, averaged over ``views``.

    The result is fp32 ``[H, len(clips), K]``.
    """
    heads = torch.arange(len(parameters["bias"]))
    out = torch.zeros(len(heads), len(clips), head.classes)
    for rows in heads.split(_heads_at_once(head, device)):
        here = {name: value[rows].to(device) for name, value in parameters.items()}
        at_once = min(_CLIPS_AT_ONCE, _samples_at_once(head, len(rows), device))
        for view in views:
            for part in torch.arange(len(clips)).split(at_once):
                x = features.take(clips[part], torch.full_like(part, view)).to(device)
                logits = head.logits(here, standard(head.arranged(x)))
                out[rows[:, None], part] += objective.probabilities(logits).cpu() / len(views)
    return out


def _heads_at_once(head: Head, device: str) -> int:
    """Returns how many heads leave at least half of the memory to samples; at least one."""
    return max(1, _budget(device) // (head.held() + max(head.held(), head.floats())))


def _samples_at_once(head: Head, heads: int, device: str) -> int:
    return max(1, (_budget(device) - head.held() * heads) // (head.floats() * heads))


def _budget(device: str) -> int:
    return _FLOATS["cuda" if device.startswith("cuda") else "cpu"]
