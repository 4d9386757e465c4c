"""The encoder's transformer block.

Legend: B batch, N tokens, C width, H heads.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from ivn.ops.attention import attention, packed_attention
from ivn.ops.norm import add_norm, qk_norm

from .layers import Linear, RMSNorm


class Attention(nn.Module):
    """Self-attention with RMSNorm of queries and keys over all heads at once."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(width, 3 * width, bias=False)
        self.q_norm = RMSNorm(width)
        self.k_norm = RMSNorm(width)
        self.proj = Linear(width, width)

    def forward(self, x: Tensor, lengths: Sequence[int] = ()) -> Tensor:
        """Returns ``[B, N, C]``; attends within sequences of ``lengths`` if a row holds several."""
        qkv = qk_norm(self.qkv(x), self.q_norm.weight, self.k_norm.weight, eps=self.q_norm.eps)
        heads = [y.unflatten(-1, (self.heads, -1)) for y in qkv.chunk(3, dim=-1)]
        mixed = packed_attention(*heads, lengths=lengths) if lengths else attention(*heads)
        return self.proj(mixed.flatten(2))


class Mlp(nn.Module):
    """Two linear layers with a tanh-approximated GELU between them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = Linear(width, hidden)
        self.fc2 = Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class LayerScale(nn.Module):
    """A learnable factor for each feature."""

    def __init__(self, width: int, start: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.empty(width))
        self.start = start

    def reset_parameters(self, generator: Generator | None = None) -> None:
        nn.init.constant_(self.gamma, self.start)


class Block(nn.Module):
    """A transformer block: ``x + drop(gamma * attention(norm(x)))``, then the same with the MLP."""

    def __init__(self, width: int, heads: int, hidden: int, layer_scale: float) -> None:
        super().__init__()
        self.norm1 = RMSNorm(width)
        self.attn = Attention(width, heads)
        self.ls1 = LayerScale(width, layer_scale)
        self.norm2 = RMSNorm(width)
        self.mlp = Mlp(width, hidden)
        self.ls2 = LayerScale(width, layer_scale)

    def forward(
        self, x: Tensor, normed: Tensor, drop: Tensor, following: Tensor, lengths: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """Takes one step of the residual stream.

        Args:
            x: ``[B, N, C]``, the residual stream, in its own dtype.
            normed: ``norm1(x)``, in the dtype of the branches.
            drop: ``[B, N, 2]`` factors of the two branches of each token.
            following: weight of the norm that comes next, ``[C]``.
            lengths: numbers of tokens of the clips if a row holds several, end to end; else empty.

        Returns:
            The stream, and its norm for the next block.
        """
        attended = self.attn(normed, lengths)
        x, normed = add_norm(x, attended, self.ls1.gamma, drop[..., 0], self.norm2.weight)
        return add_norm(x, self.mlp(normed), self.ls2.gamma, drop[..., 1], following)
