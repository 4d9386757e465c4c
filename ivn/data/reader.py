"""One clip: from a source and a key to what every consumer sees, by one decode."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ivn.data.batch import ClipSpec
from ivn.data.config import DataConfig
from ivn.data.crop import (
    Crop,
    Cropped,
    centre_crop,
    multi_scale_crop,
    random_resized_crop,
)
from ivn.data.sampling.frames import centre_frame_numbers, frame_numbers
from ivn.media.decode import decode
from ivn.media.decode.request import Choose
from ivn.media.source import Source


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
