"""Normalisations of rows fused with what surrounds them, and their gradients.

A program owns one row at a time: it is read once and reduced in registers. Gradients of weights
are summed over the rows of a program and then over programs: no atomics, the same bits each time.
Shapes: R rows (tokens), C features. Statistics are in `real`, fp32 or fp64.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

MAX_FEATURES = 4096  # several rows at a time must fit the registers of one program
PROGRAMS = 528  # of a backward pass, each over many rows: four on each multiprocessor of an H100


@triton.jit
def _unit_rms(x, inside, C, eps):
    """``x / sqrt(mean(x^2) + eps)`` and the factor."""
    factor = tl.rsqrt(tl.sum(tl.where(inside, x * x, 0.0)) / C + eps)
    return x * factor, factor


@triton.jit
def _unit_rms_backward(grad, unit, factor, inside, C):
    """The gradient of ``x`` from that of ``unit``."""
    radial = tl.sum(tl.where(inside, grad * unit, 0.0)) / C
    return (grad - unit * radial) * factor


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
    BLOCK_C: tl.constexpr,
):
    # int64: R * C passes 2**31 at 1.5M tokens of 1408 features
    row = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, BLOCK_C)
    inside = c < C
    real = drop_ptr.dtype.element_ty
    x = tl.load(x_ptr + row * C + c, mask=inside, other=0.0).to(real)
    branch = tl.load(branch_ptr + row * C + c, mask=inside, other=0.0).to(real)
    scale = tl.load(scale_ptr + c, mask=inside, other=0.0).to(real)
    weight = tl.load(weight_ptr + c, mask=inside, other=0.0).to(real)

    stream = (x + branch * scale * tl.load(drop_ptr + row)).to(stream_ptr.dtype.element_ty)
    tl.store(stream_ptr + row * C + c, stream, mask=inside)
    # Of the rounded stream: what the backward pass will find.
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
    BLOCK_C: tl.constexpr,
):
    program = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, BLOCK_C)
    inside = c < C
    real = drop_ptr.dtype.element_ty
    scale = tl.load(scale_ptr + c, mask=inside, other=0.0).to(real)
    weight = tl.load(weight_ptr + c, mask=inside, other=0.0).to(real)
    grad_scale = tl.zeros([BLOCK_C], real)
    grad_weight = tl.zeros([BLOCK_C], real)
    row = program
    while row < R:
        at = row * C + c
        stream = tl.load(stream_ptr + at, mask=inside, other=0.0).to(real)
        grad_normed = tl.load(grad_normed_ptr + at, mask=inside, other=0.0).to(real)
        unit, factor = _unit_rms(stream, inside, C, eps)
        grad_weight += grad_normed * unit
        grad_x = _unit_rms_backward(grad_normed * weight, unit, factor, inside, C)
        grad_x += tl.load(grad_stream_ptr + at, mask=inside, other=0.0).to(real)
        tl.store(grad_x_ptr + at, grad_x, mask=inside)
        kept = grad_x * tl.load(drop_ptr + row)
        tl.store(grad_branch_ptr + at, kept * scale, mask=inside)
        grad_scale += kept * tl.load(branch_ptr + at, mask=inside, other=0.0).to(real)
        row += tl.num_programs(0)
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
    BLOCK_C: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, BLOCK_C)
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
    BLOCK_C: tl.constexpr,
):
    program = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, BLOCK_C)
    inside = c < C
    real = weights_ptr.dtype.element_ty
    for part in tl.static_range(2):
        weight = tl.load(weights_ptr + part * C + c, mask=inside, other=0.0)
        grad_weight = tl.zeros([BLOCK_C], real)
        row = program
        while row < R:
            at = (row * 3 + part) * C + c
            grad = tl.load(grad_ptr + at, mask=inside, other=0.0).to(real)
            x = tl.load(qkv_ptr + at, mask=inside, other=0.0).to(real)
            unit, factor = _unit_rms(x, inside, C, eps)
            grad_weight += grad * unit
            grad_x = _unit_rms_backward(grad * weight, unit, factor, inside, C)
            tl.store(grad_qkv_ptr + at, grad_x, mask=inside)
            row += tl.num_programs(0)
        at = (program * 2 + part) * C + c
        tl.store(grad_weights_ptr + at, grad_weight, mask=inside)
    row = program
    while row < R:
        at = (row * 3 + 2) * C + c
        tl.store(grad_qkv_ptr + at, tl.load(grad_ptr + at, mask=inside), mask=inside)
        row += tl.num_programs(0)


def add_norm_forward(
    x: Tensor, branch: Tensor, scale: Tensor, drop: Tensor, weight: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """``[R, C]`` stream in the dtype of ``x``, and its norm in that of ``branch``. Contiguous."""
    R, C = x.shape
    stream, normed = torch.empty_like(x), torch.empty_like(branch)
    if R > 0:  # an empty grid is a launch error
        _add_norm_kernel[(R,)](
            x, branch, scale, drop, weight, stream, normed, C, eps, **_options(C)
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
    """Gradients of ``x`` and ``branch`` ``[R, C]``, of ``scale`` and ``weight`` ``[C]``."""
    R, C = stream.shape
    grad_x, grad_branch = torch.empty_like(stream), torch.empty_like(branch)
    programs = min(R, PROGRAMS)
    grad_scale, grad_weight = drop.new_empty(2, programs, C).unbind()
    if R > 0:
        _add_norm_backward_kernel[(programs,)](
            grad_stream, grad_normed, stream, branch, scale, drop, weight,
            grad_x, grad_branch, grad_scale, grad_weight, R, C, eps, **_options(C),
        )  # fmt: skip
    return grad_x, grad_branch, grad_scale.sum(0), grad_weight.sum(0)


def qk_norm_forward(qkv: Tensor, weights: Tensor, eps: float) -> Tensor:
    """``[R, 3, C]`` with its first two parts normalised. Contiguous."""
    R, _, C = qkv.shape
    normed = torch.empty_like(qkv)
    if R > 0:
        _qk_norm_kernel[(R,)](qkv, weights, normed, C, eps, **_options(C))
    return normed


def qk_norm_backward(
    grad: Tensor, qkv: Tensor, weights: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Gradients of ``qkv`` ``[R, 3, C]`` and of ``weights`` ``[2, C]``."""
    R, _, C = qkv.shape
    grad_qkv = torch.empty_like(qkv)
    programs = min(R, PROGRAMS)
    grad_weights = weights.new_empty(programs, 2, C)
    if R > 0:
        _qk_norm_backward_kernel[(programs,)](
            grad, qkv, weights, grad_qkv, grad_weights, R, C, eps, **_options(C)
        )
    return grad_qkv, grad_weights.sum(0)


def _options(C: int) -> dict[str, int]:
    if C > MAX_FEATURES:
        raise ValueError(f"the fused norms take at most {MAX_FEATURES} features, got {C}")
    block = triton.next_power_of_2(C)
    return {"BLOCK_C": block, "num_warps": 4 if block <= 1024 else 8}
