"""The diffusion process of the pixel decoder: 1000 steps, cosine schedule, learned variance.

Nichol & Dhariwal, "Improved denoising diffusion probabilistic models" (2021), with
their equation numbers. The network estimates the noise and, per dimension, where the variance lies
between its two bounds.

Legend: R rows, D dimensions of a target.
"""

import functools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from ivn.ops.diffusion import Steps

STEPS = 1000
_CPU = torch.device("cpu")


class Schedule(NamedTuple):
    """Tables over the steps, ``[S]`` fp64.

    Attributes:
        betas: variance added by a step.
        alphas_cumprod: share of the signal's variance that is left after a step.
        signal_scale, noise_scale: factors of target and noise in x_t. They are kept, because one
            minus ``alphas_cumprod`` in fp32 is only rounding error in the first steps.
        posterior_log_variance_clipped: logarithm of the variance of a step back, given the clean
            target; the first, which is minus infinity, is replaced by the second.
        posterior_clean, posterior_noisy: factors of target and x_t in the mean of a step back.
    """

    betas: Tensor
    alphas_cumprod: Tensor
    signal_scale: Tensor
    noise_scale: Tensor
    posterior_log_variance_clipped: Tensor
    posterior_clean: Tensor
    posterior_noisy: Tensor

    def at(self, t: Tensor, dtype: torch.dtype) -> "Schedule":
        """Returns the entries of steps ``t`` ``[R]`` as columns ``[R, 1]`` of ``dtype``."""
        return Schedule(*(table[t, None].to(dtype) for table in self))


@functools.cache
def training_steps(device: torch.device, dtype: torch.dtype) -> Tensor:
    """Returns the table of all steps for :mod:`ivn.ops.diffusion`, ``[1000, 6]``."""
    schedule = cosine_schedule(device)
    bound = schedule.posterior_log_variance_clipped
    mean = schedule.posterior_clean * schedule.noise_scale / schedule.signal_scale
    spread = schedule.betas.log() - bound
    precision = mean.square() * (-bound).exp()
    steps = Steps(schedule.signal_scale, schedule.noise_scale, mean, bound, spread, precision)
    return torch.stack(steps, dim=1).to(dtype)


@functools.cache
def cosine_schedule(device: torch.device = _CPU, steps: int = STEPS) -> Schedule:
    """Returns the schedule of equation 17, with steps of variance at most 0.999."""
    edges = torch.arange(steps + 1, dtype=torch.float64, device=_CPU) / steps
    signal = torch.cos((edges + 0.008) / 1.008 * math.pi / 2) ** 2
    schedule = schedule_of((1 - signal[1:] / signal[:-1]).clamp(max=0.999))
    return Schedule(*(table.to(device) for table in schedule))


def schedule_of(betas: Tensor) -> Schedule:
    """Returns the schedule that follows from the variances of the steps."""
    alphas = 1 - betas
    after = alphas.cumprod(0)
    before = torch.cat([after.new_ones(1), after[:-1]])
    variance = betas * (1 - before) / (1 - after)
    # The variance of the first step is zero: the second's replaces it, as in the paper's code.
    neighbour = variance[1:2] if len(betas) > 1 else betas
    log_variance = torch.cat([neighbour, variance[1:]]).log()
    clean = betas * before.sqrt() / (1 - after)
    noisy = (1 - before) * alphas.sqrt() / (1 - after)
    scales = after.sqrt(), (1 - after).sqrt()
    return Schedule(betas, after, *scales, log_variance, clean, noisy)


def respaced(schedule: Schedule, steps: int) -> tuple[Schedule, Tensor]:
    """Returns a schedule of fewer steps for sampling, and their numbers in the full schedule."""
    total = len(schedule.betas)
    if not 1 <= steps <= total:
        raise ValueError(f"steps is {steps}, expected 1 to {total}")
    kept = torch.linspace(0, total - 1, steps, dtype=torch.float64).round().long()
    kept = kept.to(schedule.betas.device)
    if steps == 1:
        kept = torch.full_like(kept, total - 1)
    after = schedule.alphas_cumprod[kept]
    before = torch.cat([after.new_ones(1), after[:-1]])
    return schedule_of(1 - after / before), kept


def log_variance(interpolation: Tensor, step: Schedule) -> Tensor:
    """Returns the learned log-variance of equation 15 from the network's output around [-1, 1]."""
    share = (interpolation + 1) / 2
    return share * step.betas.log() + (1 - share) * step.posterior_log_variance_clipped


def predicted_target(x_t: Tensor, noise: Tensor, step: Schedule) -> Tensor:
    """Returns the clean target from which this noise makes ``x_t``."""
    return (x_t - step.noise_scale * noise) / step.signal_scale


def posterior_mean(target: Tensor, x_t: Tensor, step: Schedule) -> Tensor:
    """Returns the mean of the step back, equation 11."""
    return step.posterior_clean * target + step.posterior_noisy * x_t
