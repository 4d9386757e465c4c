"""Decoders turn a predicted token into a target: pixels or a latent vector.

Legend: B batch, P predicted tokens, R = B * P rows, D dimensions of a target, Z predictor width.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from ivn.keys import Purpose
from ivn.ops import check_range
from ivn.ops.diffusion import LossTerms, add_noise, diffusion_loss, loss_terms, noisy_target
from ivn.ops.random import integers, normal

from .denoiser import Denoiser, XavierLinear
from .diffusion import (
    STEPS,
    cosine_schedule,
    log_variance,
    posterior_mean,
    predicted_target,
    respaced,
    training_steps,
)
from .layers import ProjectionHead, wide_dtype


@dataclass(frozen=True)
class DiffusionConfig:
    """A conditional diffusion decoder of pixels.

    Attributes:
        depth: number of residual blocks (Table 1c: 3, 6 or 9).
        width: features of a row inside the blocks (Table 1c: 1024, 1536 or 2048).
    """

    kind: Literal["diffusion"] = "diffusion"
    depth: int = 6
    width: int = 1536

    def __post_init__(self) -> None:
        _check_sizes(self.depth, self.width)


@dataclass(frozen=True)
class PixelHeadConfig:
    """A deterministic decoder of pixels.

    Attributes:
        depth: number of linear layers (Table 1c: 1, a linear decoder, or 3, an MLP).
        width: features between the linear layers.
    """

    kind: Literal["pixel"] = "pixel"
    depth: int = 1
    width: int = 1536

    def __post_init__(self) -> None:
        _check_sizes(self.depth, self.width)


@dataclass(frozen=True)
class LatentHeadConfig:
    """A decoder of latent vectors: an MLP with a LayerNorm after it."""

    kind: Literal["latent"] = "latent"


def _check_sizes(depth: int, width: int) -> None:
    for name, size in (("depth", depth), ("width", width)):
        if size < 1:
            raise ValueError(f"{name} is {size}, expected at least 1")


PixelDecoderConfig = DiffusionConfig | PixelHeadConfig
DecoderConfig = PixelDecoderConfig | LatentHeadConfig


class DiffusionDecoder(nn.Module):
    """Models the distribution of a patch given the predictor's token.

    It is trained on the noise of a random step; :meth:`sample` draws patches.
    """

    def __init__(self, target: int, condition: int, width: int, depth: int) -> None:
        super().__init__()
        self.target = target
        self.net = Denoiser(target, condition, width, depth)

    def loss_terms(self, target: Tensor, z: Tensor, timestep: Tensor, noise: Tensor) -> LossTerms:
        """Returns the two terms of the loss of each row.

        Args:
            target: patches ``[R, D]``.
            z: predicted tokens ``[R, Z]``, differentiable. The network computes in their dtype.
            timestep: ``[R]`` int64 in ``[0, 1000)``.
            noise: standard normal ``[R, D]``.

        Returns:
            ``(mse, variational)``, each ``[R]`` in at least fp32.
        """
        check_range("loss_terms", timestep, STEPS, "timestep")
        wide = wide_dtype(z.dtype)
        target, noise, steps = target.to(wide), noise.to(wide), training_steps(z.device, wide)
        x_t = add_noise(target, noise, timestep, steps)
        output = self.net(x_t.to(z.dtype), self._time(timestep, z.dtype), z).to(wide)
        return loss_terms(output, target, noise, timestep, steps)

    def loss(self, target: Tensor, z: Tensor, keys: Tensor, *, layer: int = 0) -> Tensor:
        """Returns the training objective of each token, at a random step and with random noise.

        Args:
            target: ``[B, P, D]``.
            z: ``[B, P, Z]``.
            keys: ``[B, 4]``.
            layer: number that keeps the draws of several decodings under the same keys apart.

        Returns:
            ``[B, P]`` in at least fp32.
        """
        B, P, _ = target.shape
        timestep = integers(keys, Purpose.TIMESTEP, P, STEPS, layer=layer).flatten()
        wide = wide_dtype(z.dtype)
        rows, steps = target.flatten(0, 1).to(wide), training_steps(z.device, wide)
        x_t = noisy_target(rows, keys, timestep, steps, layer=layer, dtype=z.dtype)
        output = self.net(x_t, self._time(timestep, z.dtype), z.flatten(0, 1))
        terms = diffusion_loss(output, rows, keys, timestep, steps, layer=layer)
        return (terms.mse + terms.variational).view(B, P)

    @torch.no_grad()
    def sample(
        self, z: Tensor, keys: Tensor, *, steps: int = 100, limit: float = math.inf
    ) -> Tensor:
        """Draws patches from the model, ``[B, P, D]`` in at least fp32.

        Args:
            z: ``[B, P, Z]``.
            keys: ``[B, 4]``.
            steps: number of steps of the respaced schedule, 1 to 1000.
            limit: largest magnitude of a target; estimates are clamped to it. The last steps of the
                schedule contain hardly any signal, and without a limit the errors of a barely
                trained network grow there without bound.
        """
        schedule, numbers = respaced(cosine_schedule(z.device), steps)
        B, P, _ = z.shape
        wide, rows = wide_dtype(z.dtype), z.flatten(0, 1)

        def noise(layer: int) -> Tensor:
            drawn = normal(keys, Purpose.SAMPLING, P * self.target, layer=layer, dtype=wide)
            return drawn.view(B * P, self.target)

        x = noise(steps)
        for s in reversed(range(steps)):
            t = torch.full((1,), s, device=z.device)
            step = schedule.at(t, wide)
            time = self.net.time_embed(numbers[s : s + 1], z.dtype)
            estimate, interpolation = self.net(x.to(z.dtype), time, rows).to(wide).chunk(2, -1)
            clean = predicted_target(x, estimate, step).clamp(-limit, limit)
            x = posterior_mean(clean, x, step)
            if s > 0:
                x = x + (0.5 * log_variance(interpolation, step)).exp() * noise(s)
        return x.view(B, P, self.target)

    def _time(self, timestep: Tensor, dtype: torch.dtype) -> Tensor:
        if len(timestep) <= STEPS:
            return self.net.time_embed(timestep, dtype)
        # There are more rows than steps: every step is embedded once.
        return self.net.time_embed(torch.arange(STEPS, device=timestep.device), dtype)[timestep]


class PixelHead(nn.Module):
    """Predicts a patch under a squared error, like the decoder of masked autoencoders."""

    def __init__(self, target: int, condition: int, width: int, depth: int) -> None:
        super().__init__()
        sizes = [condition, *[width] * (depth - 1), target]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            layers += [nn.GELU()] * bool(layers) + [XavierLinear(inputs, outputs)]
        self.net = nn.Sequential(*layers)

    def loss(self, target: Tensor, z: Tensor, keys: Tensor, *, layer: int = 0) -> Tensor:
        """Returns the mean squared error of each token, ``[B, P]``; ``keys`` are not used."""
        wide = wide_dtype(z.dtype)
        return (self.net(z).to(wide) - target.to(wide)).square().mean(-1)

    def sample(self, z: Tensor, keys: Tensor, *, steps: int = 1, limit: float = math.inf) -> Tensor:
        """Returns the prediction, ``[B, P, D]``, clamped to ``limit``; the others are not used."""
        return self.net(z).to(wide_dtype(z.dtype)).clamp(-limit, limit)


class LatentHead(ProjectionHead):
    """Predicts a token of a target encoder; predictions are compared by direction."""


PixelDecoder = DiffusionDecoder | PixelHead
Decoder = PixelDecoder | LatentHead


def build_decoder(config: DecoderConfig, *, condition: int, target: int) -> Decoder:
    """Builds a decoder of ``condition`` predictor features to ``target`` dimensions."""
    if isinstance(config, LatentHeadConfig):
        return LatentHead(condition, target)
    return build_pixel_decoder(config, condition=condition, target=target)


def build_pixel_decoder(config: PixelDecoderConfig, *, condition: int, target: int) -> PixelDecoder:
    """Builds a decoder of pixels, with the arguments of :func:`build_decoder`."""
    kind = DiffusionDecoder if isinstance(config, DiffusionConfig) else PixelHead
    return kind(target, condition, config.width, config.depth)
