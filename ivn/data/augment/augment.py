"""Augments whole batches on the device where they are used: colours, RandAugment, erasing.

Each clip has its own key; all its frames, for all consumers, are changed alike. Nothing here waits
for a device, since random values follow from the keys on the host.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ivn.data.augment import colour, geometry
from ivn.data.batch import IMAGENET_MEAN, IMAGENET_STD, Batch
from ivn.data.config import DataConfig
from ivn.keys import Purpose
from ivn.ops.random import normal, uniform

Change = Callable[[Tensor], Tensor]

# Cubuk et al., "RandAugment", CVPR workshops 2020, with torchvision's sizes for magnitude 30.
_MAX_MAGNITUDE = 30

# Zhong et al., "Random erasing data augmentation", AAAI 2020: share of the frame, and aspect.
_ERASED_AREA = (0.02, 1 / 3)
_ERASED_ASPECT = (0.3, 1 / 0.3)
_TRIES = 10


def augment(batch: Batch, config: DataConfig) -> None:
    """Changes the batch's clips in place: jittered colours, then RandAugment, then erasing.

    Args:
        batch: uint8 clips; the result has the same bits on every device.
        config: kinds and strengths of the changes; the defaults change nothing.
    """
    if not changes(config):
        return
    keys = batch.host_keys
    jitters, operations = _jitters(keys, config), _operations(keys, config)
    boxes = _boxes(keys, config)
    for clips in batch.clips.values():
        for row, clip in enumerate(clips):
            changed = clip
            for change in (*jitters[row], *operations[row]):
                changed = change(changed)
            if changed is not clip:
                clip.copy_(changed)
            if boxes[row] is not None:
                _erase(clip, boxes[row], batch.keys[row : row + 1])


def changes(config: DataConfig) -> bool:
    """Returns whether the config changes any clip."""
    return any(config.colour_jitter) or config.rand_augment > 0 or config.erase > 0


def _jitters(keys: Tensor, config: DataConfig) -> list[list[Change]]:
    """Returns the changes of colour of each clip, in random order."""
    if not any(config.colour_jitter):
        return [[] for _ in keys]
    made = []
    for draws in uniform(keys, Purpose.COLOUR, 8, dtype=torch.float64).tolist():
        each: list[Change] = []
        functions = (colour.brightness, colour.contrast, colour.saturation, colour.hue)
        for function, most, u in zip(functions, config.colour_jitter, draws[:4], strict=True):
            low, high = (-most, most) if function is colour.hue else (max(0, 1 - most), 1 + most)
            each.append(partial(_applied, function, low + u * (high - low)))
        order = sorted(range(4), key=draws[4:].__getitem__)
        made.append([each[index] for index in order if config.colour_jitter[index]])
    return made


def _applied(function: Callable[[Tensor, float], Tensor], strength: float, clip: Tensor) -> Tensor:
    return function(clip, strength)


def _same(clip: Tensor) -> Tensor:
    return clip


def _operations(keys: Tensor, config: DataConfig) -> list[list[Change]]:
    """Returns the operations of RandAugment for each clip."""
    count = config.rand_augment
    if not count:
        return [[] for _ in keys]
    made = []
    for draws in uniform(keys, Purpose.RAND_AUGMENT, 2 * count, dtype=torch.float64).tolist():
        pairs = zip(draws[::2], draws[1::2], strict=True)
        made.append([_operation(u, v < 0.5, config.rand_magnitude) for u, v in pairs])
    return made


def _operation(draw: float, negative: bool, magnitude: int) -> Change:
    share = magnitude / _MAX_MAGNITUDE
    signed = -share if negative else share
    every: list[Change] = [
        _same,
        partial(_applied, geometry.shear_x, 0.3 * signed),
        partial(_applied, geometry.shear_y, 0.3 * signed),
        partial(_applied, geometry.translate_x, 150 / 331 * signed),
        partial(_applied, geometry.translate_y, 150 / 331 * signed),
        partial(_applied, geometry.rotate, 30 * signed),
        partial(_applied, colour.brightness, 1 + 0.9 * signed),
        partial(_applied, colour.saturation, 1 + 0.9 * signed),
        partial(_applied, colour.contrast, 1 + 0.9 * signed),
        partial(_applied, colour.sharpness, 1 + 0.9 * signed),
        lambda clip: colour.posterize(clip, 8 - round(4 * share)),
        partial(_applied, colour.solarize, 255 * (1 - share)),
        colour.autocontrast,
        colour.equalize,
    ]
    return every[int(draw * len(every))]


# Top, left, height and width, as shares of the frame.
Box = tuple[float, float, float, float]


def _boxes(keys: Tensor, config: DataConfig) -> list[Box | None]:
    """Returns the box to erase of each clip, or None."""
    if not config.erase:
        return [None] * len(keys)
    draws = uniform(keys, Purpose.ERASE, 1 + 4 * _TRIES, dtype=torch.float64).tolist()
    return [_box(rest) if first < config.erase else None for first, *rest in draws]


def _box(draws: list[float]) -> Box | None:
    low, high = (math.log(value) for value in _ERASED_ASPECT)
    for start in range(0, len(draws), 4):
        u, v, top, left = draws[start : start + 4]
        area = _ERASED_AREA[0] + u * (_ERASED_AREA[1] - _ERASED_AREA[0])
        aspect = math.exp(low + v * (high - low))
        height, width = (area * aspect) ** 0.5, (area / aspect) ** 0.5
        if height < 1 and width < 1:
            return top * (1 - height), left * (1 - width), height, width
    return None


def _erase(clip: Tensor, box: Box | None, key: Tensor) -> None:
    """Fills a box in all frames with noise of the mean and standard deviation of ImageNet."""
    assert box is not None
    side = clip.shape[1]
    top, left, height, width = (round(share * side) for share in box)
    height, width = max(1, height), max(1, width)
    part = clip[:, top : top + height, left : left + width]
    # Layer 0 drew the box.
    noise = normal(key, Purpose.ERASE, part.numel(), layer=1).view(part.shape)
    mean, std = (
        torch.tensor(values, device=clip.device) * 255 for values in (IMAGENET_MEAN, IMAGENET_STD)
    )
    part.copy_((noise * std + mean + 0.5).clamp(0, 255).to(torch.uint8))
