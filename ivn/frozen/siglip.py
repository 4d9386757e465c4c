"""SigLIP and fixed-resolution SigLIP2 as teachers, read through transformers.

Legend: I images, n tokens of an image, D width, H heads of the pooling head.
"""

import re
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ivn.model.layers import wide_dtype

from . import hf
from .protocol import (
    FeatureNetwork,
    Final,
    ImageNetwork,
    Tap,
    check_taps,
    per_clip,
    run_blocks,
)

# Vision towers whose sizes are known without their files: width, MLP, blocks, heads.
_TOWERS = {
    "base": (768, 3072, 12, 12),
    "large": (1024, 4096, 24, 16),
    "so400m": (1152, 4304, 27, 16),
    "giant-opt": (1536, 6144, 40, 16),
}
_NAME = re.compile(rf"google/siglip2?-({'|'.join(_TOWERS)})-patch(\d+)-(\d+)")


class SiglipNetwork(ImageNetwork, FeatureNetwork):
    """A SigLIP vision tower; layers that are not tapped are not kept."""

    sources = "a folder or a hub id such as google/siglip2-base-patch16-256"
    positions: Tensor
    has_head = True

    def __init__(self, model: nn.Module, *, taps: tuple[int, ...], image_size: int) -> None:
        super().__init__()
        tower: Any = getattr(model, "vision_model", model)  # nested in transformers 5.0
        patch_size = tower.embeddings.patch_size
        check_taps(taps, len(tower.encoder.layers))
        if not tower.use_head:
            raise ValueError("the SigLIP checkpoint has no pooling head; choose one that has")
        if image_size < patch_size:
            raise ValueError(f"image_size is {image_size}, expected at least {patch_size}")
        self.taps, self.image_size = taps, image_size
        self.grid = image_size // patch_size
        self.width, self.facts = tower.config.hidden_size, hf.facts(tower.config)
        self.patch_embedding = tower.embeddings.patch_embedding
        self.blocks = tower.encoder.layers
        self.post_layernorm = tower.post_layernorm
        self.head = tower.head
        table = tower.embeddings.position_embedding.weight.detach()
        self.register_buffer("positions", resize_positions(table, self.grid), persistent=False)

    @classmethod
    def read(
        cls, source: str, *, weights: str, taps: tuple[int, ...], image_size: int | None
    ) -> "SiglipNetwork":
        """Returns a tower by folder, hub id or known name; without ``image_size`` at its own."""
        kind = hf.transformers().SiglipVisionModel
        if weights == "random":
            model = hf.random_model(kind, _sizes(source))
        else:
            sizes = vision_config(source)
            model = hf.pretrained_model(kind, source, sizes, unread=("text_model", "logit_"))
        size = model.config.image_size if image_size is None else image_size
        return cls(model, taps=taps, image_size=size)

    def features(
        self, images: Tensor, tap: Tap | None, *, pooled: bool, attention: bool
    ) -> tuple[Tensor, Tensor]:
        hidden = self._embed(images)
        to_end = pooled or attention
        hidden = run_blocks(hidden, self.blocks, self.taps, tap, to_end=to_end, arguments=(None,))
        empty = hidden.new_empty(len(images), 0)
        if not to_end:
            return empty, empty
        tokens = self.post_layernorm(hidden)
        weights = self._probe_attention(tokens)
        return (
            self._pool(tokens, weights) if pooled else empty,
            weights.mean(1) if attention else empty,
        )

    def final(self, clips: Tensor, *, pooled: bool) -> Final:
        hidden = self._embed(clips.flatten(0, 1))
        hidden = run_blocks(hidden, self.blocks, (), None, to_end=True, arguments=(None,))
        tokens = self.post_layernorm(hidden)
        empty = tokens.new_empty(len(tokens), 0)
        vector = self._pool(tokens, self._probe_attention(tokens)) if pooled else empty
        return per_clip(Final(tokens, tokens[:, :0], vector), len(clips))

    def _embed(self, images: Tensor) -> Tensor:
        return self.patch_embedding(images).flatten(2).transpose(1, 2) + self.positions

    def _probe_attention(self, tokens: Tensor) -> Tensor:
        """Returns the softmax of the probe's query with the tokens' keys, ``[I, H, n]``.

        It is in fp32 or wider. Each head's key projection is applied to its one query instead of to
        all tokens; the keys' bias adds the same to every token, which does not change a softmax.
        """
        attend = self.head.attention
        query, key, _ = attend.in_proj_weight.chunk(3)
        H = attend.num_heads
        q = F.linear(self.head.probe[0, 0], query, attend.in_proj_bias[: self.width]).view(H, -1)
        directions = torch.einsum("hd,hdc->hc", q * q.shape[1] ** -0.5, key.view(H, -1, self.width))
        return (directions @ tokens.mT).softmax(-1, dtype=wide_dtype(tokens.dtype))

    def _pool(self, tokens: Tensor, weights: Tensor) -> Tensor:
        """Returns the pooling head's output, ``[I, D]``; values are summed, then projected."""
        attend = self.head.attention
        value = attend.in_proj_weight.chunk(3)[2].view(attend.num_heads, -1, self.width)
        summed = weights.to(tokens.dtype) @ tokens
        values = torch.einsum("ihc,hdc->ihd", summed, value).flatten(1)
        pooled = attend.out_proj(values + attend.in_proj_bias[2 * self.width :])
        return pooled + self.head.mlp(self.head.layernorm(pooled))


def resize_positions(table: Tensor, grid: int) -> Tensor:
    """Resizes a square position table ``[m * m, D]`` bicubically to ``[grid * grid, D]``."""
    side = round(len(table) ** 0.5)
    if side == grid:
        return table.clone()
    square = table.T.reshape(1, -1, side, side)
    resized = F.interpolate(square, (grid, grid), mode="bicubic", align_corners=False)
    return resized[0].flatten(1).T.contiguous()


def named_sizes(source: str) -> dict[str, int]:
    """Returns sizes of a tower by its name on the hub, or of "tiny" for tests; else nothing."""
    if source == "tiny":
        tower, patch_size, image_size = (64, 128, 4, 4), 16, 128
    elif named := _NAME.fullmatch(source):
        tower, patch_size, image_size = _TOWERS[named[1]], int(named[2]), int(named[3])
    else:
        return {}
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    sizes = dict(zip(names, tower, strict=True))
    return sizes | {"patch_size": patch_size, "image_size": image_size}


def vision_config(source: str) -> Any:
    """Returns the config of a checkpoint's vision tower."""
    config = hf.read_config(source)
    if config.model_type == "siglip":
        return config.vision_config
    if config.model_type != "siglip_vision_model":
        raise ValueError(
            f"teacher source {source!r} is a {config.model_type!r} checkpoint, expected 'siglip' "
            "(also used by the fixed-resolution SigLIP2 checkpoints; the NaFlex ones do not fit)"
        )
    return config


def _sizes(source: str) -> Any:
    named = named_sizes(source)
    return hf.transformers().SiglipVisionConfig(**named) if named else vision_config(source)
