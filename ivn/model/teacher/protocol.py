"""What every frozen image teacher takes and gives.

Legend: B clips, T frames, I = B * T images, S side of the teacher's frames in pixels, n tokens of
a frame, D teacher's width, K tapped layers, V tokens of a clip that are kept.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ivn.data.clip import IMAGENET_MEAN, IMAGENET_STD
from ivn.ops.tokens import gather_tokens

from ..layers import wide_dtype

Tap = Callable[[int, Tensor], None]


@dataclass(frozen=True)
class TeacherConfig:
    """Which image network teaches, and where it is tapped.

    Attributes:
        kind: "efficientnet" (Lite0, weights from a package) or "siglip".
        source: folder or hub id of a SigLIP or fixed-resolution SigLIP2 checkpoint; "" for
            efficientnet. With random weights the hub id alone tells the sizes.
        image_size: side of the frames that the teacher sees, in pixels.
        taps: numbers of blocks, ascending; tap n is the stream after n blocks have run, which is
            the input of block n. For efficientnet (1,): the network counts as one block.
        weights: "random" keeps the class and its sizes, for tests and benchmarks.
        dtype: of the frozen weights and of what is computed from them.
    """

    kind: Literal["efficientnet", "siglip"]
    source: str
    image_size: int
    taps: tuple[int, ...]
    weights: Literal["pretrained", "random"] = "pretrained"
    dtype: Literal["float32", "bfloat16"] = "float32"


class Targets(NamedTuple):
    """What a teacher says about clips. What was not asked for is empty.

    Attributes:
        layers: raw features of each tap, ascending, ``[K, B, T * n, D]`` or ``[K, B, V, D]``.
        pooled: one raw vector a frame, ``[B, T, D]``.
        attention: saliency of each token within its frame, at least 0, ``[B, T, n]``; fp32, or
            fp64 if the teacher is.
    """

    layers: Tensor
    pooled: Tensor
    attention: Tensor


class ImageNetwork(nn.Module, ABC):
    """The network inside a teacher.

    Attributes:
        image_size: side of an image in pixels.
        grid: tokens along a side.
        width: features of a token.
        taps: numbers of blocks to tap after, ascending.
        mean, std: of the pixels, in [0, 1], that the network was trained on.
        images_at_once: how many make the fastest pass where a caller asks for no number; 0: all.
    """

    image_size: int
    grid: int
    width: int
    taps: tuple[int, ...]
    mean = (0.5, 0.5, 0.5)
    std = (0.5, 0.5, 0.5)
    images_at_once: int = 0

    @abstractmethod
    def features(
        self, images: Tensor, tap: Tap | None, *, pooled: bool, attention: bool
    ) -> tuple[Tensor, Tensor]:
        """Give ``tap(k, tokens [I, n, D])`` each tapped layer, then return pooled and attention.

        Args:
            images: ``[I, 3, S, S]``, normalised, in the network's dtype.
            tap: called as soon as a layer is there, so that what it drops is not held.
            pooled: ask for ``[I, D]``; otherwise ``[I, 0]``.
            attention: ask for ``[I, n]``; otherwise ``[I, 0]``.
        """


class Teacher(nn.Module):
    """A frozen image network that looks at each frame of a clip by itself.

    ``network`` moves with ``to()`` but is no registered submodule: no parent's ``train()``,
    ``parameters()``, ``state_dict()`` or data-parallel wrapper reaches it.
    """

    _mean: Tensor
    _std: Tensor
    _student_mean: Tensor
    _student_std: Tensor

    def __init__(self, network: ImageNetwork) -> None:
        super().__init__()
        self._network = (network.eval().requires_grad_(False),)
        for name in ("mean", "std"):
            pixels = torch.tensor(getattr(network, name))
            self.register_buffer(f"_{name}", pixels[:, None, None], persistent=False)
        for name, value in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            pixels = torch.tensor(value)
            self.register_buffer(f"_student_{name}", pixels[:, None, None], persistent=False)

    @property
    def network(self) -> ImageNetwork:
        """The frozen network."""
        return self._network[0]

    @property
    def image_size(self) -> int:
        """Side of the frames that :meth:`forward` takes, in pixels."""
        return self.network.image_size

    @property
    def grid(self) -> int:
        """Tokens along a side of a frame; the student needs as many."""
        return self.network.grid

    @property
    def width(self) -> int:
        """Features of a token, D."""
        return self.network.width

    @property
    def num_taps(self) -> int:
        """Tapped layers, K."""
        return len(self.network.taps)

    @property
    def dtype(self) -> torch.dtype:
        """In which the teacher computes."""
        return next(self.network.parameters()).dtype

    def forward(
        self,
        video: Tensor,
        *,
        index: Tensor | None = None,
        layers: bool = True,
        pooled: bool = True,
        attention: bool = True,
        clips_at_once: int = 0,
    ) -> Targets:
        """Targets from the teacher's own view of the clips, without gradients.

        Args:
            video: uint8 ``[B, T, S, S, 3]``.
            index: ``[B, V]`` int64: keep these of a clip's ``T * n`` tokens in ``layers``.
            layers, pooled, attention: what to compute; blocks that none of them needs do not run.
            clips_at_once: clips a pass, to bound memory; 0 leaves it to the network. Changes no
                result.
        """
        S = self.image_size
        if video.dtype != torch.uint8 or video.ndim != 5 or video.shape[2:] != (S, S, 3):
            raise ValueError(
                f"video is {video.dtype} {list(video.shape)}, expected uint8 [B, T, {S}, {S}, 3]: "
                f"this teacher sees frames of {S} x {S} pixels"
            )
        frames = video.permute(0, 1, 4, 2, 3)
        wanted = (layers, pooled, attention)
        return self._targets(frames, self._from_bytes, index, wanted, clips_at_once)

    def from_student(
        self,
        video: Tensor,
        *,
        index: Tensor | None = None,
        layers: bool = True,
        pooled: bool = True,
        attention: bool = True,
        clips_at_once: int = 0,
    ) -> Targets:
        """Targets from the student's pixels, resized bicubically: what the released code does.

        Args:
            video: ImageNet-normalised float ``[B, 3, T, H, W]``.
            index, layers, pooled, attention, clips_at_once: as in :meth:`forward`.
        """
        if not video.is_floating_point() or video.ndim != 5 or video.shape[1] != 3:
            raise ValueError(
                f"video is {video.dtype} {list(video.shape)}, expected float [B, 3, T, H, W]"
            )
        frames = video.transpose(1, 2)
        wanted = (layers, pooled, attention)
        return self._targets(frames, self._from_normalised, index, wanted, clips_at_once)

    def _from_bytes(self, images: Tensor) -> Tensor:
        return (images.to(wide_dtype(self.dtype)) / 255 - self._mean) / self._std

    def _from_normalised(self, images: Tensor) -> Tensor:
        pixels = images.to(wide_dtype(self.dtype)) * self._student_std + self._student_mean
        size = (self.image_size, self.image_size)
        if pixels.shape[2:] != size:
            # No antialiasing and no clamping: the released code has neither.
            pixels = F.interpolate(pixels, size, mode="bicubic", align_corners=False)
        return (pixels - self._mean) / self._std

    @torch.no_grad()
    def _targets(
        self,
        frames: Tensor,  # [B, T, 3, H, W]
        normalise: Callable[[Tensor], Tensor],
        index: Tensor | None,
        wanted: tuple[bool, bool, bool],
        clips_at_once: int,
    ) -> Targets:
        layers, pooled, attention = wanted
        (B, T), n = frames.shape[:2], self.grid**2
        if index is not None and (index.ndim != 2 or len(index) != B):
            raise ValueError(f"index is {list(index.shape)}, expected [{B}, V]")
        kept = T * n if index is None else index.shape[1]
        empty = partial(torch.empty, device=frames.device)
        wide = wide_dtype(self.dtype)
        targets = Targets(
            empty(self.num_taps if layers else 0, B, kept, self.width, dtype=self.dtype),
            empty(B, T, self.width if pooled else 0, dtype=self.dtype),
            empty(B, T, n if attention else 0, dtype=wide),
        )
        fastest = max(1, self.network.images_at_once // T) if self.network.images_at_once else B
        step = clips_at_once or max(fastest, 1)
        for part in (slice(start, start + step) for start in range(0, B, step)):
            clips = frames[part]
            images = normalise(clips.flatten(0, 1)).to(self.dtype)
            rows = None if index is None else index[part]
            tap = partial(_store, targets.layers[:, part], rows) if layers else None
            outputs = self.network.features(images, tap, pooled=pooled, attention=attention)
            for whole, output in zip(targets[1:], outputs, strict=True):
                whole[part] = output.unflatten(0, clips.shape[:2])
        return targets

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Teacher":
        self.network._apply(fn, recurse)
        return super()._apply(fn, recurse)


def _store(layers: Tensor, index: Tensor | None, k: int, tokens: Tensor) -> None:
    """Write the kept tokens of layer ``k``: ``[B * T, n, D]`` into ``layers [K, B, V, D]``."""
    clips = tokens.reshape(layers.shape[1], -1, tokens.shape[-1])
    layers[k] = clips if index is None else gather_tokens(clips, index)


def check_taps(taps: tuple[int, ...], depth: int) -> None:
    """Refuse taps that do not ascend or lie outside ``[0, depth]``."""
    if list(taps) != sorted(set(taps)) or any(not 0 <= tap <= depth for tap in taps):
        raise ValueError(
            f"taps are {list(taps)}, expected ascending numbers of blocks in [0, {depth}]: this "
            f"teacher has {depth}; [{depth}] is its last one's output"
        )
