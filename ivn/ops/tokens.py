"""``ivn::gather_tokens``: keep some tokens of each sequence."""

import torch
from torch import Tensor

from ._library import call, check_index


def gather_tokens(tokens: Tensor, index: Tensor) -> Tensor:
    """The tokens at ``index``, in its order.

    Args:
        tokens: ``[B, N, D]``, any dtype. Differentiable.
        index: ``[B, M]`` int64, each in ``[0, N)`` and at most once per row. On a CPU another
            value is a ValueError, a repeated one a ValueError of the backward pass; on a GPU
            neither is looked for.

    Returns:
        ``[B, M, D]``, contiguous.
    """
    if tokens.ndim != 3 or index.ndim != 2 or tokens.shape[0] != index.shape[0]:
        raise ValueError(
            f"tokens is {list(tokens.shape)} but index is {list(index.shape)}, "
            "expected [B, N, D] and [B, M]"
        )
    if index.dtype != torch.int64 or index.device != tokens.device:
        raise ValueError(
            f"index is {index.dtype} on {index.device}, expected int64 on {tokens.device}"
        )
    return _gather_tokens(tokens.contiguous(), index.contiguous())


def gather_tokens_reference(tokens: Tensor, index: Tensor) -> Tensor:
    """What ``ivn::gather_tokens`` means, in plain PyTorch."""
    return tokens.gather(1, index.unsqueeze(-1).expand(-1, -1, tokens.shape[2]))


def scatter_tokens_reference(tokens: Tensor, index: Tensor, N: int) -> Tensor:
    """What ``ivn::scatter_tokens``, the gradient of a gather, means: other rows are zero."""
    full = tokens.new_zeros(tokens.shape[0], N, tokens.shape[2])
    return full.scatter(1, index.unsqueeze(-1).expand_as(tokens), tokens)


@torch.library.custom_op("ivn::gather_tokens", mutates_args=(), device_types=("cpu", "cuda"))
def _gather_tokens(tokens: Tensor, index: Tensor) -> Tensor:
    B, N, D = tokens.shape
    check_index(index, N)
    kept = tokens.new_empty(*index.shape, D)
    row_bytes = D * tokens.element_size()
    call("ivn_gather_tokens", tokens.device, tokens, index, kept, B, N, index.shape[1], row_bytes)
    return kept


@_gather_tokens.register_fake
def _(tokens: Tensor, index: Tensor) -> Tensor:
    return tokens.new_empty(*index.shape, tokens.shape[2])


@torch.library.custom_op("ivn::scatter_tokens", mutates_args=(), device_types=("cpu", "cuda"))
def _scatter_tokens(tokens: Tensor, index: Tensor, N: int) -> Tensor:
    B, M, D = tokens.shape
    full = tokens.new_empty(B, N, D)
    inverse = index.new_empty(B, N)
    row_bytes = D * tokens.element_size()
    call("ivn_scatter_tokens", tokens.device, tokens, index, full, inverse, B, N, M, row_bytes)
    return full


@_scatter_tokens.register_fake
def _(tokens: Tensor, index: Tensor, N: int) -> Tensor:
    return tokens.new_empty(tokens.shape[0], N, tokens.shape[2])


def _save_for_gather(ctx, inputs, output) -> None:
    tokens, index = inputs
    ctx.N = tokens.shape[1]
    ctx.save_for_backward(index)


def _gather_backward(ctx, grad: Tensor):
    (index,) = ctx.saved_tensors
    return _scatter_tokens(grad.contiguous(), index, ctx.N), None


def _save_for_scatter(ctx, inputs, output) -> None:
    ctx.save_for_backward(inputs[1])


def _scatter_backward(ctx, grad: Tensor):
    (index,) = ctx.saved_tensors
    return _gather_tokens(grad.contiguous(), index), None, None


_gather_tokens.register_autograd(_gather_backward, setup_context=_save_for_gather)
_scatter_tokens.register_autograd(_scatter_backward, setup_context=_save_for_scatter)
