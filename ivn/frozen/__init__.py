"""Networks that others trained, frozen: teachers of images or clips, and encoders."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from ivn.model.state_dict import check_weight

from .efficientnet import EfficientNetNetwork
from .hf_images import read_transformers
from .internvideo2 import InternVideo2Network
from .protocol import FeatureNetwork, ImageNetwork, Network, TappedNetwork, Targets
from .siglip import SiglipNetwork
from .teacher import Teacher
from .timm_vit import TimmNetwork
from .tubes import VideoMAENetwork, VJEPA2Network

# The kinds of teachers.
NETWORKS: dict[str, type[TappedNetwork]] = {
    "efficientnet": EfficientNetNetwork,
    "siglip": SiglipNetwork,
    "timm": TimmNetwork,
    "videomae": VideoMAENetwork,
    "vjepa2": VJEPA2Network,
    "internvideo2": InternVideo2Network,
}
if TYPE_CHECKING:
    TeacherKind = str
else:
    TeacherKind = Literal[tuple(NETWORKS)]

# How users name encoders that are not ivn's: statistics of pixels, and those of other libraries.
RAW = "raw"
LIBRARIES = ("timm:", "hf:")
AT_RANDOM = "@random"  # behind a name: the same network with random weights

__all__ = ["ImageNetwork", "Targets", "Teacher", "TeacherConfig", "build_teacher", "release_taps"]


@dataclass(frozen=True)
class TeacherConfig:
    """A frozen network, and the blocks whose features are targets.

    Attributes:
        kind: family of networks: "efficientnet" (Lite0, weights from a package), "siglip", "timm"
            (its vision transformers: SigLIP, CLIP, DINOv2 and others), "videomae", "vjepa2" or
            "internvideo2" (Tables 2 and 3).
        source: place of the weights: for siglip, videomae and vjepa2 the folder or hub id of a
            checkpoint of transformers; for timm the model's name, hf-hub:ID or a folder; for
            internvideo2 a file; "" for efficientnet. With random weights a known name is enough.
        image_size: side of the frames that the teacher sees, in pixels.
        taps: numbers of the tapped blocks, ascending: tap n is the stream after n blocks, which is
            the input of block n. An efficientnet has [1], its last map,
            with a token for 32 x 32 pixels, and [11], a map with a token for 16 x 16.
        weights: "pretrained" weights, or "random" ones of the same sizes, for tests and benchmarks.
        dtype: dtype of the teacher's weights and computation.
    """

    kind: TeacherKind
    source: str = ""
    image_size: int = 256
    taps: tuple[int, ...] = ()
    weights: Literal["pretrained", "random"] = "pretrained"
    dtype: Literal["float32", "bfloat16"] = "float32"


def build_teacher(config: TeacherConfig) -> Teacher:
    """Returns the teacher that ``config`` names, on the CPU; reads files or the hub.

    Raises:
        ImportError: its extra is not installed.
        ValueError: the source, the image size or the taps do not fit, or weights are not finite.
    """
    kind = NETWORKS[config.kind]
    if kind.sources and not config.source:
        raise ValueError(
            f"the {config.kind} teacher has no source: give stage.teacher.source, {kind.sources}"
        )
    network = kind.read(
        config.source, weights=config.weights, taps=config.taps, image_size=config.image_size
    )
    _check_finite(network, config.source or config.kind)
    return Teacher(network.to(getattr(torch, config.dtype)))


def frames_seen(config: TeacherConfig, frames: int) -> int:
    """Returns the teacher's number of frames for a student's ``frames``, without reading files."""
    return frames * NETWORKS[config.kind].frames_per_slot


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
        network = TimmNetwork.read(name, weights=weights, taps=(), image_size=image_size)
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
