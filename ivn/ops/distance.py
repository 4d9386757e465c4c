"""``ivn::cosine_distance``: the objective on tokens that are compared by their direction.

Legend: R rows (tokens), D features.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ._affine import describe, stacked
from ._dtype import wide_dtype
from ._library import NORM_PARTS, TYPES, call
from ._register import operation


def cosine_distance(
    pred: Tensor,
    target: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    norm_eps: float = 1e-5,
    eps: float = 1e-6,
) -> Tensor:
    r"""Returns one minus the cosine between the LayerNorm of each row and its target.

    .. math:: p_r = \frac{x_r - \bar x_r}{\sqrt{\mathrm{var}(x_r) + \epsilon_n}} \, w + b, \qquad
              d_r = 1 - \frac{p_r \cdot t_r}{\max(|p_r|, \epsilon) \, \max(|t_r|, \epsilon)}

    Args:
        pred: predicted tokens before their norm, ``[..., D]``, any floating-point dtype.
            Differentiable, as are weight and bias.
        target: teacher tokens, same shape and device, any floating-point dtype. A constant: no
            gradient flows to it, whatever its ``requires_grad``.
        weight, bias: weight and bias of the norm, ``[D]``.
        norm_eps: number added to the variance.
        eps: lower bound of both lengths, so a zero row has distance 1 and a finite gradient.

    Returns:
        The distance of each row, ``[...]``, computed in fp32; in fp64 if ``pred`` is fp64.

    Example:
        >>> pred = torch.tensor([[3.0, 1.0], [3.0, 1.0]])  # each row's norm is 1, -1
        >>> target = torch.tensor([[1.0, 1.0], [-1.0, 1.0]])
        >>> cosine_distance(pred, target, torch.ones(2), torch.zeros(2))
        tensor([1., 2.])
    """
    if pred.ndim == 0 or pred.shape[-1] == 0 or not pred.is_floating_point():
        raise ValueError(
            f"cosine_distance: pred is {describe(pred)}, expected [..., D], D > 0, in floating "
            "point"
        )
    same = pred.shape == target.shape and pred.device == target.device
    if not (same and target.is_floating_point()):
        raise ValueError(
            f"cosine_distance: pred is {describe(pred)} but target is {describe(target)}, expected "
            "the same shape in floating point on the same device"
        )
    affine = stacked("cosine_distance", pred, weight, bias)
    rows = pred.reshape(-1, pred.shape[-1]).contiguous()
    targets = target.detach().reshape(-1, target.shape[-1]).contiguous()
    return _cosine_distance(rows, targets, affine, norm_eps, eps).reshape(pred.shape[:-1])


def cosine_distance_reference(
    pred: Tensor, target: Tensor, affine: Tensor, norm_eps: float, eps: float
) -> Tensor:
    """Computes ``ivn::cosine_distance`` in plain PyTorch; ``affine`` is ``[2, D]``."""
    wide = wide_dtype(pred.dtype)
    normed = F.layer_norm(pred.to(wide), pred.shape[-1:], affine[0], affine[1], norm_eps)
    p, t = (F.normalize(x, dim=-1, eps=eps) for x in (normed, target.to(wide)))
    return 1.0 - (p * t).sum(dim=-1)


@operation(fake="pred, affine", triton="cosine_distance_backward")
def _cosine_distance_backward(
    grad: Tensor, pred: Tensor, target: Tensor, affine: Tensor, norm_eps: float, eps: float
) -> tuple[Tensor, Tensor]:
    grad_pred = torch.empty_like(pred)
    grad_affine = affine.new_empty(NORM_PARTS, *affine.shape)
    target = _readable(pred, target)
    pointers = (grad, pred, target, affine, grad_pred, grad_affine)
    settings = (*pred.shape, norm_eps, eps, TYPES[pred.dtype], TYPES[target.dtype])
    call("ivn_cosine_distance_backward", pred.device, *pointers, *settings)
    return grad_pred, grad_affine.sum(0)


@operation(
    fake=lambda pred, affine: affine.new_empty(pred.shape[0]),
    triton="cosine_distance_forward",
    saves="pred, target, affine, norm_eps, eps",
    gradients={"pred, affine": _cosine_distance_backward},
)
def _cosine_distance(
    pred: Tensor, target: Tensor, affine: Tensor, norm_eps: float, eps: float
) -> Tensor:
    distance = affine.new_empty(len(pred))
    target = _readable(pred, target)
    settings = (*pred.shape, norm_eps, eps, TYPES[pred.dtype], TYPES[target.dtype])
    call("ivn_cosine_distance", pred.device, pred, target, affine, distance, *settings)
    return distance


def _readable(pred: Tensor, target: Tensor) -> Tensor:
    """Returns ``target`` in a dtype that the C++ version reads beside that of ``pred``."""
    if pred.dtype not in TYPES:
        raise ValueError(
            f"cosine_distance: pred is {pred.dtype}, expected on a CPU fp32, bf16 or fp64"
        )
    narrow = target.dtype == torch.bfloat16 and pred.dtype != torch.float64
    return target if narrow else target.to(wide_dtype(pred.dtype))
