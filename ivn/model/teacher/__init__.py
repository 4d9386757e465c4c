"""Frozen teachers, of images and of clips, behind one protocol."""

from collections.abc import Callable

import torch

from .efficientnet import load_efficientnet
from .hf_images import read_transformers
from .internvideo2 import load_internvideo2
from .protocol import FeatureNetwork, ImageNetwork, TappedNetwork, Targets, TeacherConfig
from .siglip import load_siglip
from .teacher import Teacher
from .timm_vit import load_timm, read_timm
from .tubes import TUBE, load_videomae, load_vjepa2

_LOADERS: dict[str, Callable[[TeacherConfig], TappedNetwork]] = {
    "efficientnet": load_efficientnet,
    "siglip": load_siglip,
    "timm": load_timm,
    "videomae": load_videomae,
    "vjepa2": load_vjepa2,
    "internvideo2": load_internvideo2,
}

__all__ = ["ImageNetwork", "Targets", "Teacher", "TeacherConfig", "build_teacher", "release_taps"]


def build_teacher(config: TeacherConfig) -> Teacher:
    """The teacher that ``config`` names, on the CPU; it reads files or the hub.

    Raises:
        ImportError: its extra is not installed.
        ValueError: the source, the image size or the taps do not fit.
    """
    return Teacher(_LOADERS[config.kind](config).to(getattr(torch, config.dtype)))


def frames_seen(config: TeacherConfig, frames: int) -> int:
    """Frames that the teacher sees where the student sees ``frames``; nothing is read."""
    return frames * (TUBE if config.kind in ("videomae", "vjepa2") else 1)


def read_network(source: str, *, image_size: int | None) -> FeatureNetwork:
    """A frozen network of another library: ``timm:NAME`` or ``hf:ID-or-folder``.

    ``@random`` behind it gives random weights of the class.

    Raises:
        ImportError: its extra is not installed.
        ValueError: it cannot be read, or not at this ``image_size``.
    """
    library, _, name = source.partition(":")
    weights = "random" if name.endswith("@random") else "pretrained"
    name = name.removesuffix("@random")
    if library not in ("timm", "hf") or not name:
        raise ValueError(f"no encoder {source!r}: expected timm:NAME or hf:ID-or-folder")
    if library == "timm":
        return read_timm(name, weights=weights, taps=(), image_size=image_size)
    return read_transformers(name, weights=weights, image_size=image_size)


def release_taps(depth: int, interval: float, count: int = 6) -> tuple[int, ...]:
    """Where the released code taps its teacher: ``depth - 1 - int(i * interval)``, ascending.

    A SigLIP of 40 blocks is tapped at interval 3.33 for ``base`` and 1.67 for ``large``.
    """
    return tuple(depth - 1 - int(i * interval) for i in reversed(range(count)))
