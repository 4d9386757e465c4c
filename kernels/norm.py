"""Normalisations of rows, fused with the residual steps around them, and their gradients.

A program owns one row at a time: it is read once and reduced in registers. Gradients of weights
are summed over the rows of a program and then over programs: no atomics, the same bits each time.
Shapes: R rows (tokens), C features. Statistics are in `real`, fp32 or fp64.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ._rows import backward_options, row_options


@triton.jit
def _unit_rms(x, inside, C, eps):
    """Returns ``x / sqrt(mean(x^2) + eps)`` and the factor."""
    factor = tl.rsqrt(tl.sum(tl.where(inside, x * x, 0.0)) / C + eps)
    return x * factor, factor


@triton.jit
def _unit_rms_backward(grad, unit, factor, inside, C):
    """Returns the gradient of ``x`` from that of ``unit``."""
    radial = tl.sum(tl.where(inside, grad * unit, 0.0)) / C
    return (grad - unit * radial) * factor


@triton.jit
def _rms_norm_kernel(
    x_ptr,  # [R, C]
    weight_ptr,  # [C] real
    normed_ptr,  # [R, C]
    C,
    eps,
    BLOCK: tl.constexpr,
):
    # int64: R * C passes 2**31 at 1.5M tokens of 1408 features
    row = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, BLOCK)
    inside = c < C
    x = tl.load(x_ptr + row * C + c, mask=inside, other=0.0).to(weight_ptr.dtype.element_ty)
    weight = tl.load(weight_ptr + c, mask=inside, other=0.0)
    unit, _ = _unit_rms(x, inside, C, eps)
    tl.store(normed_ptr + row * C + c, unit * weight, mask=inside)


@triton.jit
def _rms_norm_backward_kernel(
    grad_ptr,  # [R, C]
    x_ptr,  # [R, C]
    weight_ptr,  # [C] real
    grad_x_ptr,  # [R, C]
    grad_weight_ptr,  # [P, C] real
    R,
    C,
    eps,
    BLOCK: tl.constexpr,
    STAGES: tl.constexpr,
):
    c = tl.arange(0, BLOCK)
    inside = c < C
    real = weight_ptr.dtype.element_ty
    weight = tl.load(weight_ptr + c, mask=inside, other=0.0)
    grad_weight = tl.zeros([BLOCK], real)
    for index in tl.range(tl.program_id(0), R, tl.num_programs(0), num_stages=STAGES):
        at = tl.cast(index, tl.int64) * C + c
        grad = tl.load(grad_ptr + at, mask=inside, other=0.0).to(real)
        x = tl.load(x_ptr + at, mask=inside, other=0.0).to(real)
        unit, factor = _unit_rms(x, inside, C, eps)
        grad_weight += grad * unit
        grad_x = _unit_rms_backward(grad * weight, unit, factor, inside, C)
        tl.store(grad_x_ptr + at, grad_x, mask=inside)
    at = tl.program_id(0).to(tl.int64) * C + c
    tl.store(grad_weight_ptr + at, grad_weight, mask=inside)


@triton.jit
def _add_norm_kernel(
    x_ptr,  # [R, C]
    branch_ptr,  # [R, C]
    scale_ptr,  # [C]
    drop_ptr,  # [R] real
    weight_ptr,  # [C]
    stream_ptr,  # [R, C]
    normed_ptr,  # [R, C]
    C,
    eps,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, BLOCK)
    inside = c < C
    real = drop_ptr.dtype.element_ty
    x = tl.load(x_ptr + row * C + c, mask=inside, other=0.0).to(real)
    branch = tl.load(branch_ptr + row * C + c, mask=inside, other=0.0).to(real)
    scale = tl.load(scale_ptr + c, mask=inside, other=0.0).to(real)
    weight = tl.load(weight_ptr + c, mask=inside, other=0.0).to(real)

    stream = (x + branch * scale * tl.load(drop_ptr + row)).to(stream_ptr.dtype.element_ty)
    tl.store(stream_ptr + row * C + c, stream, mask=inside)
    # The norm is that of the rounded stream, which the backward pass reads.
    unit, _ = _unit_rms(stream.to(real), inside, C, eps)
    tl.store(normed_ptr + row * C + c, unit * weight, mask=inside)


@triton.jit
def _add_norm_backward_kernel(
    grad_stream_ptr,  # [R, C]
    grad_normed_ptr,  # [R, C]
    stream_ptr,  # [R, C]
    branch_ptr,  # [R, C]
    scale_ptr,  # [C]
    drop_ptr,  # [R] real
    weight_ptr,  # [C]
    grad_x_ptr,  # [R, C]
    grad_branch_ptr,  # [R, C]
    grad_scale_ptr,  # [P, C] real
    grad_weight_ptr,  # [P, C] real
    R,
    C,
    eps,
    BLOCK: tl.constexpr,
    STAGES: tl.constexpr,
):
    program = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, BLOCK)
    inside = c < C
    real = drop_ptr.dtype.element_ty
    scale = tl.load(scale_ptr + c, mask=inside, other=0.0).to(real)
    weight = tl.load(weight_ptr + c, mask=inside, other=0.0).to(real)
    grad_scale = tl.zeros([BLOCK], real)
    grad_weight = tl.zeros([BLOCK], real)
    for index in tl.range(tl.program_id(0), R, tl.num_programs(0), num_stages=STAGES):
        row = tl.cast(index, tl.int64)
        at = row * C + c
        stream = tl.load(stream_ptr + at, mask=inside, other=0.0).to(real)
        grad_normed = tl.load(grad_normed_ptr + at, mask=inside, other=0.0).to(real)
        grad_stream = tl.load(grad_stream_ptr + at, mask=inside, other=0.0).to(real)
        branch = tl.load(branch_ptr + at, mask=inside, other=0.0).to(real)
        drop = tl.load(drop_ptr + row)
        unit, factor = _unit_rms(stream, inside, C, eps)
        grad_weight += grad_normed * unit
        grad_x = _unit_rms_backward(grad_normed * weight, unit, factor, inside, C)
        grad_x += grad_stream
        tl.store(grad_x_ptr + at, grad_x, mask=inside)
        kept = grad_x * drop
        tl.store(grad_branch_ptr + at, kept * scale, mask=inside)
        grad_scale += kept * branch
    at = program * C + c
    tl.store(grad_scale_ptr + at, grad_scale, mask=inside)
    tl.store(grad_weight_ptr + at, grad_weight, mask=inside)


@triton.jit
def _qk_norm_kernel(
    qkv_ptr,  # [R, 3, C]
    weights_ptr,  # [2, C] real
    normed_ptr,  # [R, 3, C]
    C,
    eps,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, BLOCK)
    inside = c < C
    real = weights_ptr.dtype.element_ty
    for part in tl.static_range(2):
        at = (row * 3 + part) * C + c
        x = tl.load(qkv_ptr + at, mask=inside, other=0.0).to(real)
        weight = tl.load(weights_ptr + part * C + c, mask=inside, other=0.0)
        unit, _ = _unit_rms(x, inside, C, eps)
        tl.store(normed_ptr + at, unit * weight, mask=inside)
    at = (row * 3 + 2) * C + c
    tl.store(normed_ptr + at, tl.load(qkv_ptr + at, mask=inside), mask=inside)


@triton.jit
def _qk_norm_backward_kernel(
    grad_ptr,  # [R, 3, C]
    qkv_ptr,  # [R, 3, C]
    weights_ptr,  # [2, C] real
    grad_qkv_ptr,  # [R, 3, C]
    grad_weights_ptr,  # [P, 2, C] real
    R,
    C,
    eps,
    BLOCK: tl.constexpr,
    STAGES: tl.constexpr,
):
    program = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, BLOCK)
    inside = c < C
    real = weights_ptr.dtype.element_ty
    for part in tl.static_range(2):
        weight = tl.load(weights_ptr + part * C + c, mask=inside, other=0.0)
        grad_weight = tl.zeros([BLOCK], real)
        for index in tl.range(tl.program_id(0), R, tl.num_programs(0), num_stages=STAGES):
            at = (tl.cast(index, tl.int64) * 3 + part) * C + c
            grad = tl.load(grad_ptr + at, mask=inside, other=0.0).to(real)
            x = tl.load(qkv_ptr + at, mask=inside, other=0.0).to(real)
            unit, factor = _unit_rms(x, inside, C, eps)
            grad_weight += grad * unit
            grad_x = _unit_rms_backward(grad * weight, unit, factor, inside, C)
            tl.store(grad_qkv_ptr + at, grad_x, mask=inside)
            if part == 0:
                values = tl.load(grad_ptr + at + 2 * C, mask=inside)
                tl.store(grad_qkv_ptr + at + 2 * C, values, mask=inside)
        at = (program * 2 + part) * C + c
        tl.store(grad_weights_ptr + at, grad_weight, mask=inside)


def rms_norm_forward(x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    """Returns ``[R, C]`` normalised, in ``dtype``. All inputs are contiguous."""
    R, C = x.shape
    normed = torch.empty_like(x, dtype=dtype)
    if R > 0:  # an empty grid is a launch error
        _rms_norm_kernel[(R,)](x, weight, normed, C, eps, **row_options("rms_norm", C))
    return normed


def rms_norm_backward(grad: Tensor, x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Returns gradients of ``x`` ``[R, C]`` and ``weight`` ``[C]``."""
    R, C = x.shape
    grad_x = torch.empty_like(x)
    count, options = backward_options("rms_norm", x)
    grad_weight = weight.new_empty(count, C)
    if R > 0:
        _rms_norm_backward_kernel[(count,)](
            grad, x, weight, grad_x, grad_weight, R, C, eps, **options
        )
    return grad_x, grad_weight.sum(0)


