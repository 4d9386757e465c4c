"""Reads the clips of a source for every consumer, by one decode."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ivn.data.batch import ClipSpec
from ivn.data.config import DataConfig
from ivn.data.crop import (
    Crop,
    CroppedClip,
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
    """Returns each consumer's clip of one source, uint8 ``[T, size, size, 3]``.

    All consumers get the same crop of the decoded frames; one with fewer frames gets every n-th.

    Args:
        source: video and window.
        specs: consumer -> format of its clip; see :func:`check_specs`.
        config: settings of sampling and cropping.
        key: key of the sample, int64 ``[1, 4]``.

    Raises:
        DecodeError: The file is unusable.
    """
    (clips,) = read_clips(source, specs, config, key)
    return clips


def read_clips(
    source: Source, specs: Mapping[str, ClipSpec], config: DataConfig, keys: Tensor
) -> list[dict[str, Tensor]]:
    """Returns several clips of one source by one decode, each as :func:`read_clip` for its key.

    Args:
        source, specs, config: video and settings, see :func:`read_clip`.
        keys: int64 ``[R, 4]``, one key per clip.

    Raises:
        DecodeError: The file is unusable.
    """
    return [clip.for_consumers(specs) for clip in read_crops(source, specs, config, keys)]


def read_crops(
    source: Source, specs: Mapping[str, ClipSpec], config: DataConfig, keys: Tensor
) -> list[CroppedClip]:
    """Returns the clips of :func:`read_clips` before they are resized."""
    choose = chooser(source, specs, config, keys)
    return crops_of(decode(source, choose, backend=config.decoder), source, config, keys)


def chooser(
    source: Source, specs: Mapping[str, ClipSpec], config: DataConfig, keys: Tensor
) -> Choose:
    """Returns the function that chooses the frames of several clips, one clip after another."""
    frames = max(spec.frames for spec in specs.values())

    def choose(total: int) -> list[int]:
        return [
            number
            for key in keys.split(1)
            for number in _numbers(total, frames, config, key, window=source.start > 0)
        ]

    return choose


def crops_of(video: Tensor, source: Source, config: DataConfig, keys: Tensor) -> list[CroppedClip]:
    """Crops decoded frames, clip by clip, on their device.

    Args:
        video: frames that :func:`chooser` chose, uint8 ``[R * T, H, W, 3]``.
        source, config, keys: video, settings and keys, see :func:`read_clips`.
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
    # Released numbers may be -1, which means the last frame only where the window is the whole
    # file.
    return [max(number, 0) for number in numbers] if window else numbers


def chosen_crop(height: int, width: int, config: DataConfig, key: Tensor, *, flip: bool) -> Crop:
    """Returns the crop of a clip by ``config.augmentation``.

    Args:
        height, width: size of the frames.
        config, key: settings and key, see :func:`read_clip`.
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
    """Returns the clip of inference: middle frames, central crop, uint8 ``[T, size, size, 3]``.

    Raises:
        DecodeError: The file is unusable.
    """
    key = torch.zeros(1, 4, dtype=torch.int64)
    return read_clip(source, {"clip": spec}, DataConfig(augmentation="centre"), key)["clip"]


def check_specs(specs: Mapping[str, ClipSpec]) -> None:
    """Raises ValueError unless each consumer's number of frames divides the largest one."""
    if not specs:
        raise ValueError("no clip specs: expected at least one consumer")
    frames = max(spec.frames for spec in specs.values())
    for name, spec in specs.items():
        if frames % spec.frames:
            raise ValueError(
                f"{name} wants {spec.frames} frames, another {frames}: expected a divisor"
            )
