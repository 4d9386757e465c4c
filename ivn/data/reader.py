"""One clip: from a source and a key to what every consumer sees, by one decode."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ivn.data.batch import ClipSpec
from ivn.data.crop import (
    Crop,
    Cropped,
    centre_crop,
    multi_scale_crop,
    random_resized_crop,
)
from ivn.data.sampling.frames import FrameOffsets, centre_frame_numbers, frame_numbers
from ivn.media.decode import BackendName, decode
from ivn.media.decode.request import Choose
from ivn.media.source import Source


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


def read_clip(
    source: Source, specs: Mapping[str, ClipSpec], config: DataConfig, key: Tensor
) -> dict[str, Tensor]:
    """What each consumer sees of one source, uint8 ``[T, size, size, 3]`` each.

    All see the same crop of the decoded frames; one that wants fewer frames gets every n-th.

    Args:
        source: the file and its window.
        specs: consumer -> what it wants; see :func:`check_specs`.
        config: how to draw frames and crop.
        key: int64 ``[1, 4]`` of the sample.

    Raises:
        DecodeError: the file cannot be used.
    """
    (views,) = read_clips(source, specs, config, key)
    return views


def read_clips(
    source: Source, specs: Mapping[str, ClipSpec], config: DataConfig, keys: Tensor
) -> list[dict[str, Tensor]]:
    """Several clips of one source by one decode, each as :func:`read_clip` gives it for its key.

    Args:
        source, specs, config: as there.
        keys: int64 ``[R, 4]``.

    Raises:
        DecodeError: the file cannot be used.
    """
    return [clip.views(specs) for clip in read_crops(source, specs, config, keys)]


def read_crops(
    source: Source, specs: Mapping[str, ClipSpec], config: DataConfig, keys: Tensor
) -> list[Cropped]:
    """What :func:`read_clips` resizes, as it was decoded."""
    choose = chooser(source, specs, config, keys)
    return crops_of(decode(source, choose, backend=config.decoder), source, config, keys)


def chooser(
    source: Source, specs: Mapping[str, ClipSpec], config: DataConfig, keys: Tensor
) -> Choose:
    """Chooses the frames of several clips, one clip after another: arguments as above."""
    frames = max(spec.frames for spec in specs.values())

    def choose(total: int) -> list[int]:
        return [
            number
            for key in keys.split(1)
            for number in _numbers(total, frames, config, key, window=source.start > 0)
        ]

    return choose


def crops_of(video: Tensor, source: Source, config: DataConfig, keys: Tensor) -> list[Cropped]:
    """Those frames, clip by clip, cropped where they are.

    Args:
        video: uint8 ``[R * T, H, W, 3]``, the frames that :func:`chooser` chose.
        source, config, keys: as above.
    """
    height, width = video.shape[1:3]
    flip = config.flip and source.flip
    return [
        chosen_crop(height, width, config, key, flip=flip).of(clip)
        for clip, key in zip(video.chunk(len(keys)), keys.split(1), strict=True)
    ]


def _numbers(
    total: int, frames: int, config: DataConfig, key: Tensor, *, window: bool
) -> list[int]:
    if config.augmentation == "centre":
        return centre_frame_numbers(total, frames)
    numbers = frame_numbers(total, frames, key, offsets=config.frame_offsets)
    # Released numbers start at -1: the last frame, except where a frame precedes the window.
    return [max(number, 0) for number in numbers] if window else numbers


def chosen_crop(height: int, width: int, config: DataConfig, key: Tensor, *, flip: bool) -> Crop:
    """What a clip shows of its frames.

    Args:
        height, width: of the frames.
        config, key: as in :func:`read_clip`.
        flip: whether the clip may be mirrored.
    """
    if config.augmentation == "centre":
        return centre_crop(height, width)
    if config.augmentation == "multi_scale":
        return multi_scale_crop(height, width, key, flip=flip)
    return random_resized_crop(
        height, width, key, area=config.crop_area, aspect=config.crop_aspect, flip=flip
    )


def read_centre(source: Source, spec: ClipSpec) -> Tensor:
    """The clip that inference sees: middle frames, centre crop, uint8 ``[T, size, size, 3]``.

    Raises:
        DecodeError: the file cannot be used.
    """
    key = torch.zeros(1, 4, dtype=torch.int64)
    return read_clip(source, {"clip": spec}, DataConfig(augmentation="centre"), key)["clip"]


def check_specs(specs: Mapping[str, ClipSpec]) -> None:
    """Raise ValueError unless every consumer's frames divide the longest consumer's."""
    if not specs:
        raise ValueError("no clip specs: expected at least one consumer")
    frames = max(spec.frames for spec in specs.values())
    for name, spec in specs.items():
        if frames % spec.frames:
            raise ValueError(
                f"{name} wants {spec.frames} frames, another {frames}: expected a divisor"
            )
