"""Attention pooling of a clip's tokens to one vector."""

import torch
from torch import Generator, Tensor, nn

from ivn.ops.attention import attention

from .layers import LayerNorm, Linear, wide_dtype


class AttentionPool(nn.Module):
    """One query, the mean of all tokens, attends to them (the head of CoCa and InternVideo2)."""

    def __init__(self, width: int, heads: int, out: int) -> None:
        super().__init__()
        self.norm1_q = LayerNorm(width, eps=1e-5)
        self.norm1_k = LayerNorm(width, eps=1e-5)
        self.norm1_v = LayerNorm(width, eps=1e-5)
        self.cross_attn = _CrossAttention(width, heads, out)

    def forward(self, x: Tensor) -> Tensor:
        """Returns ``[B, P]`` for ``[B, N, C]``."""
        query = self.norm1_q(x.mean(1, keepdim=True))
        return self.cross_attn(query, self.norm1_k(x), self.norm1_v(x))[:, 0]

    def weights(self, x: Tensor) -> Tensor:
        """Returns the query's attention to each token, averaged over heads, ``[B, N]``."""
        query = self.norm1_q(x.mean(1, keepdim=True))
        return self.cross_attn.weights(query, self.norm1_k(x))


class _CrossAttention(nn.Module):
    def __init__(self, width: int, heads: int, out: int) -> None:
        super().__init__()
        self.heads = heads
        for name in "qkv":
            setattr(self, name, Linear(width, width, bias=False))
            setattr(self, f"{name}_bias", nn.Parameter(torch.empty(width)))
        self.proj = Linear(width, out)

    def reset_parameters(self, generator: Generator | None = None) -> None:
        for name in "qkv":
            nn.init.zeros_(self.get_parameter(f"{name}_bias"))

    def forward(self, *inputs: Tensor) -> Tensor:
        heads = [self._heads(name, x) for name, x in zip("qkv", inputs, strict=True)]
        return self.proj(attention(*heads).flatten(2))

    def weights(self, query: Tensor, tokens: Tensor) -> Tensor:
        q, k = self._heads("q", query), self._heads("k", tokens)
        scores = torch.einsum("bqhd,bnhd->bhn", q * q.shape[-1] ** -0.5, k)
        return scores.softmax(-1, dtype=wide_dtype(scores.dtype)).mean(1)

    def _heads(self, name: str, x: Tensor) -> Tensor:
        projected = getattr(self, name)(x) + getattr(self, f"{name}_bias").to(x.dtype)
        return projected.unflatten(-1, (self.heads, -1))
