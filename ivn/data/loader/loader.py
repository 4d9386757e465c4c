"""Batches for ever, the same whatever the workers, the processes and the step to start from."""

import time
import weakref
from collections.abc import Iterator, Mapping, Sequence

import torch

from ivn.data.augment.augment import augment
from ivn.data.batch import Batch, ClipSpec
from ivn.data.config import DataConfig
from ivn.data.loader.dali_feeder import GpuFeeder
from ivn.data.loader.feeder import Feeder
from ivn.data.loader.packing import Packing
from ivn.data.loader.transfer import transfer_to
from ivn.data.loader.workers import fill
from ivn.data.reader import check_specs
from ivn.data.sampling.plan import Plan
from ivn.errors import DataError, WorkerError
from ivn.media.source import Source

# Of batches ahead, where nothing else is said.
_PREFETCH_GIB = 4.0


class ClipLoader:
    """Iterates over the batches of steps ``start_step``, ``start_step + 1``, ... for ever.

    Step ``s`` is batch ``s % steps_per_epoch`` of epoch ``s // steps_per_epoch``, whose order is
    a keyed permutation of all sources; sources left over at an epoch's end are dropped.

        with ClipLoader(sources, {"student": ClipSpec(8, 112)}, DataConfig(), batch_size=4,
                        workers=2) as loader:
            for batch in itertools.islice(loader, 100): ...

    Workers fill the rows of batches in memory that they share with this process, each row whoever
    is free: so there are a few batches in memory, however many the workers. What comes out is the
    caller's own.

    Args:
        sources: what :func:`ivn.data.manifest.listing.list_clips` gives; held as given, workers get
            one source at a time.
        specs: consumer -> what it sees.
        config: how files become clips.
        batch_size: of the global batch, over all processes.
        workers: processes that decode; 0 decodes in this one. Changes no result. With
            ``data.decoder = "dali"`` it is the number of this process's threads.
        start_step: the first step, to go on with a run.
        stop_step: the first step not to give; -1 goes on for ever.
        rank, world_size: this process gets rows ``rank * b`` to ``(rank + 1) * b`` of the global
            batch, ``b = batch_size // world_size``.
        device: where batches go; to a GPU they are copied, and resized there, beside the training
            step. Changes no bit of them.
        prefetch_gib: memory for batches ahead, of which there are two in any case.

    Attributes:
        steps_per_epoch: whole batches in an epoch.
        step: the step of the batch that comes next.
        wait_seconds: time spent waiting for batches so far.

    Raises:
        ValueError: there are fewer sources than one batch, or arguments contradict.
        DataError: while iterating: ten broken files in a row, or a worker died.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        specs: Mapping[str, ClipSpec],
        config: DataConfig,
        *,
        batch_size: int,
        workers: int,
        start_step: int = 0,
        stop_step: int = -1,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | str = "cpu",
        prefetch_gib: float = _PREFETCH_GIB,
    ) -> None:
        check_specs(specs)
        if workers < 0 or start_step < 0:
            raise ValueError(f"workers {workers}, start step {start_step}: expected 0 or more")
        self._plan = Plan(sources, config, batch_size, rank=rank, world_size=world_size)
        self.steps_per_epoch = self._plan.steps_per_epoch
        self.step = start_step
        self.wait_seconds = 0.0
        self._specs, self._config = dict(specs), config
        self._stop_step = stop_step
        self._workers = workers
        self._device = torch.device(device)
        # Where the device is a CPU, its cores are those of the workers.
        self._packing = Packing(specs, crops=self._device.type == "cuda")
        self._limit_bytes = int(prefetch_gib * 2**30)
        self._feeder: Feeder | GpuFeeder | None = None

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        if self.step == self._stop_step:
            self.close()
            raise StopIteration
        started = time.perf_counter()
        ahead = self._workers or self._config.decoder == "dali"
        batch = self._from_workers() if ahead else self._alone()
        augment(batch, self._config)
        self.wait_seconds += time.perf_counter() - started
        self.step += 1
        return batch

    @property
    def prefetch(self) -> int:
        """Batches made ahead, set by how long training has waited; 0 without workers."""
        return self._feeder.prefetch.depth if self._feeder else 0

    def close(self) -> None:
        """End the workers; iterating again starts new ones at ``step``."""
        if self._feeder is not None:
            self._feeder.close()
            self._feeder = None

    def __enter__(self) -> "ClipLoader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _from_workers(self) -> Batch:
        try:
            if self._feeder is None:
                self._feeder = self._started()
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

    def _started(self) -> Feeder | GpuFeeder:
        if self._config.decoder == "dali":
            return GpuFeeder(
                self._plan,
                self._specs,
                device=self._device,
                threads=max(1, self._workers),
                start=self.step,
                stop=self._stop_step,
            )
        return Feeder(
            self._plan,
            self._packing,
            workers=self._workers,
            start=self.step,
            stop=self._stop_step,
            limit_bytes=self._limit_bytes,
            transfer=transfer_to(self._device),
        )

    def _alone(self) -> Batch:
        keys = self._plan.keys(self.step)
        places = self._plan.places(self.step, keys)
        shapes = self._packing.shapes(len(keys))
        rows = {name: torch.empty(shape, dtype=torch.uint8) for name, shape in shapes.items()}
        for place in places:
            while reason := fill(
                place.source, self._packing, self._config, place.keys, rows, place.row
            ):
                place.broken(reason)
        replaced = [one for place in places for one in place.replaced()]
        clips = self._packing.unpack(rows, self._device)
        return Batch(clips, keys.to(self._device), replaced, keys, self._config.repeats)
