"""Computes the gradients of a batch, whole or in micro-batches, the same to fp32 rounding."""

from typing import NamedTuple

import torch
from torch import Tensor

from ivn.data.batch import Batch
from ivn.stages.stage import Stage


class Loss(NamedTuple):
    """A batch's loss and each term's mean: fp64 scalars on the device, without gradient."""

    value: Tensor
    means: dict[str, Tensor]


def compute_gradients(stage: Stage, batch: Batch, micro_batches: int) -> Loss:
    """Computes the gradient of the whole batch's loss, in ``.grad``, and returns the loss.

    The loss is the sum of weight * total / count, with the totals and counts of the whole batch. A
    micro-batch needs these counts beforehand. Either the stage gives them, or those of the first
    micro-batch times ``micro_batches`` are right because every clip has equally many values, as
    with rectangular masks. Where they prove wrong, all micro-batches are computed again with the
    right ones. With more than one micro-batch this comparison waits for the device, if the stage
    keeps counts there.

    Args:
        stage: the stage, with its terms and their weights.
        batch: clips on the device.
        micro_batches: number of equal parts.

    Raises:
        ValueError: the batch does not divide.
    """
    if len(batch) % micro_batches:
        raise ValueError(f"{len(batch)} clips do not divide into {micro_batches} micro-batches")
    known = stage.counts(batch) if micro_batches > 1 else {}
    told = {name: torch.tensor(count) for name, count in known.items()}
    loss, counts, expected = _one_pass(stage, batch, micro_batches, told)
    if micro_batches > 1 and any(int(counts[name]) != int(expected[name]) for name in counts):
        loss, _, _ = _one_pass(stage, batch, micro_batches, counts)
    return loss


def _one_pass(
    stage: Stage, batch: Batch, micro_batches: int, divisors: dict[str, Tensor]
) -> tuple[Loss, dict[str, Tensor], dict[str, Tensor]]:
    """Returns the loss, the counts found, and the counts divided by: ``divisors`` where given."""
    stage.zero_grad()
    rows = len(batch) // micro_batches
    totals: dict[str, Tensor] = {}
    counts: dict[str, Tensor] = {}
    for start in range(0, len(batch), rows):
        terms = stage.loss(batch.part(start, start + rows) if micro_batches > 1 else batch)
        if terms.keys() != stage.loss_weights.keys():
            raise ValueError(
                f"the stage gave terms {sorted(terms)}, expected {sorted(stage.loss_weights)}"
            )
        if not divisors:
            divisors = {name: term.count * micro_batches for name, term in terms.items()}
        parts = [
            stage.loss_weights[name] * term.total / divisors[name].to(term.total.dtype)
            for name, term in terms.items()
        ]
        torch.stack(parts).sum().backward()
        for name, term in terms.items():
            total = term.total.detach().double()
            totals[name] = totals[name] + total if name in totals else total
            counts[name] = counts[name] + term.count if name in counts else term.count
    means = {name: totals[name] / counts[name] for name in stage.loss_weights}
    weighted = [stage.loss_weights[name] * mean for name, mean in means.items()]
    return Loss(torch.stack(weighted).sum(), means), counts, divisors
