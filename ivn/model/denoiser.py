"""The network of the diffusion decoder: a residual MLP with adaptive LayerNorms.

Legend: R rows (masked tokens), D dimensions of a patch, Z condition width, W network width.
"""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from ivn.ops.modulation import gated_modulate, modulate

from .layers import LayerNorm, Linear

_FREQUENCIES = 256
_EPS = 1e-6  # in all norms

# A residual step that the next norm takes: gate and branch, each [R, W]. None before the first.
Step = tuple[Tensor, Tensor] | None


class XavierLinear(Linear):
    """A linear layer that starts uniform in ``+-sqrt(6 / (inputs + outputs))``, without bias."""

    def reset_parameters(self, generator: Generator | None = None) -> None:
        nn.init.xavier_uniform_(self.weight, generator=generator)
        nn.init.zeros_(self.bias)


class ZeroLinear(Linear):
    """A linear layer that starts at zero."""

    def reset_parameters(self, generator: Generator | None = None) -> None:
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)


class InputProjection(XavierLinear):
    """A linear layer that also takes rows padded with zeros, which align them."""

    def forward(self, x: Tensor) -> Tensor:
        weight = F.pad(self.weight.to(x.dtype), (0, x.shape[-1] - self.in_features))
        return F.linear(x, weight, self.bias.to(x.dtype))


class TimeEmbed(nn.Module):
    """Embeds diffusion steps by cosines and sines, then an MLP."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(_TimeLinear(_FREQUENCIES, width), nn.SiLU())
        self.mlp.append(_TimeLinear(width, width))

    def forward(self, t: Tensor, dtype: torch.dtype) -> Tensor:
        """Returns ``[R, W]`` for steps ``[R]`` int64."""
        half = _FREQUENCIES // 2
        exponent = torch.arange(half, device=t.device, dtype=torch.float64) / half
        angle = t.double()[:, None] * torch.exp(-math.log(10000.0) * exponent)
        return self.mlp(torch.cat([angle.cos(), angle.sin()], dim=-1).to(dtype))


class _TimeLinear(Linear):
    """A linear layer that starts normal with standard deviation 0.02."""

    def reset_parameters(self, generator: Generator | None = None) -> None:
        nn.init.normal_(self.weight, std=0.02, generator=generator)
        nn.init.zeros_(self.bias)


class ResidualBlock(nn.Module):
    """``x + gate * MLP(norm(x) * (1 + scale) + shift)``; the next norm computes the sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.in_ln = LayerNorm(width, eps=_EPS)
        self.mlp = nn.Sequential(XavierLinear(width, width), nn.SiLU(), XavierLinear(width, width))
        self.adaLN_modulation = _modulation(width, 3)

    def forward(self, x: Tensor, step: Step, condition: Tensor) -> tuple[Tensor, Step]:
        """Returns the stream ``[R, W]`` and residual step, given those of the block before."""
        shift, scale, gate = self.adaLN_modulation(condition).chunk(3, dim=-1)
        x, normed = _after_step(x, step, shift, scale, self.in_ln.weight, self.in_ln.bias)
        return x, (gate, self.mlp(normed))


class FinalLayer(nn.Module):
    """A modulated LayerNorm, and the projection to noise and variance."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.linear = ZeroLinear(width, out)
        self.adaLN_modulation = _modulation(width, 2)

    def forward(self, x: Tensor, step: Step, condition: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(condition).chunk(2, dim=-1)
        return self.linear(_after_step(x, step, shift, scale, None, None)[1])


def _modulation(width: int, parts: int) -> nn.Sequential:
    # The second of two layers, as in the release; the SiLU before it is the same for all blocks,
    # and the denoiser computes it once.
    return nn.Sequential(nn.Identity(), ZeroLinear(width, parts * width))


def _after_step(
    x: Tensor,
    step: Step,
    shift: Tensor,
    scale: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Returns the stream after ``step``, and its modulated norm."""
    if step is None:
        return x, modulate(x, shift, scale, weight, bias, eps=_EPS)
    return gated_modulate(x, *step, shift, scale, weight, bias, eps=_EPS)


class Denoiser(nn.Module):
    """Maps noisy patches, a condition and a step to noise and variance (MAR's SimpleMLPAdaLN)."""

    def __init__(self, target: int, condition: int, width: int, depth: int) -> None:
        super().__init__()
        self.time_embed = TimeEmbed(width)
        self.cond_embed = XavierLinear(condition, width)
        self.input_proj = InputProjection(target, width)
        self.res_blocks = nn.ModuleList(ResidualBlock(width) for _ in range(depth))
        self.final_layer = FinalLayer(width, 2 * target)

    def forward(self, x: Tensor, time: Tensor, z: Tensor) -> Tensor:
        """Returns ``[R, 2D]`` for ``x`` ``[R, D]``, the steps ``[R, W]`` and ``z`` ``[R, Z]``.

        ``x`` may be wider than D, with zeros past D.
        """
        condition = F.silu(time + self.cond_embed(z))
        hidden, step = self.input_proj(x), None
        for block in self.res_blocks:
            hidden, step = block(hidden, step, condition)
        return self.final_layer(hidden, step, condition)
