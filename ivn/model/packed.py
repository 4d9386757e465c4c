"""Token indices of clips that keep different numbers of tokens, laid end to end.

Legend: B clips, N tokens of a clip, S kept tokens of all clips, C features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ivn.ops import gather_tokens


@dataclass(frozen=True)
class Packed:
    """Kept tokens, clip after clip.

    Attributes:
        index: kept tokens, int64 ``[S]``, ascending within a clip, counted from its first token.
        lengths: number of kept tokens of each clip, B numbers on the host, since they set shapes.
    """

    index: Tensor
    lengths: tuple[int, ...]

    @classmethod
    def where(cls, kept: Tensor) -> Self:
        """Returns the true places of ``kept``, bool ``[B, N]`` on the CPU."""
        return cls(kept.nonzero()[:, 1], tuple(kept.sum(1).tolist()))

    @classmethod
    def of(cls, index: Tensor) -> Self:
        """Packs the tokens ``index`` ``[B, K]``, K of each clip."""
        return cls(index.flatten(), (index.shape[1],) * len(index))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Joins the clips of all ``parts``, one after another."""
        lengths = tuple(length for part in parts for length in part.lengths)
        return cls(torch.cat([part.index for part in parts]), lengths)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """Returns the same tokens with ``index`` on ``device``."""
        return type(self)(self.index.to(device, non_blocking=non_blocking), self.lengths)

    def rows(self, N: int) -> Tensor:
        """Returns the tokens' places in clips of ``N`` tokens that lie end to end, ``[1, S]``."""
        starts = torch.arange(len(self.lengths)) * N
        offsets = starts.repeat_interleave(torch.tensor(self.lengths, dtype=torch.int64))
        return (self.index + offsets.to(self.index.device, non_blocking=True))[None]

    def slots(self, N: int, H: int) -> Tensor:
        """Returns places of :meth:`behind`'s result in clips of ``H + N``: ``[1, B * H + S]``."""
        starts = torch.arange(len(self.lengths))[:, None] * (H + N)
        heads = (starts + torch.arange(H)).to(self.index.device, non_blocking=True)
        return self.behind(heads[..., None], (self.rows(H + N) + H)[..., None])[..., 0]

    def behind(self, heads: Tensor, tokens: Tensor) -> Tensor:
        """Joins each clip's ``heads`` ``[B, H, C]`` and tokens ``[1, S, C]``, end to end."""
        clips = zip(heads, tokens[0].split(self.lengths), strict=True)
        return torch.cat([part for pair in clips for part in pair])[None]


Index = Tensor | Packed  # int64 [B, K], or packed


def take(tokens: Tensor, index: Index) -> Tensor:
    """Returns the kept tokens of ``[B, N, C]``: ``[B, K, C]``, or ``[1, S, C]`` if packed."""
    if isinstance(index, Packed):
        return gather_tokens(tokens.flatten(0, 1)[None], index.rows(tokens.shape[1]))
    return gather_tokens(tokens, index)
