"""A stage's step in plain eager PyTorch, to which ``bench_step.py`` compares ours.

The networks are those of ``plain_model.py``, with PyTorch's own fused attention, automatic
mixed precision and random numbers, like a step that somebody would write today.
"""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ivn.data.batch import Batch
from ivn.frozen import Targets, Teacher
from ivn.keys import Purpose
from ivn.ops.random import integers, normal, uniform
from ivn.stages.stage import Stage
from ivn.stages.stage1 import Stage1
from ivn.stages.stage2 import Stage2

from . import plain_model as plain


class Draws(Protocol):
    """The source of a step's random numbers and of its mask's saliency."""

    def uniform(self, purpose: Purpose, count: int, view: int) -> Tensor: ...
    def timestep(self, count: int) -> Tensor: ...
    def noise(self, count: int, features: int) -> Tensor: ...
    def attention(self, seen: Targets) -> Tensor: ...


class Native:
    """PyTorch's generator, and the saliency of the plain teacher, for timing."""

    def __init__(self, batch: Batch) -> None:
        self.B, self.device = len(batch), batch.keys.device

    def uniform(self, purpose: Purpose, count: int, view: int) -> Tensor:
        return torch.rand(self.B, count, device=self.device)

    def timestep(self, count: int) -> Tensor:
        return torch.randint(plain.STEPS, (self.B * count,), device=self.device)

    def noise(self, count: int, features: int) -> Tensor:
        return torch.randn(self.B * count, features, device=self.device)

    def attention(self, seen: Targets) -> Tensor:
        return seen.attention


class Same:
    """The stage's own draws and views, so that both steps must find the same losses."""

    def __init__(self, stage: Stage, batch: Batch) -> None:
        self.stage, self.batch = stage, batch

    def uniform(self, purpose: Purpose, count: int, view: int) -> Tensor:
        return uniform(self.batch.keys, purpose, count, layer=view)

    def timestep(self, count: int) -> Tensor:
        return integers(self.batch.keys, Purpose.TIMESTEP, count, plain.STEPS).flatten()

    def noise(self, count: int, features: int) -> Tensor:
        numbers = normal(self.batch.keys, Purpose.NOISE, count * features)
        return numbers.view(-1, features)

    def attention(self, seen: Targets) -> Tensor:
        assert isinstance(self.stage, Stage1)
        return self.stage.look(self.batch).attention


