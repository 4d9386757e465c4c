"""A teacher that ivn has not heard of: all that one takes, in one file.

Its tokens are the mean colours of cells of 16 x 16 pixels over three frames.
"""

import torch
from torch import nn

from ivn.frozen.protocol import ClipNetwork, check_taps


class MadeUpNetwork(ClipNetwork):
    """A network of clips with one block and nothing to read."""

    sources = "the word anything"
    width = 3
    frames_per_slot = 3

    def __init__(self, taps, image_size):
        super().__init__()
        check_taps(taps, 1, first=1)
        self.taps, self.image_size, self.grid = taps, image_size, image_size // 16
        self.scale = nn.Parameter(torch.ones(3))

    @classmethod
    def read(cls, source, *, weights, taps, image_size):
        return cls(taps, image_size)

    def look(self, clips, tap, *, pooled, attention):
        slots = clips.unflatten(1, (-1, 3)).mean(2)  # [B, t, 3, S, S]
        cells = nn.functional.avg_pool2d(slots.flatten(0, 1), 16).flatten(2).mT
        tokens = cells.unflatten(0, slots.shape[:2]) * self.scale  # [B, t, n, D]
        if tap is not None:
            tap(0, tokens.flatten(0, 2))
        vector = tokens.mean((1, 2))[:, None] if pooled else tokens.new_empty(len(clips), 1, 0)
        lengths = tokens.norm(dim=3)
        return vector, lengths if attention else lengths[:, :, :0]
