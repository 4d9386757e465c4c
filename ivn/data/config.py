"""How files become clips."""

import math
from dataclasses import dataclass
from typing import Literal

from ivn.media.decode.request import BackendName

FrameOffsets = Literal["correct", "released"]


@dataclass(frozen=True)
class DataConfig:
    """How files become clips. All of it can change a run's result.

    Attributes:
        seed: the start of every random number of the run, in [0, 2**63).
        augmentation: random frames with TSN's crops ("multi_scale") or crops of random area and
            aspect ("random_resized"), or nothing random ("centre").
        crop_area: least and largest share of a frame in a random-resized crop, as V-JEPA has them.
        crop_aspect: least and largest width over height of a random-resized crop.
        flip: mirror half of the clips, but never those whose source forbids it.
        frame_offsets: "correct", or "released" for frame numbers off by one as in the release.
        decoder: "auto" is PyAV; "torchcodec" gives the same bits, "dali" decodes on a GPU what the
            manifest names so, with colours rounded otherwise.
        colour_jitter: how far brightness, contrast and saturation may be from 1, and hue from 0 (a
            share of its circle), drawn for each clip.
        rand_augment: operations of RandAugment on each clip, one after another.
        rand_magnitude: of these operations, 0 to 30.
        erase: share of the clips of which a random box is replaced by noise.
        repeats: clips of each source in a batch, which differ in all that is random; the source is
            decoded once. It divides the batch, and an epoch still meets each source once.
        images: how images among the sources get into batches: "as_listed", once an epoch as a video
            does; or as ``image_share`` of each batch, "spread" evenly over it, or "together" at the
            end, so that of several processes the last see images alone, as V-JEPA 2 has it.
        image_share: of the sources of a batch, where images have a share; in (0, 1).
        decode_seconds: a file that takes a worker longer is replaced as a broken one is. There is
            no limit without workers, nor where ``decoder`` is "dali": threads cannot be ended.
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
            raise ValueError(f"seed is {self.seed}, expected 0 up to below 2**63")
        least, largest = self.crop_area
        if not 0 < least <= largest <= 1:
            raise ValueError(f"crop_area is {self.crop_area}, expected 0 < least <= largest <= 1")
        least, largest = self.crop_aspect
        if not 0 < least <= largest < math.inf:
            raise ValueError(f"crop_aspect is {self.crop_aspect}, expected 0 < least <= largest")
        if not (min(self.colour_jitter) >= 0 and self.colour_jitter[3] <= 0.5):
            raise ValueError(
                f"colour_jitter is {self.colour_jitter}, expected at least 0, and hue at most 0.5"
            )
        if self.rand_augment < 0 or not 0 <= self.rand_magnitude <= 30:
            raise ValueError(
                f"rand_augment is {self.rand_augment}, rand_magnitude {self.rand_magnitude}: "
                "expected at least 0, and 0 to 30"
            )
        if not 0 <= self.erase <= 1:
            raise ValueError(f"erase is {self.erase}, expected 0 to 1")
        if not 1 <= self.repeats <= 256:
            raise ValueError(f"repeats is {self.repeats}, expected 1 to 256")
        if not 0 < self.image_share < 1:
            raise ValueError(f"image_share is {self.image_share}, expected above 0 and below 1")
        if not self.decode_seconds > 0:
            raise ValueError(f"decode_seconds is {self.decode_seconds}, expected above 0")
