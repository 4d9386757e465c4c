"""LayerNorms shifted and scaled row by row, fused with the residual step before, and gradients.

A program owns one row at a time: it is read once and reduced in registers. Gradients of weights
are summed over the rows of a program and then over programs: no atomics, the same bits each time.
Shapes: R rows, W features. Statistics are in fp32, or fp64. The rows of shift, scale and gate may
lie further apart than W: they are parts of wider rows.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ._rows import backward_options, layer_norm, layer_norm_backward, row_options


@triton.jit
def _modulate_kernel(
    x_ptr,  # [R, W]
    gate_ptr,  # [R, W], or None: no residual step
    branch_ptr,  # [R, W], or None
    shift_ptr,  # [R, W]
    scale_ptr,  # [R, W]
    affine_ptr,  # [2, W] fp32 or fp64, or None: no weight, no bias
    stream_ptr,  # [R, W], or None
    out_ptr,  # [R, W]
    gate_stride,
    shift_stride,
    scale_stride,
    W,
    eps,
    BLOCK: tl.constexpr,
):
    # int64: R * W passes 2**31 at 1.4M tokens of 1536 features
    row = tl.program_id(0).to(tl.int64)
    w = tl.arange(0, BLOCK)
    inside = w < W
    at = row * W + w
    real = tl.float64 if x_ptr.dtype.element_ty == tl.float64 else tl.float32
    x = tl.load(x_ptr + at, mask=inside, other=0.0).to(real)
    shift = tl.load(shift_ptr + row * shift_stride + w, mask=inside, other=0.0).to(real)
    scale = tl.load(scale_ptr + row * scale_stride + w, mask=inside, other=0.0).to(real)
    if branch_ptr is not None:
        gate = tl.load(gate_ptr + row * gate_stride + w, mask=inside, other=0.0).to(real)
        branch = tl.load(branch_ptr + at, mask=inside, other=0.0).to(real)
        stream = (x + gate * branch).to(stream_ptr.dtype.element_ty)
        tl.store(stream_ptr + at, stream, mask=inside)
        x = stream.to(real)  # the rounded stream, which the backward pass reads
    normed, _ = layer_norm(x, inside, W, eps)
    if affine_ptr is not None:
        normed *= tl.load(affine_ptr + w, mask=inside, other=0.0)
        normed += tl.load(affine_ptr + W + w, mask=inside, other=0.0)
    tl.store(out_ptr + at, normed * (1.0 + scale) + shift, mask=inside)


@triton.jit
def _modulate_backward_kernel(
    grad_stream_ptr,  # [R, W], or None: no residual step
    grad_out_ptr,  # [R, W]
    stream_ptr,  # [R, W], what was normalised
    gate_ptr,  # [R, W], or None
    branch_ptr,  # [R, W], or None
    scale_ptr,  # [R, W]
    affine_ptr,  # [2, W] fp32 or fp64, or None
    grad_x_ptr,  # [R, W]
    grad_gate_ptr,  # [R, W], or None
    grad_branch_ptr,  # [R, W], or None
    grad_scale_ptr,  # [R, W]
    grad_affine_ptr,  # [P, 2, W] fp32 or fp64, or None
    gate_stride,
    scale_stride,
    R,
    W,
    eps,
    BLOCK: tl.constexpr,
    STAGES: tl.constexpr,
):
    program = tl.program_id(0).to(tl.int64)
    w = tl.arange(0, BLOCK)
    inside = w < W
    real = tl.float64 if stream_ptr.dtype.element_ty == tl.float64 else tl.float32
    if affine_ptr is not None:
        weight = tl.load(affine_ptr + w, mask=inside, other=0.0)
        bias = tl.load(affine_ptr + W + w, mask=inside, other=0.0)
        grad_weight = tl.zeros([BLOCK], real)
        grad_bias = tl.zeros([BLOCK], real)
    for index in tl.range(tl.program_id(0), R, tl.num_programs(0), num_stages=STAGES):
        row = tl.cast(index, tl.int64)
        at = row * W + w
        stream = tl.load(stream_ptr + at, mask=inside, other=0.0).to(real)
        grad_out = tl.load(grad_out_ptr + at, mask=inside, other=0.0).to(real)
        scale = tl.load(scale_ptr + row * scale_stride + w, mask=inside, other=0.0).to(real)
        if branch_ptr is not None:
            gate = tl.load(gate_ptr + row * gate_stride + w, mask=inside, other=0.0).to(real)
            branch = tl.load(branch_ptr + at, mask=inside, other=0.0).to(real)
            grad_stream = tl.load(grad_stream_ptr + at, mask=inside, other=0.0).to(real)

        unit, factor = layer_norm(stream, inside, W, eps)
        grad_normed = grad_out * (1.0 + scale)
        if affine_ptr is not None:
            tl.store(grad_scale_ptr + at, grad_out * (unit * weight + bias), mask=inside)
            grad_weight += grad_normed * unit
            grad_bias += grad_normed
            grad_unit = grad_normed * weight
        else:
            tl.store(grad_scale_ptr + at, grad_out * unit, mask=inside)
            grad_unit = grad_normed
        grad_x = layer_norm_backward(grad_unit, unit, factor, W)
        if branch_ptr is not None:
            grad_x += grad_stream
            tl.store(grad_gate_ptr + at, grad_x * branch, mask=inside)
            tl.store(grad_branch_ptr + at, grad_x * gate, mask=inside)
        tl.store(grad_x_ptr + at, grad_x, mask=inside)
    if affine_ptr is not None:
        at = program * 2 * W + w
        tl.store(grad_affine_ptr + at, grad_weight, mask=inside)
        tl.store(grad_affine_ptr + at + W, grad_bias, mask=inside)


def modulate_forward(x: Tensor, shift: Tensor, scale: Tensor, affine: Tensor, eps: float) -> Tensor:
    """Returns ``[R, W]`` in the dtype of ``x``; ``affine`` is ``[2, W]``, or empty ``[0, W]``.

    Rows of ``shift`` and ``scale`` may be any distance apart; other tensors are contiguous.
    """
    out = torch.empty_like(x)
    _launch_forward(x, None, None, shift, scale, affine, None, out, eps)
    return out


def gated_modulate_forward(
    x: Tensor, gate: Tensor, branch: Tensor, shift: Tensor, scale: Tensor, affine: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Returns the stream ``[R, W]`` and its modulated norm, in the dtype of ``x``."""
    stream, out = torch.empty_like(x), torch.empty_like(x)
    _launch_forward(x, gate, branch, shift, scale, affine, stream, out, eps)
    return stream, out


