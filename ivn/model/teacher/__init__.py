"""Frozen teachers, of images and of clips, behind one protocol."""

import torch

from .efficientnet import load_efficientnet
from .protocol import ImageNetwork, Targets, TeacherConfig
from .siglip import load_siglip
from .teacher import Teacher

__all__ = ["ImageNetwork", "Targets", "Teacher", "TeacherConfig", "build_teacher", "release_taps"]


def build_teacher(config: TeacherConfig) -> Teacher:
    """The teacher that ``config`` names, on the CPU; it reads files or the hub.

    Raises:
        ImportError: its extra is not installed.
        ValueError: the source, the image size or the taps do not fit.
    """
    load = load_efficientnet if config.kind == "efficientnet" else load_siglip
    return Teacher(load(config).to(getattr(torch, config.dtype)))


def release_taps(depth: int, interval: float, count: int = 6) -> tuple[int, ...]:
    """Where the released code taps its teacher: ``depth - 1 - int(i * interval)``, ascending.

    A SigLIP of 40 blocks is tapped at interval 3.33 for ``base`` and 1.67 for ``large``.
    """
    return tuple(depth - 1 - int(i * interval) for i in reversed(range(count)))
