"""The clips of moving cameras as features, with what is known of each clip."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ivn.frozen import Teacher
from ivn.frozen.encoders import Frozen, check_finite
from ivn.model.encoder import Encoder

from .clips import MOTIONS, choose_view, clip_index, render
from .frame_features import clip_features, frame_features
from .scenes import Picture

TEACHER = "teacher"
FIRST_FRAME = "teacher_first_frame"


@dataclass(frozen=True)
class Samples:
    """Features of n clips, and what is known of each.

    Attributes:
        features: name -> float32 ``[n, d]``; d differs from name to name.
        labels: index into ``MOTIONS``, int64 ``[n]``.
        scenes: ``[n]``; what a split must not part.
        kinds: "real" or "procedural", ``[n]``.
    """

    features: dict[str, np.ndarray]
    labels: np.ndarray
    scenes: np.ndarray
    kinds: np.ndarray


def collect(
    pictures: Iterable[Picture],
    encoders: Mapping[str, Encoder],
    teacher: Teacher,
    *,
    frames: int,
    size: int,
) -> Samples:
    """Features of the ten clips of every picture, by every encoder and by the teacher.

    A frame's feature is averaged over its tokens, a clip's is those of its frames in time order.
    ``TEACHER`` looks at each frame by itself. ``FIRST_FRAME`` is its first frame alone: what a
    still picture gives away.

    Args:
        pictures: what the camera moves over.
        encoders: name -> a frozen encoder in evaluation mode.
        teacher: sees the pixels that the encoders see, enlarged to its own size.
        frames: of a clip.
        size: side of the frames in pixels.
    """
    index = clip_index(frames)
    found: dict[str, list[np.ndarray]] = {}
    scenes: list[str] = []
    kinds: list[str] = []
    for picture in pictures:
        view = choose_view(picture, frames=frames, size=size)
        distinct = render(picture, view, frames=frames, size=size)
        for name, encoder in encoders.items():
            found.setdefault(name, []).append(
                clip_features(encoder, distinct[index]).flatten(1).numpy()
            )
        # Frames that several clips share are looked at once.
        seen = frame_features(teacher, distinct)[index]
        found.setdefault(TEACHER, []).append(seen.flatten(1).numpy())
        found.setdefault(FIRST_FRAME, []).append(seen[:, 0].numpy())
        scenes += [picture.scene] * len(MOTIONS)
        kinds += [picture.kind] * len(MOTIONS)
    return Samples(
        features={name: np.concatenate(parts) for name, parts in found.items()},
        labels=np.tile(np.arange(len(MOTIONS)), len(scenes) // len(MOTIONS)),
        scenes=np.array(scenes),
        kinds=np.array(kinds),
    )


def collect_frozen(pictures: Iterable[Picture], encoders: Sequence[Frozen]) -> Samples:
    """As :func:`collect`, by frozen encoders of any kind, each in clips of its own size.

    Features are under an encoder's identity: those of its time slots, averaged over space.
    """
    found: dict[str, list[np.ndarray]] = {}
    scenes: list[str] = []
    kinds: list[str] = []
    distinct = {encoder.identity: encoder for encoder in encoders}
    for picture in pictures:
        clips: dict[tuple[int, int], Tensor] = {}
        for identity, encoder in distinct.items():
            frames, size = encoder.spec.frames, encoder.spec.size
            if (frames, size) not in clips:
                view = choose_view(picture, frames=frames, size=size)
                shown = render(picture, view, frames=frames, size=size)
                clips[frames, size] = shown[clip_index(frames)]
            slots = encoder.features(clips[frames, size], "frames")
            check_finite(encoder, slots, f"{picture.scene} in motion")
            found.setdefault(identity, []).append(slots.flatten(1).numpy())
        scenes += [picture.scene] * len(MOTIONS)
        kinds += [picture.kind] * len(MOTIONS)
    return Samples(
        features={name: np.concatenate(parts) for name, parts in found.items()},
        labels=np.tile(np.arange(len(MOTIONS)), len(scenes) // len(MOTIONS)),
        scenes=np.array(scenes),
        kinds=np.array(kinds),
    )
