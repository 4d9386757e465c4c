"""Row-wise cosine distance between predicted and target tokens, and its gradient.

One program owns one row, so a row is read once and both norms and the dot product
are reduced in registers. Shapes: R rows (masked tokens), D features. The dtype of the
distance, fp32 or fp64, is the precision of everything in between.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

MAX_FEATURES = 8192  # a row must fit the registers of one program


@triton.jit
def _forward_kernel(
    pred_ptr,  # [R, D]
    target_ptr,  # [R, D]
    distance_ptr,  # [R] fp32 or fp64
    D,
    eps,
    BLOCK_D: tl.constexpr,
):
    # int64: R * D passes 2**31 at 1.4M tokens of 1536 features
    row = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, BLOCK_D)
    inside = d < D
    real = distance_ptr.dtype.element_ty
    p = tl.load(pred_ptr + row * D + d, mask=inside, other=0.0).to(real)
    t = tl.load(target_ptr + row * D + d, mask=inside, other=0.0).to(real)

    p_norm = tl.maximum(tl.sqrt(tl.sum(p * p)), eps)
    t_norm = tl.maximum(tl.sqrt(tl.sum(t * t)), eps)
    tl.store(distance_ptr + row, 1.0 - tl.sum(p * t) / (p_norm * t_norm))


@triton.jit
def _backward_kernel(
    grad_ptr,  # [R] fp32 or fp64, gradient of the distance
    pred_ptr,  # [R, D]
    target_ptr,  # [R, D]
    grad_pred_ptr,  # [R, D]
    D,
    eps,
    BLOCK_D: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, BLOCK_D)
    inside = d < D
    real = grad_ptr.dtype.element_ty
    p = tl.load(pred_ptr + row * D + d, mask=inside, other=0.0).to(real)
    t = tl.load(target_ptr + row * D + d, mask=inside, other=0.0).to(real)

    # Norms are recomputed: two reductions over a row already in registers cost less
    # than two more [R] buffers kept from the forward pass.
    p_length = tl.sqrt(tl.sum(p * p))
    p_norm = tl.maximum(p_length, eps)
    t_norm = tl.maximum(tl.sqrt(tl.sum(t * t)), eps)
    cosine = tl.sum(p * t) / (p_norm * t_norm)

    # Below eps the norm is a constant, so only the dot product has a gradient.
    radial = tl.where(p_length > eps, cosine / (p_norm * p_norm), 0.0)
    grad_p = -tl.load(grad_ptr + row) * (t / (p_norm * t_norm) - radial * p)
    tl.store(grad_pred_ptr + row * D + d, grad_p, mask=inside)


def cosine_distance_forward(pred: Tensor, target: Tensor, eps: float) -> Tensor:
    """``[R, D], [R, D] -> [R]`` in fp32; in fp64 for an fp64 ``pred``. Both inputs contiguous."""
    R, D = pred.shape
    precision = torch.float64 if pred.dtype == torch.float64 else torch.float32
    distance = torch.empty(R, device=pred.device, dtype=precision)
    if R > 0:  # an empty grid is a launch error
        _forward_kernel[(R,)](pred, target, distance, D, eps, BLOCK_D=_block(D))
    return distance


def cosine_distance_backward(grad: Tensor, pred: Tensor, target: Tensor, eps: float) -> Tensor:
    """``[R], [R, D], [R, D] -> [R, D]`` in the dtype of ``pred``. All inputs contiguous."""
    R, D = pred.shape
    grad_pred = torch.empty_like(pred)
    if R > 0:
        _backward_kernel[(R,)](grad, pred, target, grad_pred, D, eps, BLOCK_D=_block(D))
    return grad_pred


def _block(D: int) -> int:
    if D > MAX_FEATURES:
        raise ValueError(f"cosine_distance supports at most {MAX_FEATURES} features, got {D}")
    return triton.next_power_of_2(D)
