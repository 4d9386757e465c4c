"""Image encoders of transformers, frozen: ViT, CLIP, DINOv2 and DINOv3, I-JEPA.

Legend: I images, n tokens of an image, D width.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor

from ivn.data.batch import IMAGENET_MEAN, IMAGENET_STD

from . import hf, siglip
from .protocol import FeatureNetwork, Final, per_clip
from .tubes import VideoMAENetwork, VJEPA2Network

_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_IMAGENET = (IMAGENET_MEAN, IMAGENET_STD)
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


class _Family(NamedTuple):
    model: str
    pixels: hf.Pixels  # used if no processor states them
    cls_tokens: int = 1
    built: Mapping[str, bool] = MappingProxyType({})
    called: Mapping[str, bool] = MappingProxyType({})


_RESIZED = {"interpolate_pos_encoding": True}
_FAMILIES = {
    "vit": _Family("ViTModel", _HALF, built={"add_pooling_layer": False}, called=_RESIZED),
    "clip_vision_model": _Family("CLIPVisionModel", _CLIP, called=_RESIZED),
    "dinov2": _Family("Dinov2Model", _IMAGENET),
    "dinov2_with_registers": _Family("Dinov2WithRegistersModel", _IMAGENET),
    "dinov3_vit": _Family("DINOv3ViTModel", _IMAGENET),
    "ijepa": _Family("IJepaModel", _IMAGENET, cls_tokens=0, called=_RESIZED),
}
_SIGLIP = ("siglip", "siglip_vision_model")
_TUBES = {kind.model_type: kind for kind in (VideoMAENetwork, VJEPA2Network)}
_UNREAD = ("text_", "logit_scale", "visual_projection", "pooler", "classifier", "decoder")


class TransformersImages(FeatureNetwork):
    """A model of images from transformers; its features are its ``last_hidden_state``."""

    def __init__(self, model: Any, family: _Family, image_size: int) -> None:
        super().__init__()
        config = model.config
        patch = hf.square("patch_size", config.patch_size)
        if image_size < patch or image_size % patch:
            raise ValueError(f"frames of {image_size} pixels, expected a multiple of {patch}")
        self.image_size, self.grid = image_size, image_size // patch
        self.width, self.facts = config.hidden_size, hf.facts(config)
        self.cls_tokens = family.cls_tokens
        self.prefix = family.cls_tokens + getattr(config, "num_register_tokens", 0)
        self.called = family.called
        self.model = model

    def final(self, clips: Tensor, *, pooled: bool) -> Final:
        hidden = self.model(clips.flatten(0, 1), **self.called).last_hidden_state
        empty = hidden.new_empty(len(hidden), 0)
        images = Final(hidden[:, self.prefix :], hidden[:, : self.cls_tokens], empty)
        return per_clip(images, len(clips))


def read_transformers(source: str, *, weights: str, image_size: int | None) -> FeatureNetwork:
    """Returns a video or image encoder of transformers.

    With random weights, the hub ids of SigLIP, VideoMAE and V-JEPA 2 are enough: nothing is read.

    Args:
        source: folder or hub id.
        weights: "pretrained" or "random".
        image_size: side of the frames in pixels; the checkpoint's own without it.
    """
    model_type = _known_type(source) if weights == "random" else ""
    config: Any = None if model_type else hf.read_config(source)
    model_type = model_type or config.model_type
    if model_type in _SIGLIP:
        return siglip.SiglipNetwork.read(source, weights=weights, taps=(), image_size=image_size)
    if tubes := _TUBES.get(model_type):
        return tubes.read(source, weights=weights, taps=(), image_size=image_size)
    if model_type == "clip":
        config, model_type = config.vision_config, "clip_vision_model"
    if model_type not in _FAMILIES:
        known = ", ".join(sorted([*_FAMILIES, "clip", *_SIGLIP, *_TUBES]))
        raise ValueError(f"{source!r} is a {model_type!r} checkpoint, expected one of {known}")
    family = _FAMILIES[model_type]
    kind, pixels = getattr(hf.transformers(), family.model), family.pixels
    if weights == "random":
        model = hf.random_model(kind, config, **family.built)
    else:
        model = hf.pretrained_model(kind, source, config, unread=_UNREAD, **family.built)
        pixels = hf.pixel_statistics(source, pixels)
    own = hf.square("image_size", config.image_size)
    network = TransformersImages(model, family, own if image_size is None else image_size)
    network.mean, network.std = pixels
    return network


def _known_type(source: str) -> str:
    """Returns the type of a model whose sizes follow from its name, or ""."""
    if source == "tiny":
        return ""
    if siglip.named_sizes(source):
        return "siglip"
    return next((name for name, kind in _TUBES.items() if kind.named_sizes(source)), "")
