"""``ivn::rms_norm``, ``add_norm`` and ``qk_norm``: RMSNorms, alone and fused with other steps.

Legend: R rows (tokens), C features.
"""

import torch
from torch import Tensor

from ._dtype import wide_dtype
from ._library import NORM_PARTS, TYPES, call
from ._register import operation


def rms_norm(x: Tensor, weight: Tensor, *, eps: float = 1e-6, dtype: torch.dtype) -> Tensor:
    """Returns ``x / sqrt(mean(x^2) + eps) * weight`` over the last dimension.

    Args:
        x: ``[..., C]``. Differentiable, as is the weight.
        weight: ``[C]``.
        dtype: dtype of the result, that of ``x`` or a narrower one.

    Returns:
        ``[..., C]`` in ``dtype``, computed in fp32, or in fp64 if ``x`` is fp64.
    """
    C = x.shape[-1] if x.ndim else 0
    if C == 0 or not x.is_floating_point():
        raise ValueError(f"rms_norm: x is {x.dtype} {list(x.shape)}, expected floating [..., C]")
    _check_vectors("rms_norm", x, C, weight=weight)
    rows, real = x.reshape(-1, C).contiguous(), wide_dtype(x.dtype)
    return _rms_norm(rows, weight.to(real).contiguous(), eps, dtype).view(x.shape)


def add_norm(
    x: Tensor, branch: Tensor, scale: Tensor, drop: Tensor, weight: Tensor, *, eps: float = 1e-6
) -> tuple[Tensor, Tensor]:
    r"""Returns a residual step and the norm that the next branch begins with.

    .. math:: s = x + d \, \gamma \, b, \qquad y = s / \sqrt{\overline{s^2} + \epsilon} \; w

    Args:
        x: residual stream, ``[..., C]``. Differentiable, as are branch, scale and weight.
        branch: output of a block's branch, ``[..., C]``, in the dtype of ``x`` or another.
        scale: LayerScale, ``[C]``.
        drop: factor of each row's branch, ``[...]``: 0 where stochastic depth drops it.
        weight: weight of the norm, ``[C]``.

    Returns:
        ``s`` in the dtype of ``x`` and ``y`` in that of ``branch``, computed in fp32, or in fp64
        if ``x`` is fp64; ``y`` from the rounded ``s``.
    """
    C = x.shape[-1] if x.ndim else 0
    _check_devices("add_norm", x, x=x)
    if C == 0 or branch.shape != x.shape or drop.shape != x.shape[:-1]:
        raise ValueError(
            f"add_norm: x is {list(x.shape)}, branch {list(branch.shape)}, drop "
            f"{list(drop.shape)}, expected [..., C], the same, and [...]"
        )
    _check_vectors("add_norm", x, C, scale=scale, weight=weight)
    _check_devices("add_norm", x, branch=branch, drop=drop)
    stream, normed = _add_norm(
        x.reshape(-1, C).contiguous(),
        branch.reshape(-1, C).contiguous(),
        scale.contiguous(),
        # Copied before it is flattened: for one clip, flattening alone would keep the stride 0.
        drop.detach().to(wide_dtype(x.dtype)).contiguous().view(-1),
        weight.contiguous(),
        eps,
    )
    return stream.view(x.shape), normed.view(x.shape)


def qk_norm(qkv: Tensor, q_weight: Tensor, k_weight: Tensor, *, eps: float = 1e-6) -> Tensor:
    """Returns queries and keys divided by their root mean square over all heads, times a weight.

    Args:
        qkv: queries, keys and values, ``[..., 3 * C]``. Differentiable, as are the weights.
        q_weight, k_weight: ``[C]``.

    Returns:
        ``[..., 3 * C]`` in the same dtype, with the values unchanged; computed in fp32, or fp64.
    """
    width = qkv.shape[-1] if qkv.ndim else 0
    C = width // 3
    if C == 0 or width % 3:
        raise ValueError(f"qk_norm: qkv is {list(qkv.shape)}, expected [..., 3 * C]")
    _check_devices("qk_norm", qkv, qkv=qkv)
    _check_vectors("qk_norm", qkv, C, q_weight=q_weight, k_weight=k_weight)
    weights = torch.stack([q_weight, k_weight]).to(wide_dtype(qkv.dtype))
    return _qk_norm(qkv.reshape(-1, 3, C).contiguous(), weights, eps).view(qkv.shape)


