"""What the networks inside frozen teachers take and give.

Legend: B clips, T frames, t = T / frames_per_slot time slots, I = B * T images, S side of the
teacher's frames in pixels, n tokens of a slot, D teacher's width, P that of its pooled vectors,
K tapped layers, V tokens of a clip that are kept, c cls tokens.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from ivn.model.layers import wide_dtype

Tap = Callable[[int, Tensor], None]


@dataclass(frozen=True)
class TeacherConfig:
    """Which network teaches, and where it is tapped.

    Attributes:
        kind: "efficientnet" (Lite0, weights from a package), "siglip", "timm" (vision transformers
            of timm: SigLIP, CLIP, DINOv2 and others), "videomae", "vjepa2" or "internvideo2"
            (Tables 2 and 3).
        source: "" for efficientnet; for siglip, videomae and vjepa2 the folder or hub id of a
            checkpoint of transformers; for timm the model's name, hf-hub:ID or a folder; for
            internvideo2 a file of its weights. With random weights a known name is enough.
        image_size: side of the frames that the teacher sees, in pixels.
        taps: numbers of blocks, ascending; tap n is the stream after n blocks have run, which is
            the input of block n. For efficientnet (1,): the network counts as one block.
        weights: "random" keeps the class and its sizes, for tests and benchmarks.
        dtype: of the frozen weights and of what is computed from them.
    """

    kind: Literal["efficientnet", "siglip", "timm", "videomae", "vjepa2", "internvideo2"]
    source: str = ""
    image_size: int = 256
    taps: tuple[int, ...] = ()
    weights: Literal["pretrained", "random"] = "pretrained"
    dtype: Literal["float32", "bfloat16"] = "float32"


class Targets(NamedTuple):
    """What a teacher says about clips. What was not asked for is empty.

    Attributes:
        layers: raw features of each tap, ascending, ``[K, B, t * n, D]`` or ``[K, B, V, D]``.
        pooled: raw vectors, one a frame from a network of images and one a clip from a network of
            clips, ``[B, T or 1, P]``.
        attention: saliency of each token within its slot, at least 0, ``[B, t, n]``; fp32, or
            fp64 if the teacher is.
    """

    layers: Tensor
    pooled: Tensor
    attention: Tensor


class Final(NamedTuple):
    """What a network's own library takes for its features, behind its last norm.

    Attributes:
        tokens: ``[B, t * n, D]``, time-major.
        cls: ``[B, c, D]``; of a network of images those of each frame, in time order.
        pooled: of its pooling head, ``[B, P]``, the mean over frames from a network of images;
            ``[B, 0]`` where it has none or was not asked.
    """

    tokens: Tensor
    cls: Tensor
    pooled: Tensor


class Network(nn.Module, ABC):
    """A frozen network of another library.

    Attributes:
        image_size: side of a frame in pixels.
        grid: tokens along a side.
        width: features of a token.
        mean, std: of the pixels, in [0, 1], that the network was trained on.
        frames_per_slot: frames of a token.
    """

    image_size: int
    grid: int
    width: int
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    frames_per_slot: int = 1

    @property
    def dtype(self) -> torch.dtype:
        """In which the network computes."""
        return next(self.parameters()).dtype


class FeatureNetwork(Network):
    """A network as its own library uses it.

    Attributes:
        cls_tokens: of an image, or of a clip.
        has_head: a pooling head with attention of its own.
        facts: what of the network its weights do not tell, as plain values.
    """

    cls_tokens: int = 0
    has_head: bool = False
    facts: Mapping[str, Any] = MappingProxyType({})

    @abstractmethod
    def final(self, clips: Tensor, *, pooled: bool) -> Final:
        """Its features of clips ``[B, T, 3, S, S]``, normalised, in the network's dtype."""


