"""The diffusion process of the pixel decoder: 1000 steps, cosine schedule, learned variance.

Nichol & Dhariwal, "Improved denoising diffusion probabilistic models" (2021), equation numbers
theirs. The network gives an estimate of the noise and, per dimension, where the variance lies
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
        signal_scale, noise_scale: the factors of target and noise in x_t; of their own, because
            one minus ``alphas_cumprod`` in fp32 is mere rounding in the first steps.
        posterior_variance: of a step back, given the clean target.
        posterior_log_variance_clipped: its logarithm; the first, minus infinity, is the second's.
        posterior_clean, posterior_noisy: the factors of target and x_t in that step's mean.
    """

    betas: Tensor
    alphas_cumprod: Tensor
    signal_scale: Tensor
    noise_scale: Tensor
    posterior_variance: Tensor
    posterior_log_variance_clipped: Tensor
    posterior_clean: Tensor
    posterior_noisy: Tensor

    def at(self, t: Tensor, dtype: torch.dtype) -> "Schedule":
        """The rows of steps ``t`` ``[R]`` as columns ``[R, 1]`` of ``dtype``."""
        return Schedule(*(table[t, None].to(dtype) for table in self))


@functools.cache
def training_steps(device: torch.device, dtype: torch.dtype) -> Tensor:
    """The table of all steps that the operations on noise and loss read, ``[1000, 6]``."""
    schedule = cosine_schedule(device)
    bound = schedule.posterior_log_variance_clipped
    mean = schedule.posterior_clean * schedule.noise_scale / schedule.signal_scale
    spread = schedule.betas.log() - bound
    precision = mean.square() * (-bound).exp()
    steps = Steps(schedule.signal_scale, schedule.noise_scale, mean, bound, spread, precision)
    return torch.stack(steps, dim=1).to(dtype)


@functools.cache
def cosine_schedule(device: torch.device = _CPU, steps: int = STEPS) -> Schedule:
    """The schedule of equation 17, with steps of variance at most 0.999."""
    edges = torch.arange(steps + 1, dtype=torch.float64, device=_CPU) / steps
    signal = torch.cos((edges + 0.008) / 1.008 * math.pi / 2) ** 2
    schedule = schedule_of((1 - signal[1:] / signal[:-1]).clamp(max=0.999))
    return Schedule(*(table.to(device) for table in schedule))


def schedule_of(betas: Tensor) -> Schedule:
    """Everything that follows from the variances of the steps."""
    alphas = 1 - betas
    after = alphas.cumprod(0)
    before = torch.cat([after.new_ones(1), after[:-1]])
    variance = betas * (1 - before) / (1 - after)
    # The variance of the first step is zero: its neighbour's stands in, as in the paper's code.
    neighbour = variance[1:2] if len(betas) > 1 else betas
    log_variance = torch.cat([neighbour, variance[1:]]).log()
    clean = betas * before.sqrt() / (1 - after)
    noisy = (1 - before) * alphas.sqrt() / (1 - after)
    scales = after.sqrt(), (1 - after).sqrt()
    return Schedule(betas, after, *scales, variance, log_variance, clean, noisy)


def respaced(schedule: Schedule, steps: int) -> tuple[Schedule, Tensor]:
    """A schedule of fewer steps for sampling, and the full schedule's numbers of its steps."""
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
    """Equation 15: the learned log-variance, from the network's numbers around [-1, 1]."""
    share = (interpolation + 1) / 2
    return share * step.betas.log() + (1 - share) * step.posterior_log_variance_clipped


def predicted_target(x_t: Tensor, noise: Tensor, step: Schedule) -> Tensor:
    """The clean target that ``x_t`` with this noise comes from."""
    return (x_t - step.noise_scale * noise) / step.signal_scale


def posterior_mean(target: Tensor, x_t: Tensor, step: Schedule) -> Tensor:
    """Equation 11: the mean of the step back."""
    return step.posterior_clean * target + step.posterior_noisy * x_t
