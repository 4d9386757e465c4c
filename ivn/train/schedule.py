"""The learning rate as a function of the step and of nothing else."""

import math

from ivn.train.optimizer import OptimConfig


def total_steps(config: OptimConfig, steps_per_epoch: int) -> int:
    """Returns the number of steps of the whole run, at least 1."""
    return config.steps or max(1, round(config.epochs * steps_per_epoch))


def warmup_steps(config: OptimConfig, steps_per_epoch: int) -> int:
    """Returns the number of steps before the peak, the same share of the run as in epochs."""
    return round(total_steps(config, steps_per_epoch) * config.warmup_epochs / config.epochs)


def learning_rate(config: OptimConfig, step: int, steps_per_epoch: int) -> float:
    """Returns the learning rate of a step: linear from 0 to the peak, then a cosine to ``min_lr``.

    ``min_lr`` itself would be the value at step ``total_steps``, the first one not taken. Steps are
    counted from 0.
    """
    scale = config.batch_size / 256 if config.lr_scaling == "linear" else 1.0
    peak, end = config.lr * scale, config.min_lr * scale
    warmup, total = warmup_steps(config, steps_per_epoch), total_steps(config, steps_per_epoch)
    if step < warmup:
        return peak * step / warmup
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    return end + 0.5 * (peak - end) * (1.0 + math.cos(math.pi * progress))
