"""SigLIP and fixed-resolution SigLIP2 as teachers, read through transformers.

Legend: I images, n tokens of an image, D width, H heads of the pooling head.
"""

import importlib
import re
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import wide_dtype
from .protocol import ImageNetwork, Tap, TeacherConfig, check_taps

# Vision towers whose sizes are known without their files: width, MLP, blocks, heads.
_TOWERS = {
    "base": (768, 3072, 12, 12),
    "large": (1024, 4096, 24, 16),
    "so400m": (1152, 4304, 27, 16),
    "giant-opt": (1536, 6144, 40, 16),
}
_NAME = re.compile(rf"google/siglip2?-({'|'.join(_TOWERS)})-patch(\d+)-(\d+)")


class SiglipNetwork(ImageNetwork):
    """The vision tower's own blocks and head, run without keeping what is not tapped."""

    positions: Tensor

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
        self.width = tower.config.hidden_size
        self.patch_embedding = tower.embeddings.patch_embedding
        self.blocks = tower.encoder.layers
        self.post_layernorm = tower.post_layernorm
        self.head = tower.head
        table = tower.embeddings.position_embedding.weight.detach()
        self.register_buffer("positions", resize_positions(table, self.grid), persistent=False)

    def features(
        self, images: Tensor, tap: Tap | None, *, pooled: bool, attention: bool
    ) -> tuple[Tensor, Tensor]:
        tapped = {} if tap is None else {block: k for k, block in enumerate(self.taps)}
        last = len(self.blocks) if pooled or attention else max(tapped, default=0)
        hidden = self.patch_embedding(images).flatten(2).transpose(1, 2) + self.positions
        for block in range(last + 1):
            if tap is not None and block in tapped:
                tap(tapped[block], hidden)
            if block < last:
                hidden = self.blocks[block](hidden, None)
        empty = hidden.new_empty(len(images), 0)
        if not (pooled or attention):
            return empty, empty
        tokens = self.post_layernorm(hidden)
        weights = self._probe_attention(tokens)
        return (
            self._pool(tokens, weights) if pooled else empty,
            weights.mean(1) if attention else empty,
        )

    def _probe_attention(self, tokens: Tensor) -> Tensor:
        """Softmax of the probe's query with each token's key, ``[I, H, n]`` in fp32 or wider.

        Each head's key projection is applied to its one query instead of to all tokens; the
        keys' bias adds the same to every token, which a softmax does not see.
        """
        attend = self.head.attention
        query, key, _ = attend.in_proj_weight.chunk(3)
        H = attend.num_heads
        q = F.linear(self.head.probe[0, 0], query, attend.in_proj_bias[: self.width]).view(H, -1)
        directions = torch.einsum("hd,hdc->hc", q * q.shape[1] ** -0.5, key.view(H, -1, self.width))
        return (directions @ tokens.mT).softmax(-1, dtype=wide_dtype(tokens.dtype))

    def _pool(self, tokens: Tensor, weights: Tensor) -> Tensor:
        """The pooling head's output, ``[I, D]``; values are projected after they are summed."""
        attend = self.head.attention
        value = attend.in_proj_weight.chunk(3)[2].view(attend.num_heads, -1, self.width)
        summed = weights.to(tokens.dtype) @ tokens
        values = torch.einsum("ihc,hdc->ihd", summed, value).flatten(1)
        pooled = attend.out_proj(values + attend.in_proj_bias[2 * self.width :])
        return pooled + self.head.mlp(self.head.layernorm(pooled))


def resize_positions(table: Tensor, grid: int) -> Tensor:
    """A square position table ``[m * m, D]`` bicubically resized to ``[grid * grid, D]``."""
    side = round(len(table) ** 0.5)
    if side == grid:
        return table.clone()
    square = table.T.reshape(1, -1, side, side)
    resized = F.interpolate(square, (grid, grid), mode="bicubic", align_corners=False)
    return resized[0].flatten(1).T.contiguous()


def load_siglip(config: TeacherConfig) -> SiglipNetwork:
    """The network that ``config`` names, on the CPU in fp32."""
    if not config.source:
        raise ValueError(
            "the siglip teacher has no source: give stage.teacher.source, a folder or a hub id "
            "such as google/siglip2-base-patch16-256"
        )
    library = _transformers()
    if config.weights == "random":
        model = _random(library, _sizes(library, config))
    else:
        model = _pretrained(library, config.source)
    return SiglipNetwork(model, taps=config.taps, image_size=config.image_size)


def _transformers() -> ModuleType:
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise ImportError(
            f'the siglip teacher needs transformers ({error}): pip install "ivn[hf]"'
        ) from None


def named_sizes(source: str) -> dict[str, int]:
    """Sizes of a vision tower by its name on the hub, or of "tiny", for tests; else nothing."""
    if source == "tiny":
        tower, patch_size, image_size = (64, 128, 4, 4), 16, 128
    elif named := _NAME.fullmatch(source):
        tower, patch_size, image_size = _TOWERS[named[1]], int(named[2]), int(named[3])
    else:
        return {}
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    sizes = dict(zip(names, tower, strict=True))
    return sizes | {"patch_size": patch_size, "image_size": image_size}


def _sizes(library: ModuleType, config: TeacherConfig) -> Any:
    named = named_sizes(config.source)
    return library.SiglipVisionConfig(**named) if named else _vision_config(library, config.source)


def _vision_config(library: ModuleType, source: str) -> Any:
    try:
        config = library.AutoConfig.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise _cannot_load(source, error) from None
    if config.model_type == "siglip":
        return config.vision_config
    if config.model_type != "siglip_vision_model":
        raise ValueError(
            f"teacher source {source!r} is a {config.model_type!r} checkpoint, expected 'siglip' "
            "(also used by the fixed-resolution SigLIP2 checkpoints; the NaFlex ones do not fit)"
        )
    return config


def _random(library: ModuleType, config: Any) -> nn.Module:
    # transformers draws from the global generator: lend it a seed of its own.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return library.SiglipVisionModel._from_config(config, attn_implementation="sdpa")


def _pretrained(library: ModuleType, source: str) -> nn.Module:
    config = _vision_config(library, source)
    # A hub checkpoint also holds the text tower, of which transformers would otherwise report
    # every weight as unexpected.
    ignored = {"_keys_to_ignore_on_load_unexpected": ["text_model", "logit_"]}
    tower: Any = type("SiglipVisionModel", (library.SiglipVisionModel,), ignored)
    try:
        model, info = tower.from_pretrained(
            source,
            config=config,
            dtype=torch.float32,
            attn_implementation="sdpa",
            use_safetensors=True,  # never unpickle
            output_loading_info=True,
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise _cannot_load(source, error) from None
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise ValueError(
            f"teacher source {source!r} lacks {len(missing)} of the vision tower's weights, first "
            f"{missing[0]!r}"
        )
    return model


def _cannot_load(source: str, error: Exception) -> ValueError:
    reason = str(error).strip().splitlines()[0]
    return ValueError(
        f"teacher source {source!r} is neither a folder with a SigLIP checkpoint nor a hub id "
        f"that can be read: {reason}"
    )