def rms_norm_reference(x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    """Computes ``ivn::rms_norm`` in plain PyTorch."""
    unit = _unit_rms(x.to(weight.dtype), eps)
    return (unit * weight).to(dtype)


def add_norm_reference(
    x: Tensor, branch: Tensor, scale: Tensor, drop: Tensor, weight: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Computes ``ivn::add_norm`` in plain PyTorch."""
    real = wide_dtype(x.dtype)
    step = branch.to(real) * scale.to(real) * drop[:, None].to(real)
    stream = (x.to(real) + step).to(x.dtype)
    unit = _unit_rms(stream.to(real), eps)
    return stream, (unit * weight.to(real)).to(branch.dtype)


def qk_norm_reference(qkv: Tensor, weights: Tensor, eps: float) -> Tensor:
    """Computes ``ivn::qk_norm`` in plain PyTorch: ``qkv`` ``[R, 3, C]``, ``weights`` ``[2, C]``."""
    unit = _unit_rms(qkv[:, :2].to(weights.dtype), eps)
    return torch.cat([(unit * weights).to(qkv.dtype), qkv[:, 2:]], dim=1)


def _unit_rms(x: Tensor, eps: float) -> Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)


@operation(fake="x, weight", triton="rms_norm_backward")
def _rms_norm_backward(
    grad: Tensor, x: Tensor, weight: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    grad_x, grad_weight = torch.empty_like(x), weight.new_empty(NORM_PARTS, x.shape[1])
    pointers, types = (grad, x, weight, grad_x, grad_weight), (TYPES[x.dtype], TYPES[grad.dtype])
    call("ivn_rms_norm_backward", x.device, *pointers, *x.shape, eps, *types)
    return grad_x, grad_weight.sum(0)


@operation(
    fake=lambda x, dtype: torch.empty_like(x, dtype=dtype),
    triton="rms_norm_forward",
    saves="x, weight, eps",
    gradients={"x, weight": _rms_norm_backward},
)
def _rms_norm(x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    normed = torch.empty_like(x, dtype=dtype)
    _check_types("rms_norm", x, normed)
    types = (TYPES[x.dtype], TYPES[dtype])
    call("ivn_rms_norm", x.device, x, weight, normed, *x.shape, eps, *types)
    return normed


@operation(
    fake=lambda stream, branch, drop: (
        torch.empty_like(stream),
        torch.empty_like(branch),
        drop.new_empty(stream.shape[1]),
        drop.new_empty(stream.shape[1]),
    ),
    triton="add_norm_backward",
)
def _add_norm_backward(
    grad_stream: Tensor,
    grad_normed: Tensor,
    stream: Tensor,
    branch: Tensor,
    scale: Tensor,
    drop: Tensor,
    weight: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    _check_types("add_norm", stream, branch)
    grad_x, grad_branch = torch.empty_like(stream), torch.empty_like(branch)
    grad_scale, grad_weight = drop.new_empty(2, NORM_PARTS, stream.shape[1]).unbind()
    given = (grad_stream, grad_normed, stream, branch, scale.to(drop.dtype), drop)
    made = (grad_x, grad_branch, grad_scale, grad_weight)
    types = (TYPES[stream.dtype], TYPES[branch.dtype])
    pointers = (*given, weight.to(drop.dtype), *made)
    call("ivn_add_norm_backward", stream.device, *pointers, *stream.shape, eps, *types)
    return grad_x, grad_branch, grad_scale.sum(0), grad_weight.sum(0)


@operation(
    fake="x, branch",
    triton="add_norm_forward",
    results="stream, normed",
    saves="stream, branch, scale, drop, weight, eps",
    gradients={"x, branch, scale, weight": _add_norm_backward},
)
def _add_norm(
    x: Tensor, branch: Tensor, scale: Tensor, drop: Tensor, weight: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    _check_types("add_norm", x, branch)
    stream, normed = torch.empty_like(x), torch.empty_like(branch)
    vectors = (scale.to(drop.dtype), drop, weight.to(drop.dtype))
    types = (TYPES[x.dtype], TYPES[branch.dtype])
    call("ivn_add_norm", x.device, x, branch, *vectors, stream, normed, *x.shape, eps, *types)
    return stream, normed


@operation(fake="qkv, weights", triton="qk_norm_backward")
def _qk_norm_backward(
    grad: Tensor, qkv: Tensor, weights: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    _check_types("qk_norm", qkv, qkv)
    grad_qkv = torch.empty_like(qkv)
    R, _, C = qkv.shape
    grad_weights = weights.new_empty(NORM_PARTS, 2, C)
    sizes = (R, C, eps, TYPES[qkv.dtype])
    call("ivn_qk_norm_backward", qkv.device, grad, qkv, weights, grad_qkv, grad_weights, *sizes)
    return grad_qkv, grad_weights.sum(0)


@operation(
    fake="qkv",
    triton="qk_norm_forward",
    saves="qkv, weights, eps",
    gradients={"qkv, weights": _qk_norm_backward},
)
def _qk_norm(qkv: Tensor, weights: Tensor, eps: float) -> Tensor:
    _check_types("qk_norm", qkv, qkv)
    normed = torch.empty_like(qkv)
    R, _, C = qkv.shape
    call("ivn_qk_norm", qkv.device, qkv, weights, normed, R, C, eps, TYPES[qkv.dtype])
    return normed


def _check_vectors(op: str, x: Tensor, C: int, **vectors: Tensor) -> None:
    for name, vector in vectors.items():
        if vector.shape != (C,):
            raise ValueError(f"{op}: {name} is {list(vector.shape)}, expected [{C}]")
    _check_devices(op, x, **vectors)


def _check_devices(op: str, like: Tensor, **others: Tensor) -> None:
    for name, other in others.items():
        if other.device != like.device or not other.is_floating_point():
            raise ValueError(
                f"{op}: {name} is {other.dtype} on {other.device}, expected floating point on "
                f"{like.device}"
            )


def _check_types(op: str, x: Tensor, branch: Tensor) -> None:
    same_or_narrow = branch.dtype == x.dtype or (x.dtype, branch.dtype) == _WIDE_STREAM
    if x.dtype not in TYPES or not same_or_narrow:
        raise ValueError(
            f"{op}: x is {x.dtype} and branch {branch.dtype}, expected on a CPU both fp32, bf16 or "
            "fp64, or an fp32 x with a bf16 branch"
        )


_WIDE_STREAM = (torch.float32, torch.bfloat16)