class PlainStep:
    """A stage's objective on one batch, with copies of the parameters.

    Clips are float and normalised before the clock starts, so conversion takes no time here.
    """

    def __init__(self, stage: Stage, batch: Batch) -> None:
        self.stage, self.batch = stage, batch
        self.parameters = {
            name: parameter.detach().clone().requires_grad_(parameter.requires_grad)
            for name, parameter in stage.named_parameters()
        }
        sizes = (stage.encoder.config, stage.predictor.config)
        self.model = plain.PlainModel(self.parameters, *sizes, attend=fused_attention)
        self.video = plain.normalise(batch.clips["student"], torch.float32)
        if "teacher" in batch.clips:
            pixels = batch.clips["teacher"].permute(0, 1, 4, 2, 3).flatten(0, 1) / 255
            self.images = (pixels - 0.5) / 0.5

    def loss(self, draws: Draws, dtype: torch.dtype) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the weighted sum and its terms, computed in ``dtype`` if that is narrower."""
        narrow = dtype != torch.float32
        with torch.autocast(self.video.device.type, dtype=torch.bfloat16, enabled=narrow):
            terms = self.stage1(draws) if isinstance(self.stage, Stage1) else self.stage2(draws)
        weights = self.stage.loss_weights
        return sum(weights[name] * term for name, term in terms.items()), terms

    def stage1(self, draws: Draws) -> dict[str, Tensor]:
        seen = self.look()
        visible = self.mask(draws.attention(seen))
        masked, features = int((~visible[0]).sum()), 3 * self.model.encoder.patch_size**2
        return plain.stage1_losses(
            self.model,
            self.stage.config,
            self.video,
            visible,
            layers=seen.layers,
            pooled=seen.pooled,
            timestep=draws.timestep(masked),
            noise=draws.noise(masked, features),
            drop=self._drop(draws, Purpose.DROP_PATH, 0),
        )

    def stage2(self, draws: Draws) -> dict[str, Tensor]:
        assert isinstance(self.stage, Stage2)
        views = range(len(self.stage.config.views))
        taught = self.stage.config.teacher_drop_path
        return plain.stage2_losses(
            self.model,
            self.video,
            [self.mask_view(view) for view in views],
            drop=[self._drop(draws, Purpose.DROP_PATH, view) for view in views],
            teacher_drop=self._drop(draws, Purpose.TEACHER_DROP_PATH, 0) if taught else None,
        )

    @torch.no_grad()
    def look(self) -> Targets:
        """Runs the whole image teacher: all blocks and tokens are kept until the end."""
        assert isinstance(self.stage, Stage1) and self.stage.teacher is not None
        teacher = self.stage.teacher
        images = self.images if "teacher" in self.batch.clips else self._enlarged(teacher)
        network = teacher.network
        run = siglip if hasattr(network, "blocks") else efficientnet
        layers, pooled, attention = run(network, images.to(teacher.dtype))
        B = len(self.video)
        return Targets(
            torch.stack([layer.unflatten(0, (B, -1)).flatten(1, 2) for layer in layers]),
            pooled.unflatten(0, (B, -1)),
            attention.unflatten(0, (B, -1)),
        )

    def mask(self, attention: Tensor) -> Tensor:
        """Returns stage one's visible tokens as booleans, drawn like in the stage."""
        assert isinstance(self.stage, Stage1)
        visible, _ = self.stage.mask(self.batch, attention.float())
        return plain.to_mask(visible, attention[0].numel())

    def mask_view(self, view: int) -> Tensor:
        """Returns a view's visible tokens of stage two as booleans, drawn like in the stage."""
        assert isinstance(self.stage, Stage2)
        grid = self.model.grid(self.video)
        visible, _ = self.stage.mask(self.batch, view=view)
        assert isinstance(visible, Tensor)
        return plain.to_mask(visible, grid[0] * grid[1] * grid[2])

    def _drop(self, draws: Draws, purpose: Purpose, view: int) -> Tensor | None:
        sizes = self.model.encoder
        if sizes.drop_path == 0:
            return None
        return plain.drop_factors(draws.uniform(purpose, 2 * sizes.depth, view), sizes.drop_path)

    def _enlarged(self, teacher: Teacher) -> Tensor:
        mean, std = (self.video.new_tensor(v)[:, None, None] for v in (plain.MEAN, plain.STD))
        pixels = self.video.transpose(1, 2).flatten(0, 1) * std + mean
        size = (teacher.image_size, teacher.image_size)
        if pixels.shape[2:] != size:
            pixels = F.interpolate(pixels, size, mode="bicubic", align_corners=False)
        return (pixels - 0.5) / 0.5


def fused_attention(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None) -> Tensor:
    """Returns PyTorch's own attention; written out, scores of ``base`` would not fit on a GPU."""
    dtype = value.dtype  # under mixed precision rotary positions widen queries and keys
    return F.scaled_dot_product_attention(query.to(dtype), key.to(dtype), value, attn_mask=allowed)


def siglip(network, images: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
    """Returns tapped layers, pooled vector and pooling attention by transformers' modules."""
    streams = [network.patch_embedding(images).flatten(2).transpose(1, 2) + network.positions]
    for block in network.blocks:
        streams.append(block(streams[-1], None))
    tokens, head = network.post_layernorm(streams[-1]), network.head
    pooled, attention = head.attention(
        head.probe.expand(len(tokens), -1, -1).to(tokens.dtype), tokens, tokens
    )
    pooled = pooled + head.mlp(head.layernorm(pooled))
    return [streams[tap] for tap in network.taps], pooled[:, 0], attention[:, 0]


def efficientnet(network, images: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
    """Returns the last map as tokens, its mean, and its norm."""
    tokens = network.model.extract_features(images).flatten(2).transpose(1, 2)
    return [tokens], tokens.mean(1), tokens.norm(dim=2)
