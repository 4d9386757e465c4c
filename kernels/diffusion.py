"""The noisy target of the diffusion decoder, and both terms of its loss with their gradient.

Noise is drawn where it is needed, four numbers from each block of words, and never stored.
Shapes: B samples of P rows each, D dimensions, S steps; `real` is fp32 or fp64.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ._keyed import keyed_normals

COLUMNS = tl.constexpr(6)  # columns of the table of steps, ivn.ops.diffusion.Steps
BLOCKS = 256  # blocks of four numbers for one program of the noisy target
ROW_BLOCKS = 64  # blocks at a time along a row of the loss
_LN2 = tl.constexpr(0.6931471805599453)
_HALF_BIN = tl.constexpr(1 / 255)
_STEEP = tl.constexpr(1.5957691216057308)
_CUBIC = tl.constexpr(0.044715)
_LEAST = tl.constexpr(1e-12)


@triton.jit
def _noisy_target_kernel(
    target_ptr,  # [B, P, D] real
    keys_ptr,  # [B, 4]
    timestep_ptr,  # [B, P]
    steps_ptr,  # [S, 6] real
    x_t_ptr,  # [B, P, WIDTH]
    P,
    purpose,
    D: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCKS: tl.constexpr,
):
    # int64: B * P * D passes 2**31 at 3.6M rows of 588
    sample = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1) * BLOCKS + tl.arange(0, BLOCKS)
    real = target_ptr.dtype.element_ty
    noise = keyed_normals(keys_ptr + 4 * sample, purpose, block, real)
    if D % 4 == 0:  # a block lies within a row: its four numbers are read and written together
        row = (block // (D // 4))[:, None]
        d = (block % (D // 4) * 4)[:, None] + tl.arange(0, 4)[None, :]
    else:
        element = block[:, None] * 4 + tl.arange(0, 4)[None, :]
        row, d = element // D, element % D
    inside = row < P
    at = sample * P + row
    target = tl.load(target_ptr + at * D + d, mask=inside, other=0.0)
    step = steps_ptr + tl.load(timestep_ptr + at, mask=inside, other=0) * COLUMNS
    x_t = tl.load(step) * target + tl.load(step + 1) * noise
    tl.store(x_t_ptr + at * WIDTH + d, x_t, mask=inside)
    if D % 4 == 0:
        past = D + tl.arange(0, 8)[None, :]
        ends = inside & (block % (D // 4) == D // 4 - 1)[:, None] & (past < WIDTH)
        tl.store(x_t_ptr + at * WIDTH + past, tl.zeros([BLOCKS, 8], real), mask=ends)
    else:
        for past in tl.static_range(WIDTH - D):
            ends = inside & (d == D - 1)
            tl.store(x_t_ptr + at * WIDTH + D + past + 0 * d, tl.zeros_like(x_t), mask=ends)


@triton.jit
def _edge(x):
    """Returns the normal distribution function by the paper's tanh, and ``x`` times its slope."""
    steep = _STEEP * (x + _CUBIC * x * x * x)
    cdf = 1 / (1 + tl.exp(-steep))
    beyond = 1 / (1 + tl.exp(steep))
    return cdf, x * (cdf * beyond * _STEEP * (1 + 3 * _CUBIC * x * x))


@triton.jit
def _likelihood(target, centred, log_variance):
    """Returns the log-probability of the bin around ``target``, and its slope in log-variance."""
    inverse = tl.exp(-0.5 * log_variance)
    far = tl.abs(centred)
    lowest, highest = target < -0.999, target > 0.999
    # In the lower tail, where a difference of small numbers keeps its digits.
    edge = tl.where(lowest, centred, tl.where(highest, -centred, -far))
    cdf, slope = _edge(inverse * (_HALF_BIN + edge))
    far_cdf, far_slope = _edge(inverse * (-_HALF_BIN - far))
    open_end = lowest | highest
    share = cdf - tl.where(open_end, 0.0, far_cdf)
    slope -= tl.where(open_end, 0.0, far_slope)
    known = share >= _LEAST
    share = tl.where(known, share, _LEAST)
    return tl.log(share), tl.where(known, -0.5 * slope / share, 0.0)


