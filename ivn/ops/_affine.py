"""Weight and bias of a LayerNorm, as the operations take them."""

import torch
from torch import Tensor

from ._dtype import wide_dtype


def stacked(name: str, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Returns weight and bias as ``[2, C]``, in the dtype of the statistics of ``x`` ``[..., C]``.

    Raises:
        ValueError: one of them does not fit ``x``; the message begins with ``name``.
    """
    C = x.shape[-1]
    for other, tensor in (("weight", weight), ("bias", bias)):
        if tensor.shape != (C,) or tensor.device != x.device or not tensor.is_floating_point():
            raise ValueError(
                f"{name}: {other} is {describe(tensor)}, expected [{C}] in floating point on "
                f"{x.device}"
            )
    return torch.stack([weight, bias]).to(wide_dtype(x.dtype))


def describe(x: Tensor) -> str:
    """Returns a description of a tensor, such as ``[2, 3] float32 on cpu``."""
    return f"{list(x.shape)} {str(x.dtype).removeprefix('torch.')} on {x.device}"
