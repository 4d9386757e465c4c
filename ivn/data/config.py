"""The settings by which files become clips."""

import math
from dataclasses import dataclass
from typing import Literal

from ivn.media.decode import BackendName

FrameOffsets = Literal["correct", "released"]


@dataclass(frozen=True)
class DataConfig:
    """How files become clips. Every setting can change a run's result.

    Attributes:
        seed: seed of every random number of the run, from 0 to below 2**63.
        augmentation: random frames and crops, or neither: "multi_scale" takes TSN's crops of fixed
            scales, "random_resized" takes crops of random area and aspect, and "centre" is without
            randomness.
        crop_area: least and largest area of a "random_resized" crop, as shares of the frame's (the
            default is V-JEPA's).
        crop_aspect: least and largest width over height of a "random_resized" crop (the default is
            V-JEPA's).
        flip: whether half of the clips are mirrored. Clips of a source that forbids it never are.
        frame_offsets: "correct" frame numbers, or the "released" code's, which are off by one.
        decoder: library that decodes: "auto" is PyAV; "torchcodec" gives the same bits as "pyav";
            "dali" decodes on a GPU the rows that the manifest gives it, and rounds colours
            differently.
        colour_jitter: largest change of brightness, contrast and saturation, as shares, and of hue,
            as a share of its circle; each is drawn once per clip.
        rand_augment: number of RandAugment's operations on each clip.
        rand_magnitude: strength of RandAugment's operations, from 0 to 30.
        erase: share of the clips in which a random box is replaced by noise.
        repeats: clips of each source in a batch, each with its own random draws. The source is
            decoded once. The number divides the batch size, and an epoch still uses each source
            once.
        images: place of images in batches: "as_listed" uses an image once per epoch, as it does a
            video; "spread" and "together" fill ``image_share`` of each batch with images, evenly
            over the batch or at its end. With several processes, "together" gives the images to the
            last of them, as V-JEPA 2 does.
        image_share: share of images among the sources of a batch, above 0 and below 1, with
            ``images`` "spread" or "together".
        decode_seconds: time limit per file, in seconds; another clip takes the place of one that
            takes longer. There is no limit without worker processes or with a ``decoder`` for
            whole batches ("dali"), because a thread cannot be stopped.
    """

    seed: int = 0
    augmentation: Literal["multi_scale", "random_resized", "centre"] = "multi_scale"
    crop_area: tuple[float, float] = (0.3, 1.0)
    crop_aspect: tuple[float, float] = (0.75, 1.35)
    flip: bool = True
    frame_offsets: FrameOffsets = "correct"
    decoder: BackendName = "auto"
    colour_jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    rand_augment: int = 0
    rand_magnitude: int = 9
    erase: float = 0.0
    repeats: int = 1
    images: Literal["as_listed", "spread", "together"] = "as_listed"
    image_share: float = 0.25
    decode_seconds: float = 300.0

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed is {self.seed}, expected at least 0 and below 2**63")
        least, largest = self.crop_area
        if not 0 < least <= largest <= 1:
            raise ValueError(f"crop_area is {self.crop_area}, expected 0 < least <= largest <= 1")
        least, largest = self.crop_aspect
        if not 0 < least <= largest < math.inf:
            raise ValueError(
                f"crop_aspect is {self.crop_aspect}, expected 0 < least <= largest, both finite"
            )
        if not (min(self.colour_jitter) >= 0 and self.colour_jitter[3] <= 0.5):
            raise ValueError(
                f"colour_jitter is {self.colour_jitter}, expected brightness, contrast, saturation "
                "and hue of at least 0, and a hue of at most 0.5"
            )
        if self.rand_augment < 0:
            raise ValueError(f"rand_augment is {self.rand_augment}, expected at least 0")
        if not 0 <= self.rand_magnitude <= 30:
            raise ValueError(f"rand_magnitude is {self.rand_magnitude}, expected 0 to 30")
        if not 0 <= self.erase <= 1:
            raise ValueError(f"erase is {self.erase}, expected 0 to 1")
        if not 1 <= self.repeats <= 256:
            raise ValueError(f"repeats is {self.repeats}, expected 1 to 256")
        if not 0 < self.image_share < 1:
            raise ValueError(f"image_share is {self.image_share}, expected above 0 and below 1")
        if not self.decode_seconds > 0:
            raise ValueError(f"decode_seconds is {self.decode_seconds}, expected above 0")
