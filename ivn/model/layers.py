"""Small layers that encoder, predictor and decoder share.

Parameters are fp32 (or fp64); a layer casts them to the dtype of its input, so the dtype in which
a network computes is that of the activations given to it. Statistics are taken in at least fp32.
Modules are built without values: each has ``reset_parameters(generator)``.
"""

import hashlib
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from ivn.ops import cosine_distance
from ivn.ops._dtype import wide_dtype
from ivn.ops.norm import rms_norm


class Linear(nn.Linear):
    """A linear layer that computes in the dtype of its input."""

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.linear(x, self.weight.to(x.dtype), bias)

    def reset_parameters(self, generator: Generator | None = None) -> None:
        """Draws a truncated normal of standard deviation 0.02, and sets the bias to 0."""
        nn.init.trunc_normal_(self.weight, std=0.02, generator=generator)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class RMSNorm(nn.Module):
    """Computes ``x / sqrt(mean(x^2) + eps) * weight`` over the last dimension."""

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.eps = eps

    def reset_parameters(self, generator: Generator | None = None) -> None:
        nn.init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, eps=self.eps, dtype=x.dtype)


def unit_rms(x: Tensor, eps: float) -> Tensor:
    """Returns ``x / sqrt(mean(x^2) + eps)`` over the last dimension, in at least fp32."""
    wide = x.to(wide_dtype(x.dtype))
    return wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)


class LayerNorm(nn.LayerNorm):
    """Layer normalisation that takes activations of a narrower dtype than its parameters."""

    def forward(self, x: Tensor) -> Tensor:
        weight = None if self.weight is None else self.weight.to(x.dtype)
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.layer_norm(x, self.normalized_shape, weight, bias, self.eps)

    def reset_parameters(self, generator: Generator | None = None) -> None:
        if self.weight is not None:
            nn.init.ones_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class ProjectionHead(nn.Module):
    """Linear, exact GELU, Linear, LayerNorm: from one feature space into another."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.head = nn.Sequential(Linear(width, width), nn.GELU(), Linear(width, out))
        self.norm = LayerNorm(out, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        """Returns ``[..., out]`` for ``[..., width]``."""
        return self.norm(self.head(x))

    def distance(self, x: Tensor, target: Tensor) -> Tensor:
        """Returns the cosine distance ``[...]`` of :meth:`forward` to ``target`` ``[..., out]``.

        The result is in at least fp32, from a norm that is not rounded; ``target`` is a constant.
        """
        weight, bias = self.norm.weight, self.norm.bias
        return cosine_distance(self.head(x), target, weight, bias, norm_eps=self.norm.eps)


def part_generator(seed: int, part: str) -> Generator:
    """Returns the generator of the initial weights of ``part``, whatever other parts there are.

    Its seed is the first eight bytes of the SHA-256 of ``"SEED PART"``, big-endian.
    """
    digest = hashlib.sha256(f"{seed} {part}".encode()).digest()
    return Generator().manual_seed(int.from_bytes(digest[:8]))


def materialise(module: nn.Module, generator: Generator) -> None:
    """Gives a module built on the meta device its memory and, from ``generator``, its values.

    Every module that owns parameters must have its own ``reset_parameters``.
    """
    module.to_empty(device="cpu")
    for child in _children_first(module):
        if any(True for _ in child.parameters(recurse=False)):
            reset: Callable[[Generator], None] = child.reset_parameters  # type: ignore[assignment]
            reset(generator)


def _children_first(module: nn.Module) -> Iterable[nn.Module]:
    for child in module.children():
        yield from _children_first(child)
    yield module
