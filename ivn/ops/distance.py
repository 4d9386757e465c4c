"""``ivn::cosine_distance``: the stage-two objective on predicted tokens."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ._dtype import wide_dtype
from ._triton import register_triton


def cosine_distance(pred: Tensor, target: Tensor, *, eps: float = 1e-6) -> Tensor:
    r"""One minus the cosine of the angle between matching rows.

    .. math:: d_r = 1 - \frac{p_r \cdot t_r}{\max(|p_r|, \epsilon) \, \max(|t_r|, \epsilon)}

    Args:
        pred: predicted tokens, ``[..., D]``, any floating-point dtype. Differentiable.
        target: teacher tokens, same shape and device, any floating-point dtype. A constant: no
            gradient flows to it, whatever its ``requires_grad``.
        eps: lower bound on either norm, so a zero row has distance 1 and a finite gradient.

    Returns:
        The distance of each row, ``[...]``, computed in fp32; in fp64 if ``pred`` is fp64.

    Example:
        >>> pred = torch.tensor([[3.0, 0.0], [3.0, 0.0]])
        >>> cosine_distance(pred, torch.tensor([[0.0, 2.0], [-1.0, 0.0]]))
        tensor([1., 2.])
    """
    if pred.shape != target.shape or pred.device != target.device or _features(pred) == 0:
        raise ValueError(
            f"pred is {_describe(pred)} but target is {_describe(target)}, expected the same shape "
            "[..., D], D > 0, on the same device"
        )
    if not (pred.is_floating_point() and target.is_floating_point()):
        raise ValueError(f"pred is {pred.dtype} and target {target.dtype}, expected floating point")
    rows = pred.reshape(-1, pred.shape[-1]).contiguous()
    targets = target.detach().reshape(-1, target.shape[-1]).contiguous()
    return _cosine_distance(rows, targets, eps).reshape(pred.shape[:-1])


def cosine_distance_reference(pred: Tensor, target: Tensor, eps: float) -> Tensor:
    """What ``ivn::cosine_distance`` means, in plain PyTorch."""
    p = F.normalize(pred.to(wide_dtype(pred.dtype)), dim=-1, eps=eps)
    t = F.normalize(target.to(wide_dtype(pred.dtype)), dim=-1, eps=eps)
    return 1.0 - (p * t).sum(dim=-1)


def cosine_distance_backward_reference(
    grad: Tensor, pred: Tensor, target: Tensor, eps: float
) -> Tensor:
    """The gradient of :func:`cosine_distance_reference` with respect to ``pred``."""
    p = pred.to(wide_dtype(pred.dtype))
    t = F.normalize(target.to(p.dtype), dim=-1, eps=eps)
    length = p.norm(dim=-1, keepdim=True)
    unit = p / length.clamp_min(eps)
    # Below eps the norm is a constant, so only the dot product has a gradient.
    radial = torch.where(length > eps, (unit * t).sum(-1, keepdim=True), 0.0)
    grad_p = -grad.unsqueeze(-1) * (t - radial * unit) / length.clamp_min(eps)
    return grad_p.to(pred.dtype)


@torch.library.custom_op("ivn::cosine_distance", mutates_args=(), device_types="cpu")
def _cosine_distance(pred: Tensor, target: Tensor, eps: float) -> Tensor:
    return cosine_distance_reference(pred, target, eps)


@torch.library.custom_op("ivn::cosine_distance_backward", mutates_args=(), device_types="cpu")
def _cosine_distance_backward(grad: Tensor, pred: Tensor, target: Tensor, eps: float) -> Tensor:
    return cosine_distance_backward_reference(grad, pred, target, eps)


register_triton(_cosine_distance, "cosine_distance_forward")
register_triton(_cosine_distance_backward, "cosine_distance_backward")


@_cosine_distance.register_fake
def _(pred: Tensor, target: Tensor, eps: float) -> Tensor:
    return pred.new_empty(pred.shape[0], dtype=wide_dtype(pred.dtype))


@_cosine_distance_backward.register_fake
def _(grad: Tensor, pred: Tensor, target: Tensor, eps: float) -> Tensor:
    return torch.empty_like(pred)


def _save_inputs(ctx, inputs, output) -> None:
    pred, target, ctx.eps = inputs
    ctx.save_for_backward(pred, target)


def _backward(ctx, grad: Tensor):
    pred, target = ctx.saved_tensors
    return _cosine_distance_backward(grad.contiguous(), pred, target, ctx.eps), None, None


_cosine_distance.register_autograd(_backward, setup_context=_save_inputs)


def _features(x: Tensor) -> int:
    return x.shape[-1] if x.ndim else 0


def _describe(x: Tensor) -> str:
    return f"{list(x.shape)} on {x.device}"
