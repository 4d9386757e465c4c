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

STEPS = 1000
_CPU = torch.device("cpu")
_LN2 = math.log(2.0)


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


def add_noise(target: Tensor, noise: Tensor, step: Schedule) -> Tensor:
    """``x_t`` of equation 9, ``[R, D]``."""
    return step.signal_scale * target + step.noise_scale * noise


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


class LossTerms(NamedTuple):
    """Of each row, ``[R]``: the noise's squared error, and the variational bound in bits."""

    mse: Tensor
    variational: Tensor


def loss_terms(
    output: Tensor, target: Tensor, x_t: Tensor, noise: Tensor, t: Tensor, schedule: Schedule
) -> LossTerms:
    """Both terms of the hybrid objective (equation 16), means over the dimensions.

    Args:
        output: the network's ``[R, 2 * D]``: noise, then variance. The variational term's
            gradient reaches the variance only.
        target, x_t, noise: ``[R, D]``.
        t: ``[R]`` int64.
        schedule: of the training steps.
    """
    estimate, interpolation = output.chunk(2, dim=-1)
    mse = (estimate - noise).square().mean(-1)

    step = schedule.at(t, output.dtype)
    true_mean = posterior_mean(target, x_t, step)
    mean = posterior_mean(predicted_target(x_t, estimate.detach(), step), x_t, step)
    log_var = log_variance(interpolation, step)
    true_log_var = step.posterior_log_variance_clipped
    divergence = 0.5 * (
        log_var
        - true_log_var
        - 1
        + (true_log_var - log_var).exp()
        + (true_mean - mean).square() * (-log_var).exp()
    )
    likelihood = discretised_log_likelihood(target, mean, 0.5 * log_var)
    bits = torch.where(t[:, None] == 0, -likelihood, divergence).mean(-1) / _LN2
    return LossTerms(mse, bits)


def discretised_log_likelihood(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Log-probability of the 2/255-wide bin around ``x`` in [-1, 1], under a Gaussian.

    The normal distribution function is approximated with a tanh, as in the paper's code.
    """
    centred, inverse = x - mean, (-log_scale).exp()
    above = _normal_cdf(inverse * (centred + 1 / 255))
    below = _normal_cdf(inverse * (centred - 1 / 255))
    inside = (above - below).clamp(min=1e-12).log()
    lowest, highest = above.clamp(min=1e-12).log(), (1 - below).clamp(min=1e-12).log()
    return torch.where(x < -0.999, lowest, torch.where(x > 0.999, highest, inside))


def _normal_cdf(x: Tensor) -> Tensor:
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
