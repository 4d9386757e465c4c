"""Sources that are drawn from together: their rows, weights and order; images apart from videos."""

import hashlib
from collections.abc import Sequence
from pathlib import PurePath

import torch
from torch import Tensor

from ivn.data.manifest.identity import fingerprint
from ivn.data.manifest.table import SourceTable
from ivn.data.sampling.order import epoch_length, epoch_order, substitutes, weighted_order
from ivn.errors import DataError
from ivn.media.source import IMAGE_SUFFIXES, Source

# Of the words that order images: far from those of the copies of videos.
IMAGES_LAYER = 2**23

_HEAVIEST = 1000


class Stock:
    """Some of the sources, in another order each epoch.

    Args:
        seed: of the run.
        rows: of the sources, int64 ``[n]``.
        weights: fp64 ``[n]``; a row of weight 0 is as if it were not there.
        layer: see :func:`ivn.data.sampling.order.epoch_order`.
    """

    def __init__(self, seed: int, rows: Tensor, weights: Tensor, *, layer: int = 0) -> None:
        self._seed, self._layer = seed, layer
        self._rows, self._weights = rows[weights > 0], weights[weights > 0]
        self._even = bool((self._weights == 1).all())
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))

    def __len__(self) -> int:
        """Sources in an epoch, each as often as it is drawn."""
        return len(self._rows) if self._even else epoch_length(self._weights)

    @property
    def different(self) -> int:
        """Sources that are drawn at all."""
        return len(self._rows)

    def at(self, epoch: int, positions: Tensor) -> Tensor:
        """The rows at some positions of an epoch's order."""
        if self._order[0] != epoch:
            self._order = epoch, self._rows[self._ordered(epoch)]
        return self._order[1][positions]

    def _ordered(self, epoch: int) -> Tensor:
        if self._even:
            return epoch_order(self._seed, epoch, len(self._rows), layer=self._layer)
        return weighted_order(self._seed, epoch, self._weights, layer=self._layer)

    def substitutes(self, key: Tensor, row: int, tries: int) -> list[int]:
        """Distinct rows in place of ``row``; see :func:`ivn.data.sampling.order.substitutes`."""
        index = int(torch.searchsorted(self._rows, row))
        return self._rows[substitutes(key, index, len(self._rows), tries)].tolist()


def source_weights(sources: Sequence[Source]) -> Tensor:
    """How often each source is drawn, fp64 ``[N]``: the manifest's column, 1 elsewhere.

    Raises:
        DataError: a weight is out of range, or all are 0; the source is named.
    """
    if not isinstance(sources, SourceTable):
        return torch.ones(len(sources), dtype=torch.float64)
    weights = sources.weights()
    wrong = ~((weights >= 0) & (weights <= _HEAVIEST))
    if wrong.any():
        index = int(wrong.nonzero()[0, 0])
        raise DataError(
            f"{sources[index].path}: its weight is {weights[index].item():g}, expected 0 to "
            f"{_HEAVIEST}; only the weights' ratios and their sum, an epoch's clips, matter"
        )
    if not weights.any():
        raise DataError("the weight of every row is 0: nothing is left to draw")
    return weights


def are_images(sources: Sequence[Source]) -> Tensor:
    """Which sources are single images, by their names, bool ``[N]``."""
    if isinstance(sources, SourceTable):
        return sources.named(IMAGE_SUFFIXES)
    names = (PurePath(source.member or source.path) for source in sources)
    return torch.tensor([name.suffix.lower() in IMAGE_SUFFIXES for name in names])


def drawn_fingerprint(sources: Sequence[Source], *, base: str = "", instead: str = "") -> str:
    """The sources' fingerprint, with their weights where these differ."""
    weights, found = source_weights(sources), fingerprint(sources, base=base, instead=instead)
    if bool((weights == 1).all()):
        return found
    return hashlib.sha256(found.encode() + weights.numpy().tobytes()).hexdigest()
