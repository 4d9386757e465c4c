"""Stage one's step in plain eager PyTorch."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ivn.frozen import Targets, Teacher
from ivn.keys import Purpose

from . import plain_model as plain
from .plain_step import Draws, PlainStep


class PlainStage1(PlainStep):
    """Pixels of the masked tokens, and the visible tokens' alignment with an image teacher."""

    def terms(self, draws: Draws) -> dict[str, Tensor]:
        seen = self.look()
        visible = self.mask(draws.attention(seen).float())
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
            drop=self.drop(draws, Purpose.DROP_PATH, 0),
        )

    @torch.no_grad()
    def look(self) -> Targets:
        """The image teacher in full: every block, every token, everything kept until the end."""
        teacher = self.stage.teachers["teacher"].network
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

    def _enlarged(self, teacher: Teacher) -> Tensor:
        mean, std = (self.video.new_tensor(v)[:, None, None] for v in (plain.MEAN, plain.STD))
        pixels = self.video.transpose(1, 2).flatten(0, 1) * std + mean
        size = (teacher.image_size, teacher.image_size)
        if pixels.shape[2:] != size:
            pixels = F.interpolate(pixels, size, mode="bicubic", align_corners=False)
        return (pixels - 0.5) / 0.5


def siglip(network, images: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
    """Tapped layers, pooled vector and pooling attention by transformers' own modules."""
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
    """The last map as tokens, its mean, and its norm."""
    tokens = network.model.extract_features(images).flatten(2).transpose(1, 2)
    return [tokens], tokens.mean(1), tokens.norm(dim=2)