@triton.jit
def _errors(
    output_ptr, keys_ptr, row, P, purpose, chunk, spread, D: tl.constexpr, G: tl.constexpr, real
):
    """Returns four ``[G, 4]`` for a part of a row: the dimensions, whether they are inside the row,
    the errors of the noise, and the log-variances above the true ones."""
    in_sample = row % P
    if D % 4 == 0:
        first = in_sample * (D // 4) + chunk * G
        d = (chunk * G + tl.arange(0, G))[:, None] * 4 + tl.arange(0, 4)[None, :]
    else:
        first = in_sample * D // 4 + chunk * G
        d = (first + tl.arange(0, G))[:, None] * 4 + tl.arange(0, 4)[None, :] - in_sample * D
    noise = keyed_normals(keys_ptr + 4 * (row // P), purpose, first + tl.arange(0, G), real)
    inside = (d >= 0) & (d < D)
    at = output_ptr + row * (2 * D) + d
    error = tl.load(at, mask=inside, other=0.0).to(real) - noise
    above = (tl.load(at + D, mask=inside, other=0.0).to(real) + 1) / 2 * spread
    return d, inside, error, above


@triton.jit
def _diffusion_loss_kernel(
    output_ptr,  # [R, 2 * D]
    target_ptr,  # [R, D] real
    keys_ptr,  # [B, 4]
    timestep_ptr,  # [R]
    steps_ptr,  # [S, 6] real
    mse_ptr,  # [R] real
    variational_ptr,  # [R] real
    P,
    purpose,
    D: tl.constexpr,
    G: tl.constexpr,
    CHUNKS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    real: tl.constexpr = target_ptr.dtype.element_ty
    t = tl.load(timestep_ptr + row)
    step = steps_ptr + t * COLUMNS
    mean, log_variance = tl.load(step + 2), tl.load(step + 3)
    spread, precision = tl.load(step + 4), tl.load(step + 5)
    squares = tl.zeros([G, 4], real)
    bits = tl.zeros([G, 4], real)
    for chunk in range(CHUNKS):
        d, inside, error, above = _errors(
            output_ptr, keys_ptr, row, P, purpose, chunk, spread, D, G, real
        )
        squares += tl.where(inside, error * error, 0.0)
        if t == 0:
            target = tl.load(target_ptr + row * D + d, mask=inside, other=0.0)
            log, _ = _likelihood(target, mean * error, log_variance + above)
            bits += tl.where(inside, -log, 0.0)
        else:
            surplus = 1 + precision * (error * error)
            bits += tl.where(inside, 0.5 * (above - 1 + tl.exp(-above) * surplus), 0.0)
    tl.store(mse_ptr + row, tl.sum(tl.sum(squares, 1), 0) / D)
    tl.store(variational_ptr + row, tl.sum(tl.sum(bits, 1), 0) / (D * _LN2))


@triton.jit
def _diffusion_loss_backward_kernel(
    grad_mse_ptr,  # [R] real
    grad_variational_ptr,  # [R] real
    output_ptr,  # [R, 2 * D]
    target_ptr,  # [R, D] real
    keys_ptr,  # [B, 4]
    timestep_ptr,  # [R]
    steps_ptr,  # [S, 6] real
    grad_output_ptr,  # [R, 2 * D]
    P,
    purpose,
    D: tl.constexpr,
    G: tl.constexpr,
    CHUNKS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    real: tl.constexpr = target_ptr.dtype.element_ty
    t = tl.load(timestep_ptr + row)
    step = steps_ptr + t * COLUMNS
    mean, log_variance = tl.load(step + 2), tl.load(step + 3)
    spread, precision = tl.load(step + 4), tl.load(step + 5)
    grad_squares = tl.load(grad_mse_ptr + row) / D
    grad_bits = tl.load(grad_variational_ptr + row) / (D * _LN2)
    for chunk in range(CHUNKS):
        d, inside, error, above = _errors(
            output_ptr, keys_ptr, row, P, purpose, chunk, spread, D, G, real
        )
        if t == 0:
            target = tl.load(target_ptr + row * D + d, mask=inside, other=0.0)
            _, slope = _likelihood(target, mean * error, log_variance + above)
            grad_above = -slope
        else:
            grad_above = 0.5 * (1 - tl.exp(-above) * (1 + precision * (error * error)))
        at = row * (2 * D) + d
        tl.store(grad_output_ptr + at, 2 * error * grad_squares, mask=inside)
        grad_variance = 0.5 * spread * grad_above * grad_bits
        tl.store(grad_output_ptr + at + D, grad_variance, mask=inside)


def noisy_target(
    target: Tensor,
    keys: Tensor,
    timestep: Tensor,
    steps: Tensor,
    purpose: int,
    dtype: torch.dtype,
) -> Tensor:
    """Returns ``[R, D']`` of ``dtype``, zeros past D, for ``[R, D]`` real. All contiguous."""
    R, D = target.shape
    width = triton.cdiv(D, 8) * 8
    x_t = target.new_empty(R, width, dtype=dtype)
    if R > 0:  # an empty grid is a launch error
        P = R // len(keys)
        grid = (len(keys), triton.cdiv(P * D, 4 * BLOCKS))
        _noisy_target_kernel[grid](
            target, keys, timestep, steps, x_t, P, purpose, D, width, BLOCKS,
            num_warps=8, enable_fp_fusion=False,
        )  # fmt: skip
    return x_t


def diffusion_loss_forward(
    output: Tensor, target: Tensor, keys: Tensor, timestep: Tensor, steps: Tensor, purpose: int
) -> tuple[Tensor, Tensor]:
    """Returns two ``[R]``, real, for ``[R, 2 * D]`` and ``[R, D]``. All contiguous."""
    R, D = target.shape
    mse, variational = target.new_empty(R), target.new_empty(R)
    if R > 0:
        _diffusion_loss_kernel[(R,)](
            output, target, keys, timestep, steps, mse, variational,
            R // len(keys), purpose, D, **_options(D),
        )  # fmt: skip
    return mse, variational


def diffusion_loss_backward(
    grad_mse: Tensor,
    grad_variational: Tensor,
    output: Tensor,
    target: Tensor,
    keys: Tensor,
    timestep: Tensor,
    steps: Tensor,
    purpose: int,
) -> Tensor:
    """Returns the gradient of ``output``, ``[R, 2 * D]`` in its dtype. All contiguous."""
    R, D = target.shape
    grad_output = torch.empty_like(output)
    if R > 0:
        _diffusion_loss_backward_kernel[(R,)](
            grad_mse, grad_variational, output, target, keys, timestep, steps, grad_output,
            R // len(keys), purpose, D, **_options(D),
        )  # fmt: skip
    return grad_output


def _options(D: int) -> dict[str, int | bool]:
    # A row that begins inside a block of words ends inside one more.
    blocks = triton.cdiv(D, 4) + (D % 4 != 0)
    chunks = triton.cdiv(blocks, ROW_BLOCKS)
    return {"G": ROW_BLOCKS, "CHUNKS": chunks, "num_warps": 2, "enable_fp_fusion": False}
