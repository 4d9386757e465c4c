"""Row-wise cosine distance between normalised predictions and target tokens, and its gradients.

A program owns one row at a time: it is read once, and the statistics, both lengths and the dot
product are reduced in registers. The backward pass reduces them again, which costs less than to
keep rows from the forward pass. Gradients of weights are summed over the rows of a program and then
over programs: no atomics, the same bits each time. Shapes: R rows (masked tokens), D features.
The dtype of the distance, fp32 or fp64, is the precision of everything in between.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ._rows import backward_options, layer_norm, layer_norm_backward, row_options, sums


@triton.jit
def _forward_kernel(
    pred_ptr,  # [R, D]
    target_ptr,  # [R, D]
    affine_ptr,  # [2, D] fp32 or fp64: weight, bias
    distance_ptr,  # [R] fp32 or fp64
    D,
    norm_eps,
    eps,
    BLOCK: tl.constexpr,
):
    # int64: R * D passes 2**31 at 1.4M tokens of 1536 features
    row = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, BLOCK)
    inside = d < D
    real = distance_ptr.dtype.element_ty
    pred = tl.load(pred_ptr + row * D + d, mask=inside, other=0.0).to(real)
    t = tl.load(target_ptr + row * D + d, mask=inside, other=0.0).to(real)
    weight = tl.load(affine_ptr + d, mask=inside, other=0.0)
    bias = tl.load(affine_ptr + D + d, mask=inside, other=0.0)

    unit, _ = layer_norm(pred, inside, D, norm_eps)
    p = unit * weight + bias
    pp, pt = sums(p * p, p * t)
    lengths = tl.maximum(tl.sqrt(pp), eps) * tl.maximum(tl.sqrt(tl.sum(t * t)), eps)
    tl.store(distance_ptr + row, 1.0 - pt / lengths)


@triton.jit
def _backward_kernel(
    grad_ptr,  # [R] fp32 or fp64, gradient of the distance
    pred_ptr,  # [R, D]
    target_ptr,  # [R, D]
    affine_ptr,  # [2, D] fp32 or fp64
    grad_pred_ptr,  # [R, D]
    grad_affine_ptr,  # [P, 2, D] fp32 or fp64
    R,
    D,
    norm_eps,
    eps,
    BLOCK: tl.constexpr,
    STAGES: tl.constexpr,
):
    program = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, BLOCK)
    inside = d < D
    real = grad_ptr.dtype.element_ty
    weight = tl.load(affine_ptr + d, mask=inside, other=0.0)
    bias = tl.load(affine_ptr + D + d, mask=inside, other=0.0)
    grad_weight = tl.zeros([BLOCK], real)
    grad_bias = tl.zeros([BLOCK], real)
    for index in tl.range(tl.program_id(0), R, tl.num_programs(0), num_stages=STAGES):
        row = tl.cast(index, tl.int64)
        pred = tl.load(pred_ptr + row * D + d, mask=inside, other=0.0).to(real)
        t = tl.load(target_ptr + row * D + d, mask=inside, other=0.0).to(real)
        grad = tl.load(grad_ptr + row)

        unit, factor = layer_norm(pred, inside, D, norm_eps)
        p = unit * weight + bias
        pp, pt = sums(p * p, p * t)
        p_length = tl.sqrt(pp)
        p_norm = tl.maximum(p_length, eps)
        t_norm = tl.maximum(tl.sqrt(tl.sum(t * t)), eps)
        cosine = pt / (p_norm * t_norm)

        # Below eps the length is a constant, so only the dot product has a gradient.
        radial = tl.where(p_length > eps, cosine / (p_norm * p_norm), 0.0)
        grad_p = grad * (radial * p - t / (p_norm * t_norm))
        grad_weight += grad_p * unit
        grad_bias += grad_p
        grad_pred = layer_norm_backward(grad_p * weight, unit, factor, D)
        tl.store(grad_pred_ptr + row * D + d, grad_pred, mask=inside)
    at = program * 2 * D + d
    tl.store(grad_affine_ptr + at, grad_weight, mask=inside)
    tl.store(grad_affine_ptr + at + D, grad_bias, mask=inside)


def cosine_distance_forward(
    pred: Tensor, target: Tensor, affine: Tensor, norm_eps: float, eps: float
) -> Tensor:
    """Returns ``[R]`` in the dtype of ``affine``. All inputs are contiguous."""
    R, D = pred.shape
    distance = affine.new_empty(R)
    if R > 0:  # an empty grid is a launch error
        _forward_kernel[(R,)](
            pred, target, affine, distance, D, norm_eps, eps, **row_options("cosine_distance", D)
        )
    return distance


def cosine_distance_backward(
    grad: Tensor, pred: Tensor, target: Tensor, affine: Tensor, norm_eps: float, eps: float
) -> tuple[Tensor, Tensor]:
    """Returns gradients of ``pred``, in its dtype, and ``affine``. All inputs are contiguous."""
    R, D = pred.shape
    grad_pred = torch.empty_like(pred)
    count, options = backward_options("cosine_distance", pred)
    grad_affine = affine.new_empty(count, 2, D)
    if R > 0:
        _backward_kernel[(count,)](
            grad, pred, target, affine, grad_pred, grad_affine, R, D, norm_eps, eps, **options
        )
    return grad_pred, grad_affine.sum(0)
