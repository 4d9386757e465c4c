"""Plans each step: its sources, the keys of their clips, and substitutes for unusable files.

B clips of the global batch, R clips of each source (``data.repeats``), G = B / R sources.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ivn.data.batch import Replacement
from ivn.data.config import DataConfig
from ivn.data.sampling.pools import IMAGES_LAYER, SourcePool, are_images, source_weights
from ivn.errors import DataError
from ivn.keys import make_keys
from ivn.media.source import IMAGE_SUFFIXES, Source
from ivn.media.storage import name_of

# Substitutes for one slot of a batch; if all are unusable, the data as a whole is at fault.
_SUBSTITUTES = 10


class Plan:
    """The sources and keys of any step, which follow from the config and the step's number.

    Step ``s`` is batch ``s % steps_per_epoch`` of epoch ``s // steps_per_epoch``. The order of an
    epoch is a keyed permutation of all sources, each as often as its weight says; a last part
    smaller than a batch is dropped. Where images have a share of every batch, epochs count the
    videos, and the images have epochs of their own.

    Args:
        sources: all sources.
        config: settings with the seed, the repeats and the share of images.
        batch_size: size B of the global batch.
        rank, world_size: number of this process and of all. It gets rows ``rank * b`` to
            ``(rank + 1) * b`` of the global batch, ``b = batch_size // world_size``.

    Attributes:
        sources_per_batch: number G of sources in the global batch.
        steps_per_epoch: number of whole batches in an epoch.

    Raises:
        ValueError: The batch does not divide among the processes, or there are too few sources.
        DataError: A weight is out of range, or all are 0.
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
        self.sources_per_batch = batch_size // R
        image_slots = self._image_slots()
        self._pools = self._divided(apart=len(image_slots) > 0)
        self._counts = [self.sources_per_batch - len(image_slots), len(image_slots)]
        videos = self._pools[0]
        if len(videos) < self._counts[0]:
            what = "videos" if len(image_slots) else "clips"
            raise ValueError(
                f"{len(videos)} {what} are fewer than one batch of {self._counts[0]}: "
                "give more clips or a smaller batch size"
            )
        self.steps_per_epoch = len(videos) // self._counts[0]
        # Draws per epoch: the last videos are dropped, images are all drawn.
        self._lengths = [self.steps_per_epoch * self._counts[0], len(self._pools[-1])]
        is_image = torch.zeros(self.sources_per_batch, dtype=torch.bool)
        is_image[image_slots] = True
        share = self.sources_per_batch // world_size
        self._mine = torch.arange(share * rank, share * (rank + 1))
        # The pool of each of this rank's slots, and its number among the batch's draws from that
        # pool.
        self._kind = is_image[self._mine].long()
        nth = torch.stack([(~is_image).cumsum(0), is_image.cumsum(0)]) - 1
        self._nth = nth[self._kind, self._mine]

    def _image_slots(self) -> Tensor:
        """Returns the slots of a batch that have images, int64."""
        config, G = self.config, self.sources_per_batch
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

    def _divided(self, *, apart: bool) -> list[SourcePool]:
        """Returns one pool of all sources, or two of videos and images ``apart``."""
        indices, weights = torch.arange(len(self.sources)), source_weights(self.sources)
        seed = self.config.seed
        if not apart:
            return [SourcePool(seed, indices, weights)]
        image = are_images(self.sources)
        if not image.any():
            raise ValueError(
                f"data.images is {self.config.images} and none of the {len(indices)} sources is an "
                f"image ({' '.join(IMAGE_SUFFIXES)})"
            )
        return [
            SourcePool(seed, indices[~image], weights[~image]),
            SourcePool(seed, indices[image], weights[image], layer=IMAGES_LAYER),
        ]

    def keys(self, step: int) -> Tensor:
        """Returns the keys of this rank's clips, int64 ``[B / world_size, 4]``."""
        R = self.config.repeats
        epoch, index = divmod(step, self.steps_per_epoch)
        positions = index * self.sources_per_batch + self._mine
        keys = make_keys(self.config.seed, epoch, positions.repeat_interleave(R))
        keys[:, 3] = torch.arange(R).repeat(len(positions))
        return keys

    def slots(self, step: int, keys: Tensor) -> list["BatchSlot"]:
        """Returns the slots of this rank's clips.

        Args:
            step: number of the step.
            keys: keys of these clips, as from :meth:`keys`.
        """
        R = self.config.repeats
        return [
            BatchSlot(self, self._pools[kind], source, slot * R, keys[slot * R : (slot + 1) * R])
            for slot, (kind, source) in enumerate(
                zip(self._kind.tolist(), self._drawn(step).tolist(), strict=True)
            )
        ]

    def _drawn(self, step: int) -> Tensor:
        """Returns the sources of this rank's slots, as indices among all."""
        sources = torch.empty_like(self._nth)
        for kind, pool in enumerate(self._pools):
            of_kind = self._kind == kind
            draws = step * self._counts[kind] + self._nth[of_kind]
            epochs = draws // self._lengths[kind]
            drawn = torch.empty_like(draws)
            for epoch in epochs.unique().tolist():
                in_epoch = epochs == epoch
                drawn[in_epoch] = pool.at(epoch, draws[in_epoch] % self._lengths[kind])
            sources[of_kind] = drawn
        return sources


@dataclass
class BatchSlot:
    """A slot of a batch: a source with R clips, or a substitute where its file is unusable.

    Attributes:
        plan: plan that the slot is from.
        pool: pool of the source and its substitutes.
        drawn: index of the source that was drawn for the slot.
        row: row of its first clip in this rank's batch.
        keys: keys of its clips, int64 ``[R, 4]``.
    """

    plan: Plan
    pool: SourcePool
    drawn: int
    row: int
    keys: Tensor
    _unusable: list[tuple[str, str]] = field(default_factory=list)  # names and reasons
    _substitutes: list[int] = field(default_factory=list)

    @property
    def source(self) -> Source:
        """The source to read: the first that was not marked as unusable."""
        tries = len(self._unusable)
        return self.plan.sources[self._substitutes[tries - 1] if tries else self.drawn]

    def mark_unusable(self, reason: str) -> None:
        """Replaces :attr:`source`, which is unusable, by a substitute.

        Raises:
            DataError: All ten substitutes, or all sources, are unusable.
        """
        if not self._unusable:
            self._substitutes = self.pool.substitutes(self.keys[:1], self.drawn, _SUBSTITUTES)
        self._unusable.append((name_of(self.source), reason))
        if len(self._unusable) <= len(self._substitutes):
            return
        reasons = "; ".join(reason for _, reason in self._unusable)
        if len(self._unusable) == self.pool.distinct:
            raise DataError(f"no file can be used: {reasons}")
        raise DataError(f"{len(self._unusable)} unusable files in a row: {reasons}")

    def substitutions(self) -> list[Replacement]:
        """Returns the files that were unusable, now that :attr:`source` is not."""
        return [
            Replacement(name, reason, name_of(self.source), self.row)
            for name, reason in self._unusable
        ]
