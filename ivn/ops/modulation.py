"""``ivn::modulate`` and ``ivn::gated_modulate``: adaptive LayerNorms (AdaLN).

Legend: R rows (tokens), W features.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ._affine import describe, stacked
from ._dtype import wide_dtype
from ._library import NORM_PARTS, TYPES, call
from ._register import operation


def modulate(
    x: Tensor,
    shift: Tensor,
    scale: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    *,
    eps: float = 1e-6,
) -> Tensor:
    r"""Returns an adaptive LayerNorm (Peebles and Xie, arXiv 2212.09748).

    .. math:: y = \left(\frac{x - \bar x}{\sqrt{\mathrm{var}(x) + \epsilon}} \, w + b\right)
              (1 + \mathrm{scale}) + \mathrm{shift}

    Args:
        x: rows, ``[..., W]``. Differentiable, like all other arguments.
        shift, scale: shift and scale of each row, like ``x``. They may be chunks of one wider
            tensor: no copy is made.
        weight, bias: weight and bias of the LayerNorm, ``[W]``, or both None.

    Returns:
        ``[..., W]`` in the dtype of ``x``, computed in fp32, or in fp64 if ``x`` is fp64.
    """
    affine = _checked_affine("modulate", x, weight, bias, shift=shift, scale=scale)
    out = _modulate(_rows(x).contiguous(), _rows(shift), _rows(scale), affine, eps)
    return out.view(x.shape)


def gated_modulate(
    x: Tensor,
    gate: Tensor,
    branch: Tensor,
    shift: Tensor,
    scale: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    *,
    eps: float = 1e-6,
) -> tuple[Tensor, Tensor]:
    """Returns the residual step ``s = x + gate * branch`` and :func:`modulate` of ``s``.

    Args:
        x: residual stream, ``[..., W]``. Differentiable, like all other arguments.
        gate: gate of each row, like ``x``; it may be a chunk of a wider tensor.
        branch: output of a block, like ``x``.
        shift, scale, weight, bias: arguments of :func:`modulate` for the norm that comes next.

    Returns:
        ``s`` and the modulated norm of the rounded ``s``, both like ``x``.
    """
    rows = {"gate": gate, "branch": branch, "shift": shift, "scale": scale}
    affine = _checked_affine("gated_modulate", x, weight, bias, **rows)
    stream, out = _gated_modulate(
        _rows(x).contiguous(), _rows(gate), _rows(branch).contiguous(), _rows(shift), _rows(scale),
        affine, eps,
    )  # fmt: skip
    return stream.view(x.shape), out.view(x.shape)


def modulate_reference(
    x: Tensor, shift: Tensor, scale: Tensor, affine: Tensor, eps: float
) -> Tensor:
    """Computes ``ivn::modulate`` in plain PyTorch; ``affine`` is ``[2, W]``, or ``[0, W]``."""
    real = wide_dtype(x.dtype)
    weight, bias = affine if len(affine) else (None, None)
    normed = F.layer_norm(x.to(real), x.shape[-1:], weight, bias, eps)
    return (normed * (1 + scale.to(real)) + shift.to(real)).to(x.dtype)


def gated_modulate_reference(
    x: Tensor,
    gate: Tensor,
    branch: Tensor,
    shift: Tensor,
    scale: Tensor,
    affine: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """Computes ``ivn::gated_modulate`` in plain PyTorch."""
    real = wide_dtype(x.dtype)
    stream = (x.to(real) + gate.to(real) * branch.to(real)).to(x.dtype)
    return stream, modulate_reference(stream, shift, scale, affine, eps)


@operation(fake="x, x, affine", triton="modulate_backward")
def _modulate_backward(
    grad: Tensor, x: Tensor, scale: Tensor, affine: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    grad_x, grad_scale = torch.empty_like(x), torch.empty_like(x)
    grad_affine = affine.new_empty(NORM_PARTS, 2, x.shape[1])
    given = (0, grad, x, 0, 0, scale.data_ptr(), _present(affine))
    made = (grad_x, 0, 0, grad_scale, grad_affine)
    sizes = (0, scale.stride(0), *x.shape, eps, _type("modulate", x))
    call("ivn_modulate_backward", x.device, *given, *made, *sizes)
    return grad_x, grad_scale, grad_affine.sum(0)[: len(affine)].contiguous()


@operation(
    fake="x",
    triton="modulate_forward",
    saves="x, scale, affine, eps",
    gradients={"x, scale, affine": _modulate_backward, "shift": lambda grad, *_: grad},
)
def _modulate(x: Tensor, shift: Tensor, scale: Tensor, affine: Tensor, eps: float) -> Tensor:
    out = torch.empty_like(x)
    rows = (shift.data_ptr(), scale.data_ptr(), _present(affine))
    strides = (0, shift.stride(0), scale.stride(0))
    pointers = (x, 0, 0, *rows, 0, out)
    call("ivn_modulate", x.device, *pointers, *strides, *x.shape, eps, _type("modulate", x))
    return out


@operation(fake="stream, stream, stream, stream, affine", triton="gated_modulate_backward")
def _gated_modulate_backward(
    grad_stream: Tensor,
    grad: Tensor,
    stream: Tensor,
    gate: Tensor,
    branch: Tensor,
    scale: Tensor,
    affine: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    grad_x, grad_gate, grad_branch, grad_scale = (torch.empty_like(stream) for _ in range(4))
    grad_affine = affine.new_empty(NORM_PARTS, 2, stream.shape[1])
    rows = (gate.data_ptr(), branch, scale.data_ptr())
    given = (grad_stream, grad, stream, *rows, _present(affine))
    made = (grad_x, grad_gate, grad_branch, grad_scale, grad_affine)
    sizes = (gate.stride(0), scale.stride(0), *stream.shape, eps, _type("gated_modulate", stream))
    call("ivn_modulate_backward", stream.device, *given, *made, *sizes)
    grad_affine = grad_affine.sum(0)[: len(affine)].contiguous()
    return grad_x, grad_gate, grad_branch, grad_scale, grad_affine


@operation(
    fake="x, x",
    triton="gated_modulate_forward",
    results="stream, out",
    saves="stream, gate, branch, scale, affine, eps",
    gradients={
        "x, gate, branch, scale, affine": _gated_modulate_backward,
        "shift": lambda grad_stream, grad, *_: grad,
    },
)
def _gated_modulate(
    x: Tensor,
    gate: Tensor,
    branch: Tensor,
    shift: Tensor,
    scale: Tensor,
    affine: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor]:
    stream, out = torch.empty_like(x), torch.empty_like(x)
    rows = (gate.data_ptr(), branch, shift.data_ptr(), scale.data_ptr())
    pointers = (x, *rows, _present(affine), stream, out)
    strides = (gate.stride(0), shift.stride(0), scale.stride(0))
    call("ivn_modulate", x.device, *pointers, *strides, *x.shape, eps, _type("gated_modulate", x))
    return stream, out


def _rows(x: Tensor) -> Tensor:
    """Returns ``[R, W]``, with each row contiguous and any distance between rows."""
    rows = x.reshape(-1, x.shape[-1])
    return rows if rows.stride(1) == 1 else rows.contiguous()


def _checked_affine(
    name: str, x: Tensor, weight: Tensor | None, bias: Tensor | None, **rows: Tensor
) -> Tensor:
    """Returns weight and bias as ``[2, W]`` in the dtype of the statistics, or ``[0, W]``."""
    W = x.shape[-1] if x.ndim else 0
    if W == 0 or not x.is_floating_point():
        raise ValueError(f"{name}: x is {describe(x)}, expected [..., W] in floating point")
    for other, tensor in rows.items():
        if (tensor.shape, tensor.dtype, tensor.device) != (x.shape, x.dtype, x.device):
            raise ValueError(
                f"{name}: {other} is {describe(tensor)}, expected {describe(x)} as x is"
            )
    if weight is None or bias is None:
        if weight is not bias:
            raise ValueError(f"{name}: of weight and bias one is None, expected both or neither")
        return x.new_empty(0, W, dtype=wide_dtype(x.dtype))
    return stacked(name, x, weight, bias)


def _present(affine: Tensor) -> Tensor:
    """Returns ones and zeros for the C++ version if there is neither weight nor bias."""
    if len(affine):
        return affine
    return torch.stack([affine.new_ones(affine.shape[1]), affine.new_zeros(affine.shape[1])])


def _type(op: str, x: Tensor) -> int:
    if x.dtype not in TYPES:
        raise ValueError(f"{op}: x is {x.dtype}, expected on a CPU fp32, bf16 or fp64")
    return TYPES[x.dtype]
