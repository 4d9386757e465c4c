"""Networks that others trained, frozen: teachers of images or clips, and encoders."""

from collections.abc import Callable

import torch

from ivn.model.state_dict import check_weight

from .efficientnet import load_efficientnet
from .hf_images import read_transformers
from .internvideo2 import load_internvideo2
from .protocol import (
    FeatureNetwork,
    ImageNetwork,
    Network,
    TappedNetwork,
    Targets,
    TeacherConfig,
)
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

# How users name encoders that are not ivn's: statistics of pixels, and those of other libraries.
RAW = "raw"
LIBRARIES = ("timm:", "hf:")
AT_RANDOM = "@random"  # behind a name: the same network with random weights

__all__ = ["ImageNetwork", "Targets", "Teacher", "TeacherConfig", "build_teacher", "release_taps"]


def build_teacher(config: TeacherConfig) -> Teacher:
    """Returns the teacher that ``config`` names, on the CPU; reads files or the hub.

    Raises:
        ImportError: its extra is not installed.
        ValueError: the source, the image size or the taps do not fit, or weights are not finite.
    """
    network = _LOADERS[config.kind](config)
    _check_finite(network, config.source or config.kind)
    return Teacher(network.to(getattr(torch, config.dtype)))


def frames_seen(config: TeacherConfig, frames: int) -> int:
    """Returns the teacher's number of frames for a student's ``frames``, without reading files."""
    return frames * (TUBE if config.kind in ("videomae", "vjepa2") else 1)


def read_network(source: str, *, image_size: int | None) -> FeatureNetwork:
    """Returns a frozen network of another library: ``timm:NAME`` or ``hf:ID-or-folder``.

    ``@random`` at the end of the name gives random weights.

    Raises:
        ImportError: its extra is not installed.
        ValueError: it cannot be read at this ``image_size``, or weights are not finite.
    """
    library, _, name = source.partition(":")
    weights = "random" if name.endswith(AT_RANDOM) else "pretrained"
    name = name.removesuffix(AT_RANDOM)
    if not source.startswith(LIBRARIES) or not name:
        raise ValueError(f"no encoder {source!r}: expected timm:NAME or hf:ID-or-folder")
    network: FeatureNetwork
    if library == "timm":
        network = read_timm(name, weights=weights, taps=(), image_size=image_size)
    else:
        network = read_transformers(name, weights=weights, image_size=image_size)
    _check_finite(network, source)
    return network


def _check_finite(network: Network, source: str) -> None:
    for key, value in network.state_dict().items():
        if value.is_floating_point():
            check_weight(key, value, source)


def release_taps(depth: int, interval: float, count: int = 6) -> tuple[int, ...]:
    """Returns the taps of the released code: ``depth - 1 - int(i * interval)``, ascending.

    A SigLIP of 40 blocks is tapped at interval 3.33 for ``base`` and 1.67 for ``large``.
    """
    return tuple(depth - 1 - int(i * interval) for i in reversed(range(count)))
