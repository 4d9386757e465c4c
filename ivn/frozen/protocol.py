"""The protocol of frozen networks: their sizes, inputs and outputs.

Legend: B clips, T frames, t = T / frames_per_slot time slots, I = B * T images, S side of the
teacher's frames in pixels, n tokens of a slot, D teacher's width, P that of its pooled vectors,
K tapped layers, c cls tokens.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ivn.model.layers import wide_dtype

Tap = Callable[[int, Tensor], None]


class Targets(NamedTuple):
    """A teacher's outputs for clips; those that were not asked for are empty.

    Attributes:
        layers: raw features of each tap, ascending, ``[K, B, t * n, D]``.
        pooled: raw vectors, one per frame from a network of images and one per clip from a network
            of clips, ``[B, T or 1, P]``.
        attention: saliency of each token within its slot, at least 0, ``[B, t, n]``; fp32, or
            fp64 for a teacher in fp64.
    """

    layers: Tensor
    pooled: Tensor
    attention: Tensor


class Final(NamedTuple):
    """The features of a network as its own library defines them, after its last norm.

    Attributes:
        tokens: tokens ``[B, t * n, D]``, time-major.
        cls: cls tokens ``[B, c, D]``; from a network of images those of each frame, in time order.
        pooled: output of the pooling head, ``[B, P]``, from a network of images its mean over
            frames; ``[B, 0]`` if there is no such head or it was not asked for.
    """

    tokens: Tensor
    cls: Tensor
    pooled: Tensor


class Network(nn.Module, ABC):
    """A frozen network of another library.

    Attributes:
        image_size: side of a frame in pixels.
        grid: tokens along a side of a frame.
        width: features of a token.
        mean, std: mean and deviation by which pixels in [0, 1] are normalised.
        frames_per_slot: frames per token.
    """

    image_size: int
    grid: int
    width: int
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    frames_per_slot: int = 1

    @property
    def dtype(self) -> torch.dtype:
        """Dtype in which the network computes."""
        return next(self.parameters()).dtype


class FeatureNetwork(Network):
    """A network that gives the features of its own library.

    Attributes:
        cls_tokens: number of cls tokens per image, or per clip.
        has_head: whether it has a pooling head with attention.
        facts: facts of the network that its weights do not show, as plain values.
    """

    cls_tokens: int = 0
    has_head: bool = False
    facts: Mapping[str, Any] = MappingProxyType({})

    @abstractmethod
    def final(self, clips: Tensor, *, pooled: bool) -> Final:
        """Returns features of clips ``[B, T, 3, S, S]``, normalised, in the network's dtype."""


class TappedNetwork(Network):
    """The network inside a teacher.

    Attributes:
        sources: places where weights can be, for messages; "" where none has to be given.
        taps: numbers of blocks to tap after, ascending.
        images_at_once: number of images in the fastest pass; 0 for all.
    """

    sources: ClassVar[str] = ""
    taps: tuple[int, ...]
    images_at_once: int = 0

    @classmethod
    @abstractmethod
    def read(
        cls, source: str, *, weights: str, taps: tuple[int, ...], image_size: int
    ) -> "TappedNetwork":
        """Returns a network on the CPU in fp32.

        Args:
            source: place of the weights; with random ones a known name is enough.
            weights: "pretrained" or "random".
            taps: numbers of the blocks to tap after, ascending.
            image_size: side of the frames in pixels.

        Raises:
            ImportError: the network's extra is not installed.
            ValueError: the source, the image size or the taps do not fit.
        """

    @property
    def pooled_width(self) -> int:
        """Features of a pooled vector, P."""
        return self.width

    @abstractmethod
    def pooled_vectors(self, frames: int) -> int:
        """Returns the number of pooled vectors for a clip of ``frames`` frames."""

    @abstractmethod
    def look(
        self, clips: Tensor, tap: Tap | None, *, pooled: bool, attention: bool
    ) -> tuple[Tensor, Tensor]:
        """Calls ``tap(k, tokens)`` with each tapped layer, then returns pooled and attention.

        Args:
            clips: ``[B, T, 3, S, S]``, normalised, in the network's dtype.
            tap: called as soon as a layer is computed, with its tokens in the order of clips, slots
                and positions, so that layers it does not keep are freed.
            pooled: whether to compute ``[B, T or 1, P]``; without it P is 0.
            attention: whether to compute ``[B, t, n]``; without it n is 0.
        """


class ImageNetwork(TappedNetwork):
    """A network that computes each frame by itself."""

    def pooled_vectors(self, frames: int) -> int:
        return frames

    def look(
        self, clips: Tensor, tap: Tap | None, *, pooled: bool, attention: bool
    ) -> tuple[Tensor, Tensor]:
        outputs = self.features(clips.flatten(0, 1), tap, pooled=pooled, attention=attention)
        pooled_frames, weights = (output.unflatten(0, clips.shape[:2]) for output in outputs)
        return pooled_frames, weights

    @abstractmethod
    def features(
        self, images: Tensor, tap: Tap | None, *, pooled: bool, attention: bool
    ) -> tuple[Tensor, Tensor]:
        """Calls ``tap(k, tokens [I, n, D])`` with each layer, then returns pooled and attention.

        Args:
            images: ``[I, 3, S, S]``, normalised, in the network's dtype.
            tap: called as soon as a layer is computed, so that layers it does not keep are freed.
            pooled: whether to compute ``[I, P]``; without it ``[I, 0]``.
            attention: whether to compute ``[I, n]``; without it ``[I, 0]``.
        """


class ClipNetwork(TappedNetwork):
    """A network that computes a clip as a whole, and pools it into one vector."""

    def pooled_vectors(self, frames: int) -> int:
        return 1


def per_clip(images: Final, clips: int) -> Final:
    """Joins the features of the frames of ``clips`` clips into features of the clips."""
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
    """Returns the stream after the last block or, unless ``to_end``, after the last tapped block.

    Args:
        hidden: input of the first block, ``[B, N, D]``.
        blocks: blocks, called with the stream and ``arguments``; outputs beside the stream are
            dropped.
        taps: numbers of the blocks to tap after, ascending.
        tap: function that is called with each tapped layer.
        to_end: whether the blocks after the last tapped one run, too.
        arguments: further arguments of every block.
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
    """Returns the length of each token, ``[..., N, D] -> [..., N]``, in at least fp32."""
    # For tokens before the last norm, which would make all lengths alike.
    return torch.linalg.vector_norm(tokens.to(wide_dtype(tokens.dtype)), dim=-1)


def check_taps(taps: tuple[int, ...], depth: int, *, first: int = 0) -> None:
    """Checks that taps ascend and lie in ``[first, depth]``.

    Raises:
        ValueError: they do not.
    """
    if list(taps) != sorted(set(taps)) or any(not first <= tap <= depth for tap in taps):
        raise ValueError(
            f"taps are {list(taps)}, expected ascending numbers of blocks in [{first}, {depth}]: "
            f"this teacher has {depth}; [{depth}] is its last one's output"
        )
