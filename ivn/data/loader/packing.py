"""Packs clips into rows of bytes, on their way from a worker to the device of the training.

T frames, H height, W width of a crop, S side of a square.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from ivn.data.batch import ClipSpec, empty_clips
from ivn.data.crop import CroppedClip

# Header of a row: height, width and mirroring of a crop, int32 each.
_HEADER_BYTES = 12


# For a student of 224 pixels and a teacher of 256, crops of videos of 256 lines are packed, and
# those of 1080 lines are not: the largest would be ten times the bytes of both squares.
class ClipPacking:
    """The format of a row: a crop's own pixels, or each size of the clips that consumers see.

    A row has the crop where that is not more bytes than the resized clips: resizing on the device
    never costs more memory or bandwidth. Consumers get the same bits either way.

    Args:
        specs: consumer -> its clips.
        crops: whether rows may have crops; otherwise they have resized clips only.

    Attributes:
        specs: consumer -> its clips.
    """

    def __init__(self, specs: Mapping[str, ClipSpec], *, crops: bool) -> None:
        self.specs = dict(specs)
        self._frames = max(spec.frames for spec in specs.values())
        self._shapes = sorted({(spec.frames, spec.size) for spec in specs.values()})
        self._sizes = [3 * frames * size**2 for frames, size in self._shapes]
        self._max_crop_bytes = sum(self._sizes) if crops else 0

    def shapes(self, rows: int) -> dict[str, tuple[int, int]]:
        """Returns the shapes of the uint8 tensors for ``rows`` clips, by their names."""
        return {"crops": (rows, _HEADER_BYTES), "pixels": (rows, sum(self._sizes))}

    def pack(self, clip: CroppedClip, rows: Mapping[str, Tensor], row: int) -> None:
        """Writes a clip into one row of tensors of :meth:`shapes`."""
        frames = clip.frames
        crop, pixels = rows["crops"].view(torch.int32)[row], rows["pixels"][row]
        if frames.numel() <= self._max_crop_bytes:
            crop.copy_(torch.tensor([*frames.shape[1:3], clip.flip]))
            pixels[: frames.numel()].view(frames.shape).copy_(frames)
        else:
            crop.zero_()
            for shape, square in self._squares(pixels).items():
                square.copy_(clip.square(*shape))

    def unpack(self, rows: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
        """Returns the clips of each consumer, uint8 ``[B, T, S, S, 3]`` on ``device``."""
        crops = rows["crops"].view(torch.int32).tolist()
        clips = empty_clips(self.specs, len(crops), device)
        for row, (height, width, flip) in enumerate(crops):
            pixels = rows["pixels"][row]
            if height:
                shape = (self._frames, height, width, 3)
                frames = pixels[: 3 * self._frames * height * width].view(shape)
                clip = CroppedClip(frames.to(device, non_blocking=True), bool(flip))
                squares = {shape: clip.square(*shape) for shape in self._shapes}
            else:
                squares = self._squares(pixels)
            for name, spec in self.specs.items():
                square = squares[spec.frames, spec.size]
                clips[name][row].copy_(square, non_blocking=True)
        return clips

    def _squares(self, pixels: Tensor) -> dict[tuple[int, int], Tensor]:
        """Returns views of a row's bytes by number of frames and size."""
        return {
            (frames, size): part.view(frames, size, size, 3)
            for (frames, size), part in zip(self._shapes, pixels.split(self._sizes), strict=True)
        }
