"""A batch of clips, as the loader gives it to a stage.

A consumer is a network that sees the clips: the student or a teacher. B batch, T frames, H height,
W width.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ClipSpec:
    """The format of clips for one consumer.

    Attributes:
        frames: number of frames T.
        size: side of the square frames, in pixels.
    """

    frames: int
    size: int

    def __post_init__(self) -> None:
        if self.frames < 1 or self.size < 1:
            raise ValueError(f"frames {self.frames}, size {self.size}: expected at least 1 of each")


def empty_clips(
    specs: Mapping[str, ClipSpec], rows: int, device: torch.device
) -> dict[str, Tensor]:
    """Allocates the clips of a batch: consumer -> uint8 ``[rows, T, size, size, 3]``."""
    return {
        name: torch.empty(
            rows, spec.frames, spec.size, spec.size, 3, dtype=torch.uint8, device=device
        )
        for name, spec in specs.items()
    }


@dataclass(frozen=True)
class Replacement:
    """A file that is unusable, the reason, and the file that was used instead.

    Attributes:
        path: name of the unusable file in messages.
        reason: one line that names the file.
        by: name of the file that was used instead.
        row: row of the batch; several files may be unusable for one row.
    """

    path: str
    reason: str
    by: str
    row: int = 0


@dataclass
class Batch:
    """The clips of B samples for every consumer, and the keys of all other random values.

    Attributes:
        clips: consumer -> uint8 ``[B, T, H, W, 3]``, RGB; T and size are those of its ClipSpec.
        keys: int64 ``[B, 4]``, see :func:`ivn.keys.make_keys`.
        replaced: unusable files that were met while the batch was made.
        host_keys: the same keys on the host, for values that determine the size of a tensor.
        repeats: number of adjacent rows that are clips of one source.
    """

    clips: dict[str, Tensor]
    keys: Tensor
    replaced: list[Replacement] = field(default_factory=list)
    host_keys: Tensor = field(default_factory=lambda: torch.empty(0, 4, dtype=torch.int64))
    repeats: int = 1

    def __post_init__(self) -> None:
        if len(self.host_keys) != len(self.keys):
            self.host_keys = self.keys

    def __len__(self) -> int:
        return len(self.keys)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "Batch":
        """Returns the same batch on ``device``."""
        clips = {
            name: clip.to(device, non_blocking=non_blocking) for name, clip in self.clips.items()
        }
        keys = self.keys.to(device, non_blocking=non_blocking)
        return replace(self, clips=clips, keys=keys)

    def part(self, start: int, stop: int) -> "Batch":
        """Returns rows ``start`` to ``stop`` as views, without ``replaced``."""
        clips = {name: clip[start:stop] for name, clip in self.clips.items()}
        return replace(
            self,
            clips=clips,
            keys=self.keys[start:stop],
            replaced=[],
            host_keys=self.host_keys[start:stop],
        )
