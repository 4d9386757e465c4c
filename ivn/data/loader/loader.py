"""Loads batches, with results that depend on neither workers, processes nor the first step."""

import time
import weakref
from collections.abc import Iterator, Mapping, Sequence

import torch

from ivn.data.augment.augment import augment
from ivn.data.batch import Batch, ClipSpec
from ivn.data.config import DataConfig
from ivn.data.loader.device_feeder import DeviceFeeder
from ivn.data.loader.feeder import Feeder
from ivn.data.loader.packing import ClipPacking
from ivn.data.loader.transfer import transfer_to
from ivn.data.loader.workers import fill
from ivn.data.reader import check_specs
from ivn.data.sampling.plan import Plan
from ivn.errors import DataError, WorkerError
from ivn.media.decode import usable
from ivn.media.decode.request import BatchBackend
from ivn.media.source import Source

_PREFETCH_GIB = 4.0  # default memory for batches that are made ahead


class ClipLoader:
    """An iterator over the batches of steps 0, 1, ... without end.

    Step ``s`` is batch ``s % steps_per_epoch`` of epoch ``s // steps_per_epoch``. The order of an
    epoch is a keyed permutation of all sources; a last part smaller than a batch is dropped.

        with ClipLoader(sources, {"student": ClipSpec(8, 112)}, DataConfig(), batch_size=4,
                        workers=2) as loader:
            for batch in itertools.islice(loader, 100): ...

    Workers fill the rows of batches in memory that they share with this process, any free worker
    the next row: so memory holds a few batches, however many workers there are. The caller gets
    tensors of its own.

    Args:
        sources: sources, as from :func:`ivn.data.manifest.listing.list_clips`. Workers get one
            source at a time.
        specs: consumer -> its clips.
        config: settings of sampling, cropping and augmentation.
        batch_size: size of the global batch, over all processes.
        workers: number of processes that decode; 0 decodes in this one. It changes no result. With
            a ``data.decoder`` for whole batches it is the number of this process's threads.
        rank, world_size: number of this process and of all. It gets rows ``rank * b`` to
            ``(rank + 1) * b`` of the global batch, ``b = batch_size // world_size``.
        device: device of the batches. Batches for a GPU are copied and resized there beside the
            training step. It changes no bit of them.
        prefetch_gib: limit of the memory for batches ahead, in GiB; two batches are always ahead.

    Attributes:
        steps_per_epoch: number of whole batches in an epoch.
        step: step of the next batch; a resumed run sets it before the first.
        wait_seconds: time that callers waited for batches so far.

    Raises:
        ValueError: There are fewer sources than one batch, or arguments contradict.
        DataError: The decoder is not installed. While iterating: eleven files in a row are
            unusable, or a worker died.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        specs: Mapping[str, ClipSpec],
        config: DataConfig,
        *,
        batch_size: int,
        workers: int,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | str = "cpu",
        prefetch_gib: float = _PREFETCH_GIB,
    ) -> None:
        check_specs(specs)
        if workers < 0:
            raise ValueError(f"workers {workers}: expected 0 or more")
        self._plan = Plan(sources, config, batch_size, rank=rank, world_size=world_size)
        self.steps_per_epoch = self._plan.steps_per_epoch
        self.step = 0
        self.wait_seconds = 0.0
        self._specs, self._config = dict(specs), config
        self._backend = usable(config.decoder)
        self._workers = workers
        self._device = torch.device(device)
        # For a CPU the workers resize, since the cores are the same.
        self._packing = ClipPacking(specs, crops=self._device.type == "cuda")
        self._limit_bytes = int(prefetch_gib * 2**30)
        self._feeder: Feeder | DeviceFeeder | None = None

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        started = time.perf_counter()
        ahead = self._workers or isinstance(self._backend, BatchBackend)
        batch = self._from_feeder() if ahead else self._in_this_process()
        augment(batch, self._config)
        self.wait_seconds += time.perf_counter() - started
        self.step += 1
        return batch

    @property
    def prefetch(self) -> int:
        """Number of batches that are made ahead; 0 without workers."""
        return self._feeder.prefetch.depth if self._feeder else 0

    def close(self) -> None:
        """Ends the workers; iterating again starts new ones at ``step``."""
        if self._feeder is not None:
            self._feeder.close()
            self._feeder = None

    def __enter__(self) -> "ClipLoader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _from_feeder(self) -> Batch:
        try:
            if self._feeder is None:
                self._feeder = self._start_feeder()
                weakref.finalize(self, self._feeder.close)
            return self._feeder.take(self.step)
        except WorkerError as error:
            self.close()
            raise DataError(
                f"a data worker died ({error}): use fewer workers or more memory; in a script of "
                'your own, start under if __name__ == "__main__"'
            ) from error
        except DataError:
            self.close()
            raise

    def _start_feeder(self) -> Feeder | DeviceFeeder:
        if isinstance(self._backend, BatchBackend):
            return DeviceFeeder(
                self._plan,
                self._specs,
                self._backend,
                device=self._device,
                threads=max(1, self._workers),
                start=self.step,
            )
        return Feeder(
            self._plan,
            self._packing,
            workers=self._workers,
            start=self.step,
            limit_bytes=self._limit_bytes,
            transfer=transfer_to(self._device),
        )

    def _in_this_process(self) -> Batch:
        keys = self._plan.keys(self.step)
        slots = self._plan.slots(self.step, keys)
        shapes = self._packing.shapes(len(keys))
        rows = {name: torch.empty(shape, dtype=torch.uint8) for name, shape in shapes.items()}
        for slot in slots:
            while reason := fill(
                slot.source, self._packing, self._config, slot.keys, rows, slot.row
            ):
                slot.mark_unusable(reason)
        replaced = [file for slot in slots for file in slot.substitutions()]
        clips = self._packing.unpack(rows, self._device)
        return Batch(clips, keys.to(self._device), replaced, keys, self._config.repeats)
