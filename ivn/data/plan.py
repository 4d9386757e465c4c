"""What every step is made of: which sources, under which keys, and what stands in for them.

B clips of the global batch, R clips of each source (``data.repeats``), G = B / R sources.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ivn.data.clip import Replacement
from ivn.data.contents import named
from ivn.data.order import epoch_order, substitutes
from ivn.data.reader import DataConfig
from ivn.data.source import DataError, Source
from ivn.ops.random import make_keys

# Broken files in a row, in one place of a batch, after which the data as a whole is at fault.
_TRIES = 10


class Plan:
    """The sources and keys of any step, from nothing but the config and the step's number.

    Step ``s`` is batch ``s % steps_per_epoch`` of epoch ``s // steps_per_epoch``, whose order is
    a keyed permutation of all sources; sources left over at an epoch's end are dropped.

    Args:
        sources: all there are; held as given.
        config: seed and repeats.
        batch_size: B.
        rank, world_size: whose rows :meth:`places` gives: ``rank * b`` to ``(rank + 1) * b``,
            ``b = batch_size // world_size``.

    Attributes:
        steps_per_epoch: whole batches in an epoch.
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
        if len(sources) < self.groups:
            raise ValueError(
                f"{len(sources)} clips are fewer than one batch of {self.groups}: "
                "give more clips or a smaller batch size"
            )
        self.steps_per_epoch = len(sources) // self.groups
        share = self.groups // world_size
        self._mine = torch.arange(share * rank, share * (rank + 1))
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))

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
        epoch, index = divmod(step, self.steps_per_epoch)
        if self._order[0] != epoch:
            self._order = epoch, epoch_order(self.config.seed, epoch, len(self.sources))
        chosen = self._order[1][index * self.groups + self._mine].tolist()
        return [
            Place(self, source, row * R, keys[row * R : (row + 1) * R])
            for row, source in enumerate(chosen)
        ]


@dataclass
class Place:
    """A source's place in a batch, which another takes where the file is broken.

    Attributes:
        row: of this rank's batch: the first of its clips.
        keys: int64 ``[R, 4]``, of its clips.
    """

    plan: Plan
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
        count = len(self.plan.sources)
        if not self._broken:
            self._others = substitutes(self.keys[:1], self.chosen, count, _TRIES)
        self._broken.append((named(self.source), reason))
        if len(self._broken) <= len(self._others):
            return
        reasons = "; ".join(reason for _, reason in self._broken)
        if len(self._broken) == count:
            raise DataError(f"no file can be used: {reasons}")
        raise DataError(f"{len(self._broken)} broken files in a row: {reasons}")

    def replaced(self) -> list[Replacement]:
        """The files that were broken, now that :attr:`source` could be used."""
        return [
            Replacement(path, reason, named(self.source), self.row) for path, reason in self._broken
        ]
