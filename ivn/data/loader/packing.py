"""Clips as rows of bytes, from the process that decodes them to the device where they are used.

T frames, H height, W width of a crop, S side of a square.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from ivn.data.batch import ClipSpec, empty_clips
from ivn.data.crop import Cropped

# Of what says what a row holds: height, width and mirroring of a crop, int32 each.
_CROP_BYTES = 12


# Of videos of 256 lines every crop travels for a student of 224 and a teacher of 256. Of 1080 lines
# none does: the largest would be ten times the bytes of both squares.
class Packing:
    """What a row holds: a crop's own pixels, or the squares that consumers see, each size once.

    A crop travels where that is no more bytes than its squares, so that it never takes more
    memory, or more of the bus, to resize where clips are used. What consumers see has the same
    bits either way.

    Args:
        specs: consumer -> what it sees.
        crops: whether any crop may travel; squares alone, if not.

    Attributes:
        specs: as given.
    """

    def __init__(self, specs: Mapping[str, ClipSpec], *, crops: bool) -> None:
        self.specs = dict(specs)
        self._frames = max(spec.frames for spec in specs.values())
        self._shapes = sorted({(spec.frames, spec.size) for spec in specs.values()})
        self._sizes = [3 * frames * size**2 for frames, size in self._shapes]
        self._most = sum(self._sizes) if crops else 0

    def shapes(self, rows: int) -> dict[str, tuple[int, int]]:
        """Of the uint8 tensors that are ``rows`` of clips."""
        return {"crops": (rows, _CROP_BYTES), "pixels": (rows, sum(self._sizes))}

    def pack(self, clip: Cropped, rows: Mapping[str, Tensor], row: int) -> None:
        """Write a clip into a row of tensors of :meth:`shapes`."""
        frames = clip.frames
        crop, pixels = rows["crops"].view(torch.int32)[row], rows["pixels"][row]
        if frames.numel() <= self._most:
            crop.copy_(torch.tensor([*frames.shape[1:3], clip.flip]))
            pixels[: frames.numel()].view(frames.shape).copy_(frames)
        else:
            crop.zero_()
            for shape, square in self._squares(pixels).items():
                square.copy_(clip.square(*shape))

    def unpack(self, rows: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
        """Consumer -> what it sees of every row, uint8 ``[B, T, S, S, 3]`` on ``device``."""
        crops = rows["crops"].view(torch.int32).tolist()
        clips = empty_clips(self.specs, len(crops), device)
        for row, (height, width, flip) in enumerate(crops):
            pixels = rows["pixels"][row]
            if height:
                shape = (self._frames, height, width, 3)
                frames = pixels[: 3 * self._frames * height * width].view(shape)
                clip = Cropped(frames.to(device, non_blocking=True), bool(flip))
                squares = {shape: clip.square(*shape) for shape in self._shapes}
            else:
                squares = self._squares(pixels)
            for name, spec in self.specs.items():
                square = squares[spec.frames, spec.size]
                clips[name][row].copy_(square, non_blocking=True)
        return clips

    def _squares(self, pixels: Tensor) -> dict[tuple[int, int], Tensor]:
        """Frames and size -> where these lie in a row."""
        return {
            (frames, size): part.view(frames, size, size, 3)
            for (frames, size), part in zip(self._shapes, pixels.split(self._sizes), strict=True)
        }
