"""Pools of sources that are drawn together, by weight: all sources, or videos and images apart."""

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

# Layer of the random words that order images; those of videos are one per copy, from 0.
IMAGES_LAYER = 2**23

_MAX_WEIGHT = 1000


class SourcePool:
    """Some of the sources, in a new order each epoch.

    Args:
        seed: seed of the run.
        indices: index of each source among all, ascending, int64 ``[n]``.
        weights: weight of each source, fp64 ``[n]``; a source of weight 0 is ignored.
        layer: layer of the orders, see :func:`ivn.data.sampling.order.epoch_order`.
    """

    def __init__(self, seed: int, indices: Tensor, weights: Tensor, *, layer: int = 0) -> None:
        self._seed, self._layer = seed, layer
        self._indices, self._weights = indices[weights > 0], weights[weights > 0]
        self._even = bool((self._weights == 1).all())
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))

    def __len__(self) -> int:
        """Returns the number of draws in an epoch."""
        return len(self._indices) if self._even else epoch_length(self._weights)

    @property
    def distinct(self) -> int:
        """Number of sources with a weight above 0."""
        return len(self._indices)

    def at(self, epoch: int, positions: Tensor) -> Tensor:
        """Returns the sources at some positions of an epoch's order, as indices among all."""
        if self._order[0] != epoch:
            self._order = epoch, self._indices[self._ordered(epoch)]
        return self._order[1][positions]

    def _ordered(self, epoch: int) -> Tensor:
        if self._even:
            return epoch_order(self._seed, epoch, len(self._indices), layer=self._layer)
        return weighted_order(self._seed, epoch, self._weights, layer=self._layer)

    def substitutes(self, key: Tensor, source: int, tries: int) -> list[int]:
        """Returns other sources to try instead of one, as indices among all.

        See :func:`ivn.data.sampling.order.substitutes`.
        """
        index = int(torch.searchsorted(self._indices, source))
        return self._indices[substitutes(key, index, len(self._indices), tries)].tolist()


def source_weights(sources: Sequence[Source]) -> Tensor:
    """Returns the weight of each source, fp64 ``[N]``: the manifest's column, or 1.

    Raises:
        DataError: A weight is out of range, with the name of its source; or all are 0.
    """
    if not isinstance(sources, SourceTable):
        return torch.ones(len(sources), dtype=torch.float64)
    weights = sources.weights()
    wrong = ~((weights >= 0) & (weights <= _MAX_WEIGHT))
    if wrong.any():
        index = int(wrong.nonzero()[0, 0])
        raise DataError(
            f"{sources[index].path}: its weight is {weights[index].item():g}, expected 0 to "
            f"{_MAX_WEIGHT}; only the weights' ratios and their sum, an epoch's clips, matter"
        )
    if not weights.any():
        raise DataError("the weight of every row is 0: no clip can be drawn")
    return weights


def are_images(sources: Sequence[Source]) -> Tensor:
    """Returns whether each source is a single image by its suffix, bool ``[N]``."""
    if isinstance(sources, SourceTable):
        return sources.have_suffix(IMAGE_SUFFIXES)
    names = (PurePath(source.member or source.path) for source in sources)
    return torch.tensor([name.suffix.lower() in IMAGE_SUFFIXES for name in names])


def drawn_fingerprint(sources: Sequence[Source], *, base: str = "", instead: str = "") -> str:
    """Returns the sources' fingerprint, which includes their weights where one is not 1."""
    weights, digest = source_weights(sources), fingerprint(sources, base=base, instead=instead)
    if bool((weights == 1).all()):
        return digest
    return hashlib.sha256(digest.encode() + weights.numpy().tobytes()).hexdigest()