class TappedNetwork(Network):
    """The network inside a teacher.

    Attributes:
        taps: numbers of blocks to tap after, ascending.
        images_at_once: how many make the fastest pass where a caller asks for no number; 0: all.
    """

    taps: tuple[int, ...]
    images_at_once: int = 0

    @property
    def pooled_width(self) -> int:
        """Features of a pooled vector, P."""
        return self.width

    @abstractmethod
    def pooled_vectors(self, frames: int) -> int:
        """How many pooled vectors a clip of ``frames`` gives."""

    @abstractmethod
    def look(
        self, clips: Tensor, tap: Tap | None, *, pooled: bool, attention: bool
    ) -> tuple[Tensor, Tensor]:
        """Give ``tap(k, tokens)`` each tapped layer, then return pooled and attention.

        Args:
            clips: ``[B, T, 3, S, S]``, normalised, in the network's dtype.
            tap: called as soon as a layer is there, with its tokens in the order of the clips,
                slots and places, so that what it drops is not held.
            pooled: ask for ``[B, T or 1, P]``; otherwise that with P = 0.
            attention: ask for ``[B, t, n]``; otherwise that with n = 0.
        """


class ImageNetwork(TappedNetwork):
    """A network that looks at each frame by itself."""

    def pooled_vectors(self, frames: int) -> int:
        return frames

    def look(
        self, clips: Tensor, tap: Tap | None, *, pooled: bool, attention: bool
    ) -> tuple[Tensor, Tensor]:
        found = self.features(clips.flatten(0, 1), tap, pooled=pooled, attention=attention)
        pooled_frames, weights = (output.unflatten(0, clips.shape[:2]) for output in found)
        return pooled_frames, weights

    @abstractmethod
    def features(
        self, images: Tensor, tap: Tap | None, *, pooled: bool, attention: bool
    ) -> tuple[Tensor, Tensor]:
        """Give ``tap(k, tokens [I, n, D])`` each tapped layer, then return pooled and attention.

        Args:
            images: ``[I, 3, S, S]``, normalised, in the network's dtype.
            tap: called as soon as a layer is there, so that what it drops is not held.
            pooled: ask for ``[I, P]``; otherwise ``[I, 0]``.
            attention: ask for ``[I, n]``; otherwise ``[I, 0]``.
        """


class ClipNetwork(TappedNetwork):
    """A network that looks at a clip as a whole, and pools it into one vector."""

    def pooled_vectors(self, frames: int) -> int:
        return 1


def per_clip(images: Final, clips: int) -> Final:
    """The features of the frames of ``clips`` clips as features of the clips."""
    tokens, cls, pooled = (part.unflatten(0, (clips, -1)) for part in images)
    wide = pooled.to(wide_dtype(pooled.dtype))
    return Final(tokens.flatten(1, 2), cls.flatten(1, 2), wide.mean(1))


def run_blocks(
    hidden: Tensor,
    blocks: nn.ModuleList,
    taps: tuple[int, ...],
    tap: Tap | None,
    *,
    to_end: bool,
    arguments: tuple[None, ...] = (),
) -> Tensor:
    """The stream ``hidden`` after the last block, or, unless ``to_end``, after the last tapped.

    Args:
        hidden: ``[B, N, D]``, the input of the first block.
        blocks: each called with the stream and ``arguments``; what they give after the stream is
            dropped.
        taps: as a teacher's.
        tap: gets each tapped layer, if it is given.
        to_end: run the blocks after the last tapped too.
        arguments: of every block.
    """
    tapped = {} if tap is None else {block: k for k, block in enumerate(taps)}
    last = len(blocks) if to_end else max(tapped, default=0)
    for number in range(last + 1):
        if tap is not None and number in tapped:
            tap(tapped[number], hidden)
        if number < last:
            output = blocks[number](hidden, *arguments)
            hidden = output[0] if isinstance(output, tuple) else output
    return hidden


def saliency(tokens: Tensor) -> Tensor:
    """The length of each token ``[..., N, D] -> [..., N]``, in at least fp32."""
    # Of tokens before the last norm, which would make all lengths alike.
    return torch.linalg.vector_norm(tokens.to(wide_dtype(tokens.dtype)), dim=-1)


def check_taps(taps: tuple[int, ...], depth: int, *, first: int = 0) -> None:
    """Refuse taps that do not ascend or lie outside ``[first, depth]``."""
    if list(taps) != sorted(set(taps)) or any(not first <= tap <= depth for tap in taps):
        raise ValueError(
            f"taps are {list(taps)}, expected ascending numbers of blocks in [{first}, {depth}]: "
            f"this teacher has {depth}; [{depth}] is its last one's output"
        )