def modulate_backward(
    grad: Tensor, x: Tensor, scale: Tensor, affine: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns gradients of ``x`` and ``scale`` ``[R, W]``, and of ``affine``."""
    grad_x, grad_scale = torch.empty_like(x), torch.empty_like(x)
    grad_affine = _launch_backward(
        None, grad, x, None, None, scale, affine, grad_x, None, None, grad_scale, eps
    )
    return grad_x, grad_scale, grad_affine


def gated_modulate_backward(
    grad_stream: Tensor, grad: Tensor, stream: Tensor, gate: Tensor, branch: Tensor, scale: Tensor,
    affine: Tensor, eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Returns gradients of ``x``, ``gate``, ``branch``, ``scale`` ``[R, W]``, and ``affine``."""
    grad_x, grad_gate = torch.empty_like(stream), torch.empty_like(stream)
    grad_branch, grad_scale = torch.empty_like(stream), torch.empty_like(stream)
    grad_affine = _launch_backward(
        grad_stream, grad, stream, gate, branch, scale, affine,
        grad_x, grad_gate, grad_branch, grad_scale, eps,
    )  # fmt: skip
    return grad_x, grad_gate, grad_branch, grad_scale, grad_affine


def _launch_forward(x, gate, branch, shift, scale, affine, stream, out, eps) -> None:
    R, W = x.shape
    if R == 0:  # an empty grid is a launch error
        return
    _modulate_kernel[(R,)](
        x, gate, branch, shift, scale, affine if len(affine) else None, stream, out,
        0 if gate is None else gate.stride(0), shift.stride(0), scale.stride(0), W, eps,
        **row_options("modulate", W),
    )  # fmt: skip


def _launch_backward(
    grad_stream, grad, stream, gate, branch, scale, affine,
    grad_x, grad_gate, grad_branch, grad_scale, eps,
) -> Tensor:  # fmt: skip
    R, W = stream.shape
    count, options = backward_options("modulate", stream)
    grad_affine = affine.new_empty(count, len(affine), W)
    present = len(affine) > 0
    if R > 0:
        _modulate_backward_kernel[(count,)](
            grad_stream, grad, stream, gate, branch, scale, affine if present else None,
            grad_x, grad_gate, grad_branch, grad_scale, grad_affine if present else None,
            0 if gate is None else gate.stride(0), scale.stride(0), R, W, eps, **options,
        )  # fmt: skip
    return grad_affine.sum(0)
