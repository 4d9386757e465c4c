"""The keys of random numbers: purpose, run, epoch and sample.

Every number depends only on its key; :mod:`ivn.ops.random` draws them.
"""

from collections.abc import Sequence
from enum import IntEnum

import torch
from torch import Tensor


class Purpose(IntEnum):
    """The decision that a random number is for.

    Values are part of a run's identity: they are never changed.
    """

    ORDER = 0
    FRAMES = 1
    CROP = 2
    FLIP = 3
    REPLACE = 4
    MASK = 5
    BLOCK_SIZE = 6
    TRUNCATE = 7
    TIMESTEP = 8
    NOISE = 9
    DROP_PATH = 10
    TEACHER_DROP_PATH = 11
    SAMPLING = 12
    MOTION = 13
    BOOTSTRAP = 14
    WORLD = 15
    HEAD = 16
    WEIGHT = 17
    COLOUR = 18
    RAND_AUGMENT = 19
    ERASE = 20


def make_keys(
    seed: int, epoch: int, position: Sequence[int] | Tensor, *, repeat: int = 0
) -> Tensor:
    """Returns the keys of samples, ``[B, 4]`` int64: seed, epoch, position, repeat.

    Args:
        seed: seed of the run, in ``[0, 2**63)``.
        epoch: number of the epoch, in ``[0, 2**24)``.
        position: each sample's place in the global order of the epoch, ``B`` values in
            ``[0, 2**32)``.
        repeat: number of the augmentation among a sample's repeats, in ``[0, 256)``.
    """
    if not (0 <= seed < 2**63 and 0 <= epoch < 2**24 and 0 <= repeat < 256):
        raise ValueError(
            f"make_keys: seed {seed}, epoch {epoch}, repeat {repeat}: expected seed in [0, 2**63), "
            "epoch in [0, 2**24), repeat in [0, 256)"
        )
    column = torch.as_tensor(position, dtype=torch.int64)
    same = torch.ones_like(column)
    return torch.stack([seed * same, epoch * same, column, repeat * same], dim=1)