def add_norm_forward(
    x: Tensor, branch: Tensor, scale: Tensor, drop: Tensor, weight: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Returns the stream ``[R, C]`` and its norm, in the dtypes of ``x`` and ``branch``."""
    R, C = x.shape
    stream, normed = torch.empty_like(x), torch.empty_like(branch)
    if R > 0:
        _add_norm_kernel[(R,)](
            x, branch, scale, drop, weight, stream, normed, C, eps, **row_options("add_norm", C)
        )
    return stream, normed


def add_norm_backward(
    grad_stream: Tensor,
    grad_normed: Tensor,
    stream: Tensor,
    branch: Tensor,
    scale: Tensor,
    drop: Tensor,
    weight: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns gradients of ``x`` and ``branch`` ``[R, C]``, ``scale`` and ``weight`` ``[C]``."""
    R, C = stream.shape
    grad_x, grad_branch = torch.empty_like(stream), torch.empty_like(branch)
    count, options = backward_options("add_norm", stream)
    grad_scale, grad_weight = drop.new_empty(2, count, C).unbind()
    if R > 0:
        _add_norm_backward_kernel[(count,)](
            grad_stream, grad_normed, stream, branch, scale, drop, weight,
            grad_x, grad_branch, grad_scale, grad_weight, R, C, eps, **options,
        )  # fmt: skip
    return grad_x, grad_branch, grad_scale.sum(0), grad_weight.sum(0)


def qk_norm_forward(qkv: Tensor, weights: Tensor, eps: float) -> Tensor:
    """Returns ``[R, 3, C]`` with its first two parts normalised. All inputs are contiguous."""
    R, _, C = qkv.shape
    normed = torch.empty_like(qkv)
    if R > 0:
        _qk_norm_kernel[(R,)](qkv, weights, normed, C, eps, **row_options("qk_norm", C))
    return normed


def qk_norm_backward(
    grad: Tensor, qkv: Tensor, weights: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Returns gradients of ``qkv`` ``[R, 3, C]`` and ``weights`` ``[2, C]``."""
    R, _, C = qkv.shape
    grad_qkv = torch.empty_like(qkv)
    count, options = backward_options("qk_norm", qkv)
    grad_weights = weights.new_empty(count, 2, C)
    if R > 0:
        _qk_norm_backward_kernel[(count,)](
            grad, qkv, weights, grad_qkv, grad_weights, R, C, eps, **options
        )
    return grad_qkv, grad_weights.sum(0)
