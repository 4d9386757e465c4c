"""A frozen teacher, from clips in bytes or the student's pixels to targets.

Legend: B clips, T frames, t = T / frames_per_slot time slots, S side of the teacher's frames in
pixels, n tokens of a slot, D teacher's width, P that of its pooled vectors, K tapped layers.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ivn.data.batch import IMAGENET_MEAN, IMAGENET_STD
from ivn.model.layers import wide_dtype

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

    @torch.no_grad()
    def forward(
        self, video: Tensor, *, layers: bool = True, pooled: bool = True, attention: bool = True
    ) -> Targets:
        """Returns targets for clips, without gradients.

        Args:
            video: the teacher's own clips, uint8 ``[B, T, S, S, 3]``, or the student's pixels,
                ImageNet-normalised float ``[B, 3, T, H, W]``, which are resized bicubically like
                the released code.
            layers, pooled, attention: whether to compute each; blocks that none of them needs do
                not run.
        """
        S, slot = self.image_size, self.network.frames_per_slot
        if video.dtype == torch.uint8 and video.ndim == 5 and video.shape[2:] == (S, S, 3):
            frames, normalise = video.permute(0, 1, 4, 2, 3), self._from_bytes
        elif video.is_floating_point() and video.ndim == 5 and video.shape[1] == 3:
            frames, normalise = video.transpose(1, 2), self._from_normalised
            if slot > 1:
                raise ValueError(
                    f"the student has one frame per token and this teacher {slot}: set "
                    'stage.teacher_input = "decoded"'
                )
        else:
            raise ValueError(
                f"video is {video.dtype} {list(video.shape)}, expected uint8 [B, T, {S}, {S}, 3], "
                f"since this teacher takes frames of {S} x {S} pixels, or the student's pixels, "
                "float [B, 3, T, H, W]"
            )
        B, T = frames.shape[:2]
        if T % slot:
            raise ValueError(f"clips have {T} frames, expected a multiple of {slot}")
        t, n, D, P = T // slot, self.grid**2, self.width, self.pooled_width
        vectors, wide = self.network.pooled_vectors(T), wide_dtype(self.dtype)
        empty = partial(torch.empty, device=frames.device)
        targets = Targets(
            empty(self.num_taps if layers else 0, B, t * n, D, dtype=self.dtype),
            empty(B, vectors, P if pooled else 0, dtype=self.dtype),
            empty(B, t, n if attention else 0, dtype=wide),
        )
        step = max(1, self.network.images_at_once // T if self.network.images_at_once else B)
        for part in (slice(start, start + step) for start in range(0, B, step)):
            clips = frames[part]
            images = normalise(clips.flatten(0, 1)).to(self.dtype).unflatten(0, clips.shape[:2])
            tap = partial(_store, targets.layers[:, part]) if layers else None
            outputs = self.network.look(images, tap, pooled=pooled, attention=attention)
            for whole, output in zip(targets[1:], outputs, strict=True):
                whole[part] = output
        return targets

    def _from_bytes(self, images: Tensor) -> Tensor:
        return (images.to(wide_dtype(self.dtype)) / 255 - self._mean) / self._std

    def _from_normalised(self, images: Tensor) -> Tensor:
        pixels = images.to(wide_dtype(self.dtype)) * self._student_std + self._student_mean
        size = (self.image_size, self.image_size)
        if pixels.shape[2:] != size:
            # No antialiasing and no clamping: the released code has neither.
            pixels = F.interpolate(pixels, size, mode="bicubic", align_corners=False)
        return (pixels - self._mean) / self._std

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Teacher":
        self.network._apply(fn, recurse)
        return super()._apply(fn, recurse)


def _store(layers: Tensor, k: int, tokens: Tensor) -> None:
    """Writes the tokens of layer ``k``, ``[B * t * n, D]``, into ``layers [K, B, t * n, D]``."""
    layers[k] = tokens.reshape(layers.shape[1:])
