"""The layers of a plain vision transformer, as a predictor without text weights.

Legend: B batch, N tokens, W width.
"""

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Generator, Tensor, nn

from ivn.ops.attention import attention

from .layers import LayerNorm, Linear


@dataclass(frozen=True)
class ViTPredictorConfig:
    """A plain ViT predictor from scratch (Table 1b: depth 5 and 12).

    Attributes:
        width: features of a token.
        heads: number of attention heads.
        depth: number of transformer blocks (Table 1b: 5 or 12).
        mlp_ratio: features inside a block's MLP, as a multiple of the width.
    """

    kind: Literal["vit"] = "vit"
    width: int = 1024
    heads: int = 16
    depth: int = 12
    mlp_ratio: float = 4.0

    def __post_init__(self) -> None:
        for name in ("width", "heads", "depth"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")
        if self.hidden < 1:
            raise ValueError(
                f"mlp_ratio is {self.mlp_ratio}, expected at least one feature inside an MLP"
            )

    @property
    def hidden(self) -> int:
        """The number of features inside a block's MLP."""
        return round(self.width * self.mlp_ratio)


class ViTLayer(nn.Module):
    """A pre-norm block (Dosovitskiy et al. 2021): full attention, then a GELU MLP, with biases."""

    def __init__(self, config: ViTPredictorConfig, depth: int) -> None:
        """Builds a block; ``depth`` is its number, from 0."""
        super().__init__()
        W = config.width
        self.heads, self.depth = config.heads, depth
        self.norm1 = LayerNorm(W, eps=1e-6)
        self.attn = nn.ModuleDict({"qkv": Linear(W, 3 * W), "proj": Linear(W, W)})
        self.norm2 = LayerNorm(W, eps=1e-6)
        self.mlp = nn.ModuleDict({"fc1": Linear(W, config.hidden), "fc2": Linear(config.hidden, W)})

    def reset_projections(self, generator: Generator | None) -> None:
        """Draws the encoder's start, V-JEPA's: smaller output projections in deeper blocks."""
        std = 0.02 / (2 * (self.depth + 1)) ** 0.5
        for linear in (self.attn["proj"], self.mlp["fc2"]):
            weight = linear.get_parameter("weight")
            nn.init.trunc_normal_(weight, std=std, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """Returns ``[B, N, W]`` for ``[B, N, W]``."""
        qkv = self.attn["qkv"](self.norm1(x)).unflatten(-1, (3 * self.heads, -1))
        mixed = attention(*qkv.chunk(3, dim=2))
        x = x + self.attn["proj"](mixed.flatten(2))
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))
