"""The clips of moving cameras as features, with what is known of each clip."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ivn.frozen.encoders import Frozen, check_finite

from .clips import MOTIONS, choose_camera, clip_index, render
from .scenes import Picture


@dataclass(frozen=True)
class MotionFeatures:
    """Features of n clips, and what is known of each clip.

    Attributes:
        features: identity of an encoder -> float32 ``[n, d]``; d differs between encoders.
        labels: index into ``MOTIONS``, int64 ``[n]``.
        scenes: name of each clip's scene, ``[n]``; no split parts a scene.
        kinds: "real" or "procedural", ``[n]``.
    """

    features: dict[str, np.ndarray]
    labels: np.ndarray
    scenes: np.ndarray
    kinds: np.ndarray


def collect(pictures: Iterable[Picture], encoders: Sequence[Frozen]) -> MotionFeatures:
    """Returns the features of the ten clips of every picture, by every encoder.

    The features of a clip are those of its time slots, averaged over space, in time order.

    Args:
        pictures: the pictures that the camera moves over.
        encoders: frozen encoders; each sees clips of its own size.

    Raises:
        DataError: features are not finite.
    """
    features: dict[str, list[np.ndarray]] = {}
    scenes: list[str] = []
    kinds: list[str] = []
    distinct = {encoder.identity: encoder for encoder in encoders}
    for picture in pictures:
        clips: dict[tuple[int, int], Tensor] = {}
        for identity, encoder in distinct.items():
            frames, size = encoder.spec.frames, encoder.spec.size
            if (frames, size) not in clips:
                camera = choose_camera(picture, frames=frames, size=size)
                rendered = render(picture, camera, frames=frames, size=size)
                clips[frames, size] = rendered[clip_index(frames)]
            slots = encoder.features(clips[frames, size], "frames")
            check_finite(encoder, slots, f"{picture.scene} in motion")
            features.setdefault(identity, []).append(slots.flatten(1).numpy())
        scenes += [picture.scene] * len(MOTIONS)
        kinds += [picture.kind] * len(MOTIONS)
    return MotionFeatures(
        features={identity: np.concatenate(parts) for identity, parts in features.items()},
        labels=np.tile(np.arange(len(MOTIONS)), len(scenes) // len(MOTIONS)),
        scenes=np.array(scenes),
        kinds=np.array(kinds),
    )
