"""What every step is made of: which sources, under which keys, and what stands in for them.

B clips of the global batch, R clips of each source (``data.repeats``), G = B / R sources.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ivn.data.batch import Replacement
from ivn.data.config import DataConfig
from ivn.data.sampling.pools import IMAGES_LAYER, Stock, are_images, source_weights
from ivn.errors import DataError
from ivn.keys import make_keys
from ivn.media.source import IMAGE_SUFFIXES, Source
from ivn.media.storage import name_of

# Broken files in a row, in one place of a batch, after which the data as a whole is at fault.
_TRIES = 10


class Plan:
    """The sources and keys of any step, from nothing but the config and the step's number.

    Step ``s`` is batch ``s % steps_per_epoch`` of epoch ``s // steps_per_epoch``, whose order is
    a keyed permutation of all sources, each as often as its weight says; sources left over at an
    epoch's end are dropped. Where images have a share of every batch, epochs are those of the
    videos, and the images go round by themselves.

    Args:
        sources: all there are; held as given.
        config: seed, repeats and the share of images.
        batch_size: B.
        rank, world_size: whose rows :meth:`places` gives: ``rank * b`` to ``(rank + 1) * b``,
            ``b = batch_size // world_size``.

    Attributes:
        steps_per_epoch: whole batches in an epoch.

    Raises:
        ValueError: the batch does not divide, or there are fewer sources than it needs.
        DataError: weights make no sense.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        config: DataConfig,
        batch_size: int,
        *,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        R = config.repeats
        if batch_size < 1 or batch_size % (world_size * R) or not 0 <= rank < world_size:
            repeated = f", {R} clips of each source" if R > 1 else ""
            raise ValueError(
                f"batch size {batch_size}{repeated}, rank {rank} of {world_size}: expected a batch "
                "that divides among the processes"
            )
        self.sources, self.config = sources, config
        self.groups = batch_size // R
        image_places = self._image_places()
        self._stocks = self._divided(len(image_places) > 0)
        self._counts = [self.groups - len(image_places), len(image_places)]
        videos = self._stocks[0]
        if len(videos) < self._counts[0]:
            what = "videos" if len(image_places) else "clips"
            raise ValueError(
                f"{len(videos)} {what} are fewer than one batch of {self._counts[0]}: "
                "give more clips or a smaller batch size"
            )
        self.steps_per_epoch = len(videos) // self._counts[0]
        # Of a round: videos that are left over at its end are dropped, images go on.
        self._lengths = [self.steps_per_epoch * self._counts[0], len(self._stocks[-1])]
        is_image = torch.zeros(self.groups, dtype=torch.bool)
        is_image[image_places] = True
        share = self.groups // world_size
        self._mine = torch.arange(share * rank, share * (rank + 1))
        # For each of this rank's places: of which stock, and which of the batch's from there.
        self._kind = is_image[self._mine].long()
        nth = torch.stack([(~is_image).cumsum(0), is_image.cumsum(0)]) - 1
        self._nth = nth[self._kind, self._mine]

    def _image_places(self) -> Tensor:
        """The places of a batch that images have, int64."""
        config, G = self.config, self.groups
        if config.images == "as_listed":
            return torch.empty(0, dtype=torch.int64)
        count = round(config.image_share * G)
        if not 0 < count < G:
            raise ValueError(
                f"data.image_share {config.image_share} of {G} sources a batch is {count} images: "
                "expected at least one, and a video"
            )
        if config.images == "together":
            return torch.arange(G - count, G)
        return (torch.arange(count) * G + G - 1) // count

    def _divided(self, apart: bool) -> list[Stock]:
        """All sources, or videos and images."""
        rows, weights = torch.arange(len(self.sources)), source_weights(self.sources)
        seed = self.config.seed
        if not apart:
            return [Stock(seed, rows, weights)]
        image = are_images(self.sources)
        if not image.any():
            raise ValueError(
                f"data.images is {self.config.images} and none of the {len(rows)} sources is an "
                f"image ({' '.join(IMAGE_SUFFIXES)})"
            )
        return [
            Stock(seed, rows[~image], weights[~image]),
            Stock(seed, rows[image], weights[image], layer=IMAGES_LAYER),
        ]

    def keys(self, step: int) -> Tensor:
        """The keys of this rank's clips, int64 ``[B / world_size, 4]``."""
        R = self.config.repeats
        epoch, index = divmod(step, self.steps_per_epoch)
        positions = index * self.groups + self._mine
        keys = make_keys(self.config.seed, epoch, positions.repeat_interleave(R))
        keys[:, 3] = torch.arange(R).repeat(len(positions))
        return keys

    def places(self, step: int, keys: Tensor) -> list["Place"]:
        """The sources of this rank's clips of a step, ``keys`` being theirs."""
        R = self.config.repeats
        return [
            Place(self, self._stocks[kind], row, place * R, keys[place * R : (place + 1) * R])
            for place, (kind, row) in enumerate(
                zip(self._kind.tolist(), self._rows(step).tolist(), strict=True)
            )
        ]

    def _rows(self, step: int) -> Tensor:
        """The sources of this rank's places."""
        rows = torch.empty_like(self._nth)
        for kind, stock in enumerate(self._stocks):
            mine = self._kind == kind
            drawn = step * self._counts[kind] + self._nth[mine]
            epochs = drawn // self._lengths[kind]
            found = torch.empty_like(drawn)
            for epoch in epochs.unique().tolist():
                here = epochs == epoch
                found[here] = stock.at(epoch, drawn[here] % self._lengths[kind])
            rows[mine] = found
        return rows


@dataclass
class Place:
    """A source's place in a batch, which another takes where the file is broken.

    Attributes:
        stock: what it and its substitutes are drawn from.
        chosen: the source that is meant for it.
        row: of this rank's batch: the first of its clips.
        keys: int64 ``[R, 4]``, of its clips.
    """

    plan: Plan
    stock: Stock
    chosen: int
    row: int
    keys: Tensor
    _broken: list[tuple[str, str]] = field(default_factory=list)
    _others: list[int] = field(default_factory=list)

    @property
    def source(self) -> Source:
        """What is to be read: the first source of the place that is not known to be broken."""
        tries = len(self._broken)
        return self.plan.sources[self._others[tries - 1] if tries else self.chosen]

    def broken(self, reason: str) -> None:
        """Put a substitute in the place of :attr:`source`, which cannot be used.

        Raises:
            DataError: it was the last of ten in a row, or of all there are.
        """
        if not self._broken:
            self._others = self.stock.substitutes(self.keys[:1], self.chosen, _TRIES)
        self._broken.append((name_of(self.source), reason))
        if len(self._broken) <= len(self._others):
            return
        reasons = "; ".join(reason for _, reason in self._broken)
        if len(self._broken) == self.stock.different:
            raise DataError(f"no file can be used: {reasons}")
        raise DataError(f"{len(self._broken)} broken files in a row: {reasons}")

    def replaced(self) -> list[Replacement]:
        """The files that were broken, now that :attr:`source` could be used."""
        return [
            Replacement(path, reason, name_of(self.source), self.row)
            for path, reason in self._broken
        ]
