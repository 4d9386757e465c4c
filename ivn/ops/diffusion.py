"""``ivn::noisy_target`` and ``ivn::diffusion_loss``: the denoiser's input and its loss.

The noise is drawn from keys wherever it is needed and never stored. With the network's estimate of
it, and its estimate of where the variance lies between its bounds, the hybrid objective of
Nichol & Dhariwal ("Improved denoising diffusion probabilistic models", 2021, equation 16) needs
neither the noisy target nor, except in step 0, the target: the two means of a step back differ only
by a multiple of the noise's error.

Legend: B samples, P rows of each, R = B * P rows, D dimensions of a target, S steps.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ivn.keys import Purpose

from ._dtype import compiled_dtype, wide_dtype
from ._library import TYPES, call, check_range
from ._register import operation
from .random import draw_kind, normal_reference

_LN2 = math.log(2.0)
_HALF_BIN = 1 / 255
_STEEPNESS = 2 * math.sqrt(2 / math.pi)
_CUBIC = 0.044715
_LEAST = 1e-12
ALIGNED = 8  # features: 16 bytes of bf16


class Steps(NamedTuple):
    """The columns of a table of steps ``[S, 6]``.

    Attributes:
        signal: factor of the target in the noisy target.
        noise: factor of the noise there.
        mean: shift of the mean of a step back per error of the noise.
        log_variance: lower bound of the log-variance of a step back, which is the true one.
        spread: upper bound minus lower bound.
        precision: ``mean ** 2`` over the true variance.
    """

    signal: Tensor
    noise: Tensor
    mean: Tensor
    log_variance: Tensor
    spread: Tensor
    precision: Tensor


class LossTerms(NamedTuple):
    """Both terms of the hybrid objective.

    Attributes:
        mse: mean squared error of the noise in each row, ``[R]``.
        variational: variational bound of each row in bits, ``[R]``.
    """

    mse: Tensor
    variational: Tensor


def noisy_target(
    target: Tensor,
    keys: Tensor,
    timestep: Tensor,
    steps: Tensor,
    *,
    purpose: Purpose = Purpose.NOISE,
    layer: int = 0,
    dtype: torch.dtype,
) -> Tensor:
    """Returns ``x_t``, each row of ``target`` with the noise of its step, for a matrix product.

    Args:
        target: ``[R, D]`` fp32 or fp64, the rows of one sample after those of another. A constant.
        keys: ``[B, 4]`` int64; the noise is ``normal(keys, purpose, P * D, layer=layer)``.
        timestep: ``[R]`` int64 in ``[0, S)``. On a CPU another value is a ValueError.
        steps: ``[S, 6]``, the columns of :class:`Steps`, in the dtype of ``target``.
        dtype: dtype of the result: fp32, bf16 or fp16, or fp64 for fp64.

    Returns:
        ``[R, D']``, where D' is D rounded up to a multiple of 8; the features past D are zero.
    """
    _check("noisy_target", target, keys, timestep, steps)
    if wide_dtype(dtype) != target.dtype:
        raise ValueError(
            f"noisy_target: dtype is {dtype} for a target of {target.dtype}, expected fp64 for "
            "fp64 and at most fp32 for fp32"
        )
    given = [one.detach().contiguous() for one in (target, keys, timestep, steps)]
    kind = draw_kind("noisy_target", purpose, layer)
    return _noisy_target(*given, kind, compiled_dtype(dtype)).to(dtype)


def diffusion_loss(
    output: Tensor,
    target: Tensor,
    keys: Tensor,
    timestep: Tensor,
    steps: Tensor,
    *,
    purpose: Purpose = Purpose.NOISE,
    layer: int = 0,
) -> LossTerms:
    """Returns both terms of the hybrid objective for each row, as means over its dimensions.

    Args:
        output: output of the network, ``[R, 2 * D]``, noise then variance; fp32, bf16, fp16 or
            fp64. Differentiable: the squared error reaches only the noise, the bound only the
            variance.
        target, keys, timestep, steps, purpose, layer: arguments of :func:`noisy_target`.

    Returns:
        Two ``[R]`` in the dtype of ``target``, in which they are computed.
    """
    _check("diffusion_loss", target, keys, timestep, steps)
    R, D = target.shape
    if output.shape != (R, 2 * D) or output.device != target.device:
        raise ValueError(
            f"diffusion_loss: output is {list(output.shape)} on {output.device}, expected "
            f"{[R, 2 * D]} on {target.device}"
        )
    if not output.is_floating_point() or wide_dtype(output.dtype) != target.dtype:
        raise ValueError(
            f"diffusion_loss: output is {output.dtype} for a target of {target.dtype}, expected "
            "fp64 for fp64 and a narrower one for fp32"
        )
    rows = output.to(compiled_dtype(output.dtype)).contiguous()
    given = [one.detach().contiguous() for one in (target, keys, timestep, steps)]
    return LossTerms(*_diffusion_loss(rows, *given, draw_kind("diffusion_loss", purpose, layer)))


def add_noise(target: Tensor, noise: Tensor, timestep: Tensor, steps: Tensor) -> Tensor:
    """Returns ``x_t`` of equation 9, ``[R, D]``, for the given noise."""
    step = _columns(steps, timestep)
    return step.signal * target + step.noise * noise


def loss_terms(
    output: Tensor, target: Tensor, noise: Tensor, timestep: Tensor, steps: Tensor
) -> LossTerms:
    """Returns :func:`diffusion_loss` in plain PyTorch, for the given noise ``[R, D]``."""
    estimate, interpolation = output.chunk(2, dim=-1)
    error = estimate - noise
    step = _columns(steps, timestep)
    above_true = (interpolation + 1) / 2 * step.spread  # log-variance above the true one
    # The divergence of two normal distributions whose means are `step.mean * error` apart.
    surplus = 1 + step.precision * error.detach().square()
    divergence = 0.5 * (above_true - 1 + (-above_true).exp() * surplus)
    likelihood = discretised_log_likelihood(
        target, step.mean * error.detach(), 0.5 * (step.log_variance + above_true)
    )
    bits = torch.where(timestep[:, None] == 0, -likelihood, divergence).mean(-1) / _LN2
    return LossTerms(error.square().mean(-1), bits)


def discretised_log_likelihood(x: Tensor, centred: Tensor, log_scale: Tensor) -> Tensor:
    """Returns the log-probability of the 2/255-wide bin around ``x`` in [-1, 1], for a Gaussian.

    ``centred`` is ``x`` minus the mean. The normal distribution function is approximated with a
    tanh, as in the paper's code.
    """
    inverse, far = (-log_scale).exp(), centred.abs()
    # In the lower tail, where a difference of small numbers keeps its digits.
    inside = _normal_cdf(inverse * (_HALF_BIN - far)) - _normal_cdf(inverse * (-_HALF_BIN - far))
    lowest = _normal_cdf(inverse * (_HALF_BIN + centred))
    highest = _normal_cdf(inverse * (_HALF_BIN - centred))
    share = torch.where(x < -0.999, lowest, torch.where(x > 0.999, highest, inside))
    return share.clamp(min=_LEAST).log()


def _normal_cdf(x: Tensor) -> Tensor:
    return torch.sigmoid(_STEEPNESS * (x + _CUBIC * x**3))


def _columns(steps: Tensor, timestep: Tensor) -> Steps:
    """Returns the rows of ``steps`` at ``timestep`` as columns ``[R, 1]``."""
    return Steps(*steps[timestep].unsqueeze(1).unbind(2))


def noisy_target_reference(
    target: Tensor,
    keys: Tensor,
    timestep: Tensor,
    steps: Tensor,
    purpose: int,
    dtype: torch.dtype,
) -> Tensor:
    """Computes ``ivn::noisy_target`` in plain PyTorch."""
    x_t = add_noise(target, _noise_reference(target, keys, purpose), timestep, steps)
    return torch.nn.functional.pad(x_t, (0, -target.shape[1] % ALIGNED)).to(dtype)


def diffusion_loss_reference(
    output: Tensor, target: Tensor, keys: Tensor, timestep: Tensor, steps: Tensor, purpose: int
) -> LossTerms:
    """Computes ``ivn::diffusion_loss`` in plain PyTorch."""
    noise = _noise_reference(target, keys, purpose)
    return loss_terms(output.to(target.dtype), target, noise, timestep, steps)


def _noise_reference(target: Tensor, keys: Tensor, purpose: int) -> Tensor:
    count = target.numel() // max(len(keys), 1)
    return normal_reference(keys, count, purpose, target.dtype).reshape(target.shape)


def _sizes(target: Tensor, keys: Tensor) -> tuple[int, int, int]:
    """Returns the numbers of samples, of rows of a sample, and of dimensions."""
    return len(keys), len(target) // max(len(keys), 1), target.shape[1]


@operation(
    check=lambda timestep, steps: check_range("noisy_target", timestep, len(steps), "timestep"),
    fake=lambda target, dtype: target.new_empty(
        target.shape[0], target.shape[1] + -target.shape[1] % ALIGNED, dtype=dtype
    ),
    triton="noisy_target",
)
def _noisy_target(
    target: Tensor,
    keys: Tensor,
    timestep: Tensor,
    steps: Tensor,
    purpose: int,
    dtype: torch.dtype,
) -> Tensor:
    R, D = target.shape
    x_t = target.new_empty(R, D + -D % ALIGNED, dtype=dtype)
    pointers = (target, keys, timestep, steps, x_t)
    sizes = (*_sizes(target, keys), x_t.shape[1])
    call("ivn_noisy_target", target.device, *pointers, *sizes, purpose, TYPES[dtype])
    return x_t


@operation(fake="output", triton="diffusion_loss_backward")
def _diffusion_loss_backward(
    grad_mse: Tensor,
    grad_variational: Tensor,
    output: Tensor,
    target: Tensor,
    keys: Tensor,
    timestep: Tensor,
    steps: Tensor,
    purpose: int,
) -> Tensor:
    grad_output = torch.empty_like(output)
    pointers = (grad_mse, grad_variational, output, target, keys, timestep, steps, grad_output)
    kind = (purpose, TYPES[output.dtype])
    call("ivn_diffusion_loss_backward", target.device, *pointers, *_sizes(target, keys), *kind)
    return grad_output


@operation(
    check=lambda timestep, steps: check_range("diffusion_loss", timestep, len(steps), "timestep"),
    fake=lambda target: (target.new_empty(target.shape[0]), target.new_empty(target.shape[0])),
    triton="diffusion_loss_forward",
    saves="output, target, keys, timestep, steps, purpose",
    gradients={"output": _diffusion_loss_backward},
)
def _diffusion_loss(
    output: Tensor, target: Tensor, keys: Tensor, timestep: Tensor, steps: Tensor, purpose: int
) -> tuple[Tensor, Tensor]:
    mse, variational = (target.new_empty(len(target)) for _ in range(2))
    pointers = (output, target, keys, timestep, steps, mse, variational)
    kind = (purpose, TYPES[output.dtype])
    call("ivn_diffusion_loss", target.device, *pointers, *_sizes(target, keys), *kind)
    return mse, variational


def _check(op: str, target: Tensor, keys: Tensor, timestep: Tensor, steps: Tensor) -> None:
    if target.ndim != 2 or target.shape[1] == 0 or target.dtype not in _WIDE:
        raise ValueError(
            f"{op}: target is {target.dtype} {list(target.shape)}, expected fp32 or fp64 [R, D]"
        )
    R = len(target)
    if keys.ndim != 2 or keys.shape[1] != 4 or keys.dtype != torch.int64:
        raise ValueError(f"{op}: keys is {keys.dtype} {list(keys.shape)}, expected int64 [B, 4]")
    if R % len(keys) if len(keys) else R:
        raise ValueError(f"{op}: {R} rows of {len(keys)} samples, expected the same number of each")
    if timestep.shape != (R,) or timestep.dtype != torch.int64:
        raise ValueError(
            f"{op}: timestep is {timestep.dtype} {list(timestep.shape)}, expected int64 [{R}]"
        )
    if steps.ndim != 2 or steps.shape[1] != len(Steps._fields) or steps.dtype != target.dtype:
        raise ValueError(
            f"{op}: steps is {steps.dtype} {list(steps.shape)}, expected {target.dtype} [S, 6]"
        )
    for name, one in {"keys": keys, "timestep": timestep, "steps": steps}.items():
        if one.device != target.device:
            raise ValueError(f"{op}: {name} is on {one.device}, expected {target.device}")


_WIDE = (torch.float32, torch.float64)
