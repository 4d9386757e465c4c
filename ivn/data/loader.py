"""Batches for ever, the same whatever the workers, the processes and the step to start from."""

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ivn.data import processes
from ivn.data.clip import Batch, ClipSpec, Replacement
from ivn.data.contents import named
from ivn.data.decode import DecodeError
from ivn.data.order import epoch_order, substitutes
from ivn.data.reader import DataConfig, check_specs, read_clip
from ivn.data.source import DataError, Source
from ivn.ops.random import make_keys

# Broken files in a row, in one place of a batch, after which the data as a whole is at fault.
_TRIES = 10


class ClipLoader:
    """Iterates over the batches of steps ``start_step``, ``start_step + 1``, ... for ever.

    Step ``s`` is batch ``s % steps_per_epoch`` of epoch ``s // steps_per_epoch``, whose order is
    a keyed permutation of all sources; sources left over at an epoch's end are dropped.

        with ClipLoader(sources, {"student": ClipSpec(8, 112)}, DataConfig(), batch_size=4,
                        workers=2) as loader:
            for batch in itertools.islice(loader, 100): ...

    Args:
        sources: what :func:`ivn.data.source.list_clips` gives.
        specs: consumer -> what it sees.
        config: how files become clips.
        batch_size: of the global batch, over all processes.
        workers: processes that decode; 0 decodes in this one. Changes no result.
        start_step: the first step, to go on with a run.
        stop_step: the first step not to give; -1 goes on for ever.
        rank, world_size: this process gets rows ``rank * b`` to ``(rank + 1) * b`` of the global
            batch, ``b = batch_size // world_size``.
        pin_memory: put batches in page-locked memory, for faster copies to a GPU.

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
        pin_memory: bool = False,
    ) -> None:
        check_specs(specs)
        if batch_size < 1 or batch_size % world_size or not 0 <= rank < world_size:
            raise ValueError(
                f"batch size {batch_size}, rank {rank} of {world_size}: expected a batch that "
                "divides among the processes"
            )
        if len(sources) < batch_size:
            raise ValueError(
                f"{len(sources)} clips are fewer than one batch of {batch_size}: "
                "give more clips or a smaller batch size"
            )
        if workers < 0 or start_step < 0:
            raise ValueError(f"workers {workers}, start step {start_step}: expected 0 or more")
        self.steps_per_epoch = len(sources) // batch_size
        self.step = start_step
        self.wait_seconds = 0.0
        self._stop_step = stop_step
        self._batches = _Batches(sources, dict(specs), config, batch_size, rank, world_size)
        self._workers = workers
        self._pin_memory = pin_memory
        self._running: Iterator[Batch | DataError] | None = None

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        if self.step == self._stop_step:
            self.close()
            raise StopIteration
        started = time.perf_counter()
        if self._running is None:
            self._running = self._start()
        try:
            batch = next(self._running)
        except (RuntimeError, ConnectionError, EOFError) as error:
            self.close()
            # A process that is gone, by torch's words or by its pipe's, as against an error in one.
            gone = "DataLoader worker" in str(error) and "Caught" not in str(error)
            if gone or not isinstance(error, RuntimeError):
                reason = str(error).partition("\n")[0] or type(error).__name__
                raise DataError(
                    f"a data worker died ({reason}): use fewer workers, more memory or more "
                    "shared memory (/dev/shm); in a script of your own, start "
                    'under if __name__ == "__main__"'
                ) from error
            raise
        self.wait_seconds += time.perf_counter() - started
        if isinstance(batch, DataError):
            self.close()
            raise batch
        self.step += 1
        return batch

    def close(self) -> None:
        """End the workers; iterating again starts new ones at ``step``."""
        self._running = None

    def __enter__(self) -> "ClipLoader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> Iterator[Batch | DataError]:
        with warnings.catch_warnings():
            # More workers than cores is the caller's choice.
            warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
            return iter(
                DataLoader(
                    self._batches,
                    batch_size=None,
                    sampler=range(self.step, self._stop_step if self._stop_step >= 0 else 2**62),
                    num_workers=self._workers,
                    collate_fn=_as_is,
                    pin_memory=self._pin_memory,
                    multiprocessing_context=processes.context([__name__, "av"])
                    if self._workers
                    else None,
                    worker_init_fn=_prepare_worker,
                    # Of its own, so that the global generator is left as it was.
                    generator=torch.Generator(),
                )
            )


class _Batches(Dataset[Batch | DataError]):
    """The batch of any step, as this rank sees it; errors are values, to cross processes whole."""

    def __init__(
        self,
        sources: Sequence[Source],
        specs: dict[str, ClipSpec],
        config: DataConfig,
        batch_size: int,
        rank: int,
        world_size: int,
    ) -> None:
        self.sources, self.specs, self.config = sources, specs, config
        self.batch_size = batch_size
        self.rows = range(batch_size // world_size * rank, batch_size // world_size * (rank + 1))
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))

    def __getitem__(self, step: int) -> Batch | DataError:
        epoch, index = divmod(step, len(self.sources) // self.batch_size)
        if self._order[0] != epoch:
            self._order = epoch, epoch_order(self.config.seed, epoch, len(self.sources))
        positions = [index * self.batch_size + row for row in self.rows]
        keys = make_keys(self.config.seed, epoch, positions)
        replaced: list[Replacement] = []
        clips: dict[str, Tensor] = {
            name: torch.empty(len(keys), spec.frames, spec.size, spec.size, 3, dtype=torch.uint8)
            for name, spec in self.specs.items()
        }
        for row, position in enumerate(positions):
            try:
                index = int(self._order[1][position])
                views = self._read(index, keys[row : row + 1], row, replaced)
            except DataError as error:
                return error
            for name, view in views.items():
                clips[name][row] = view
        return Batch(clips, keys, replaced)

    def _read(
        self, index: int, key: Tensor, row: int, replaced: list[Replacement]
    ) -> dict[str, Tensor]:
        """The clip of a source, or of the first usable substitute."""
        broken: list[tuple[str, str]] = []
        others = substitutes(key, index, len(self.sources), _TRIES)
        for candidate in [index, *others]:
            source = self.sources[candidate]
            try:
                views = read_clip(source, self.specs, self.config, key)
            except DecodeError as error:
                broken.append((named(source), str(error)))
                continue
            replaced += [Replacement(path, reason, named(source), row) for path, reason in broken]
            return views
        reasons = "; ".join(reason for _, reason in broken)
        if len(broken) == len(self.sources):
            raise DataError(f"no file can be used: {reasons}")
        raise DataError(f"{len(broken)} broken files in a row: {reasons}")


def _as_is(batch: Any) -> Any:
    return batch


def _prepare_worker(_: int) -> None:
    processes.prepare()
