"""VideoMAE and V-JEPA 2 as teachers, read through transformers: tokens of tubes of two frames.

Legend: B clips, T frames, t = T / 2 slots, n tokens of a slot, N = t * n, D width.
"""

import re
from abc import abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn

from ivn.data.batch import IMAGENET_MEAN, IMAGENET_STD
from ivn.model.positions import GridPositions

from . import hf
from .protocol import (
    ClipNetwork,
    FeatureNetwork,
    Final,
    Tap,
    check_taps,
    run_blocks,
    saliency,
)

TUBE = 2

# Sizes that are known without files: width, blocks, heads.
_WIDTHS = {
    "small": (384, 12, 6),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
    "huge": (1280, 32, 16),
    "l": (1024, 24, 16),
    "h": (1280, 32, 16),
    "g": (1408, 40, 22),
}
_VIDEOMAE = re.compile(r"MCG-NJU/videomae-(small|base|large|huge)(-.+)?")
_VJEPA2 = re.compile(r"facebook/vjepa2-vit([lhg])-fpc(\d+)-(\d+)(-.+)?")
_TINY = {"hidden_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4}


class TubeNetwork(ClipNetwork, FeatureNetwork):
    """A transformer over a clip's tubes; taps are its stream before any last norm.

    Neither network has a pooling head or a cls token: pooled is the mean of the tokens after the
    last norm, attention the length of the tokens before it.

    Attributes:
        model_type: name of the network in a checkpoint's config.
        library_name: name in the classes of transformers.
        size_key: entry of the checkpoint's config with the side of its frames.
        unread: keys of checkpoints that the encoder does not need.
    """

    model_type: ClassVar[str]
    library_name: ClassVar[str]
    size_key: ClassVar[str]
    unread: ClassVar[tuple[str, ...]]
    sources = "a folder or a hub id such as MCG-NJU/videomae-base or facebook/vjepa2-vitl-fpc64-256"
    mean, std = IMAGENET_MEAN, IMAGENET_STD
    frames_per_slot = TUBE
    blocks: nn.ModuleList
    norm: nn.Module

    def __init__(self, config: Any, *, taps: tuple[int, ...], image_size: int) -> None:
        super().__init__()
        self.patch_size = hf.square("patch_size", config.patch_size)
        check_taps(taps, config.num_hidden_layers)
        if config.tubelet_size != TUBE:
            raise ValueError(
                f"its {config.model_type} has tokens of {config.tubelet_size} frames, not {TUBE}"
            )
        if image_size < self.patch_size or image_size % self.patch_size:
            raise ValueError(
                f"image_size is {image_size}, expected a multiple of the teacher's patch size "
                f"{self.patch_size}: {self.patch_size * 16} for 16 x 16 tokens"
            )
        self.taps, self.image_size, self.facts = taps, image_size, hf.facts(config)
        self.grid, self.width = image_size // self.patch_size, config.hidden_size

    @classmethod
    def read(
        cls, source: str, *, weights: str, taps: tuple[int, ...], image_size: int | None
    ) -> "TubeNetwork":
        """Returns a network by folder, hub id or known name; without ``image_size`` at its own."""
        library, pixels = hf.transformers(), (cls.mean, cls.std)
        kind, sizes = getattr(library, f"{cls.library_name}Model"), cls.named_sizes(source)
        if weights == "random" and sizes:
            config = getattr(library, f"{cls.library_name}Config")(**sizes)
        else:
            config = hf.read_config(source)
        if config.model_type != cls.model_type:
            raise ValueError(
                f"{source!r} is a {config.model_type!r} checkpoint, expected {cls.model_type!r}"
            )
        if weights == "random":
            model = hf.random_model(kind, config)
        else:
            model = hf.pretrained_model(kind, source, config, unread=cls.unread)
            pixels = hf.pixel_statistics(source, pixels)
        own = hf.square("image_size", getattr(config, cls.size_key))
        network = cls(model, taps=taps, image_size=own if image_size is None else image_size)
        network.mean, network.std = pixels
        return network

    @classmethod
    @abstractmethod
    def named_sizes(cls, source: str) -> dict[str, Any]:
        """Returns sizes by a name on the hub, or of "tiny", for tests; else nothing."""

    def look(
        self, clips: Tensor, tap: Tap | None, *, pooled: bool, attention: bool
    ) -> tuple[Tensor, Tensor]:
        to_end = pooled or attention
        hidden = run_blocks(self.embed(clips), self.blocks, self.taps, tap, to_end=to_end)
        B, t = len(clips), clips.shape[1] // TUBE
        vector = self.norm(hidden).mean(1, keepdim=True) if pooled else clips.new_empty(B, 1, 0)
        lengths = saliency(hidden).unflatten(1, (t, -1)) if attention else None
        return vector, clips.new_empty(B, t, 0) if lengths is None else lengths

    def final(self, clips: Tensor, *, pooled: bool) -> Final:
        tokens = self.norm(run_blocks(self.embed(clips), self.blocks, (), None, to_end=True))
        return Final(tokens, tokens[:, :0], tokens.new_empty(len(clips), 0))

    @abstractmethod
    def embed(self, clips: Tensor) -> Tensor:
        """Returns the input of the first block, ``[B, N, D]``, for clips ``[B, T, 3, S, S]``."""


class VideoMAENetwork(TubeNetwork):
    """VideoMAE's encoder; its sines over 8 x 14 x 14 tubes are interpolated to other grids."""

    model_type, library_name, size_key = "videomae", "VideoMAE", "image_size"
    unread = ("decoder", "mask_token", "classifier", "fc_norm")
    positions: Tensor

    def __init__(self, model: Any, *, taps: tuple[int, ...], image_size: int) -> None:
        config = model.config
        super().__init__(config, taps=taps, image_size=image_size)
        side = hf.square("image_size", config.image_size) // self.patch_size
        self.projection = model.embeddings.patch_embeddings.projection
        self.register_buffer("positions", model.embeddings.position_embeddings, persistent=False)
        self._positions = GridPositions((config.num_frames // TUBE, side, side))
        self.blocks = model.encoder.layer
        # A checkpoint fine-tuned on its mean has its last norm in the classifier.
        self.norm = nn.Identity() if model.layernorm is None else model.layernorm

    @classmethod
    def named_sizes(cls, source: str) -> dict[str, Any]:
        if source == "tiny":
            return _TINY | {"intermediate_size": 96, "image_size": 64, "num_frames": 4}
        if (named := _VIDEOMAE.fullmatch(source)) is None:
            return {}
        sizes = _sizes(named[1])
        return sizes | {"intermediate_size": 4 * sizes["hidden_size"]}

    def embed(self, clips: Tensor) -> Tensor:
        tubes = self.projection(clips.transpose(1, 2)).flatten(2).mT
        return tubes + self._positions(
            self.positions, (clips.shape[1] // TUBE, self.grid, self.grid)
        )


class VJEPA2Network(TubeNetwork):
    """V-JEPA 2's encoder, without its predictor; its rotary positions fit every grid."""

    model_type, library_name, size_key = "vjepa2", "VJEPA2", "crop_size"
    unread = ("pooler", "classifier")

    def __init__(self, model: Any, *, taps: tuple[int, ...], image_size: int) -> None:
        super().__init__(model.config, taps=taps, image_size=image_size)
        encoder = model.encoder
        self.embeddings, self.blocks, self.norm = (
            encoder.embeddings,
            encoder.layer,
            encoder.layernorm,
        )
        for layer in encoder.layer:
            layer.attention.grid_size = self.grid

    @classmethod
    def named_sizes(cls, source: str) -> dict[str, Any]:
        if source == "tiny":
            predictor = {"pred_hidden_size": 24, "pred_num_hidden_layers": 1}
            sizes = {"mlp_ratio": 2.0, "crop_size": 64, "frames_per_clip": 4}
            return _TINY | sizes | predictor | {"pred_num_attention_heads": 2}
        if (named := _VJEPA2.fullmatch(source)) is None:
            return {}
        return _sizes(named[1]) | {
            "mlp_ratio": 48 / 11 if named[1] == "g" else 4.0,
            "frames_per_clip": int(named[2]),
            "crop_size": int(named[3]),
        }

    def embed(self, clips: Tensor) -> Tensor:
        return self.embeddings(clips)


def _sizes(name: str) -> dict[str, int]:
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads")
    return dict(zip(names, _WIDTHS[name], strict=True))
