"""A frozen teacher, from clips in bytes or the student's pixels to targets.

Legend: B clips, T frames, t = T / frames_per_slot time slots, S side of the teacher's frames in
pixels, n tokens of a slot, D teacher's width, P that of its pooled vectors, K tapped layers, V
tokens of a clip that are kept.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ivn.data.batch import IMAGENET_MEAN, IMAGENET_STD
from ivn.model.layers import wide_dtype
from ivn.ops.tokens import gather_tokens

from .protocol import TappedNetwork, Targets


class Teacher(nn.Module):
    """A frozen network that gives targets for clips.

    ``network`` moves with ``to()`` but is no registered submodule: no parent's ``train()``,
    ``parameters()``, ``state_dict()`` or data-parallel wrapper reaches it.
    """

    _mean: Tensor
    _std: Tensor
    _student_mean: Tensor
    _student_std: Tensor

    def __init__(self, network: TappedNetwork) -> None:
        super().__init__()
        self._network = (network.eval().requires_grad_(False),)
        for name in ("mean", "std"):
            pixels = torch.tensor(getattr(network, name))
            self.register_buffer(f"_{name}", pixels[:, None, None], persistent=False)
        for name, value in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            pixels = torch.tensor(value)
            self.register_buffer(f"_student_{name}", pixels[:, None, None], persistent=False)

    @property
    def network(self) -> TappedNetwork:
        """The frozen network."""
        return self._network[0]

    @property
    def image_size(self) -> int:
        """Side of the frames that :meth:`forward` takes, in pixels."""
        return self.network.image_size

    @property
    def grid(self) -> int:
        """Tokens along a side of a frame; the student needs the same number."""
        return self.network.grid

    @property
    def width(self) -> int:
        """Features of a token, D."""
        return self.network.width

    @property
    def pooled_width(self) -> int:
        """Features of a pooled vector, P."""
        return self.network.pooled_width

    @property
    def num_taps(self) -> int:
        """Tapped layers, K."""
        return len(self.network.taps)

    @property
    def dtype(self) -> torch.dtype:
        """Dtype in which the teacher computes."""
        return self.network.dtype

    def frames_for(self, frames: int) -> int:
        """Returns the teacher's number of frames for a student's ``frames``, one per token."""
        return frames * self.network.frames_per_slot

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
        """Returns targets from the teacher's own clips, without gradients.

        Args:
            video: uint8 ``[B, T, S, S, 3]``.
            index: tokens to keep in ``layers``, of a clip's ``t * n``, int64 ``[B, V]``.
            layers, pooled, attention: whether to compute each; blocks that none of them needs do
                not run.
            clips_at_once: clips per pass, to bound memory; 0 leaves it to the network. It changes
                no result.
        """
        S = self.image_size
        if video.dtype != torch.uint8 or video.ndim != 5 or video.shape[2:] != (S, S, 3):
            raise ValueError(
                f"video is {video.dtype} {list(video.shape)}, expected uint8 [B, T, {S}, {S}, 3]: "
                f"this teacher takes frames of {S} x {S} pixels"
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
        """Returns targets from the student's pixels, resized bicubically like the released code.

        Args:
            video: ImageNet-normalised float ``[B, 3, T, H, W]``.
            index, layers, pooled, attention, clips_at_once: see :meth:`forward`.
        """
        if not video.is_floating_point() or video.ndim != 5 or video.shape[1] != 3:
            raise ValueError(
                f"video is {video.dtype} {list(video.shape)}, expected float [B, 3, T, H, W]"
            )
        if (slot := self.network.frames_per_slot) > 1:
            raise ValueError(
                f"the student has one frame per token and this teacher {slot}: set "
                'stage.teacher_input = "decoded"'
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
        (B, T), n, slot = frames.shape[:2], self.grid**2, self.network.frames_per_slot
        if T % slot:
            raise ValueError(f"clips have {T} frames, expected a multiple of {slot}")
        if index is not None and (index.ndim != 2 or len(index) != B):
            raise ValueError(f"index is {list(index.shape)}, expected [{B}, V]")
        kept = T // slot * n if index is None else index.shape[1]
        empty = partial(torch.empty, device=frames.device)
        wide = wide_dtype(self.dtype)
        targets = Targets(
            empty(self.num_taps if layers else 0, B, kept, self.width, dtype=self.dtype),
            empty(
                B,
                self.network.pooled_vectors(T),
                self.pooled_width if pooled else 0,
                dtype=self.dtype,
            ),
            empty(B, T // slot, n if attention else 0, dtype=wide),
        )
        fastest = max(1, self.network.images_at_once // T) if self.network.images_at_once else B
        step = clips_at_once or max(fastest, 1)
        for part in (slice(start, start + step) for start in range(0, B, step)):
            clips = frames[part]
            images = normalise(clips.flatten(0, 1)).to(self.dtype)
            rows = None if index is None else index[part]
            tap = partial(_store, targets.layers[:, part], rows) if layers else None
            images = images.unflatten(0, clips.shape[:2])
            outputs = self.network.look(images, tap, pooled=pooled, attention=attention)
            for whole, output in zip(targets[1:], outputs, strict=True):
                whole[part] = output
        return targets

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Teacher":
        self.network._apply(fn, recurse)
        return super()._apply(fn, recurse)


def _store(layers: Tensor, index: Tensor | None, k: int, tokens: Tensor) -> None:
    """Writes the kept tokens of layer ``k``, ``[B * t * n, D]``, into ``layers [K, B, V, D]``."""
    clips = tokens.reshape(layers.shape[1], -1, tokens.shape[-1])
    layers[k] = clips if index is None else gather_tokens(clips, index)
