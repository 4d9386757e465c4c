"""Batches whose videos DALI decodes, where they are used: decoding, crops and sizes on the GPU."""

from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from ivn.data.batch import Batch, ClipSpec, empty_clips
from ivn.data.loader.prefetch import Prefetch
from ivn.data.loader.transfer import transfer_to
from ivn.data.reader import chooser, crops_of
from ivn.data.sampling.plan import Place, Plan
from ivn.errors import DecodeError
from ivn.media.decode import usable
from ivn.media.decode.dali import ClipRequest, Decoder


class GpuFeeder:
    """Batches of the steps ``start``, ``start + 1``, ..., two ahead, made by a thread.

    Each file is decoded once, into the device's memory; there it is cropped, resized and mirrored
    for every consumer. Files that are not for DALI are decoded on the CPU meanwhile, in the same
    batch, and files that nobody can decode are replaced as everywhere.

    Args:
        plan: which sources and keys.
        specs: consumer -> what it sees.
        device: where batches are made and used; on a CPU, DALI decodes VP8 and VP9.
        threads: of the CPU.
        start: the first step.
        stop: the first step not to make; -1 goes on for ever.

    Raises:
        DataError: DALI is not installed.
    """

    def __init__(
        self,
        plan: Plan,
        specs: Mapping[str, ClipSpec],
        *,
        device: torch.device,
        threads: int,
        start: int,
        stop: int,
    ) -> None:
        usable("dali")
        self.prefetch = Prefetch(batch_bytes=1, limit_bytes=0)
        self._plan, self._specs, self._device = plan, dict(specs), device
        places = plan.places(start, plan.keys(start))
        self._decoder = Decoder(device=device, batch_size=len(places), threads=threads)
        self._transfer = transfer_to(device)
        self._next, self._stop = start, stop
        self._made: deque[Future[Batch]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ivn-gpu-feeder")
        self._ask()

    def take(self, step: int) -> Batch:
        """The batch of ``step``, which must be the next that was not taken.

        Raises:
            DataError: ten broken files in a row.
        """
        del step
        batch = self._made.popleft().result()
        self._ask()
        self._transfer.take([*batch.clips.values(), batch.keys])
        return batch

    def close(self) -> None:
        """End the thread and free the decoders."""
        self._thread.shutdown(cancel_futures=True)
        self._decoder.close()

    def _ask(self) -> None:
        while len(self._made) < self.prefetch.depth and self._next != self._stop:
            self._made.append(self._thread.submit(self._make, self._next))
            self._next += 1

    def _make(self, step: int) -> Batch:
        keys = self._plan.keys(step)
        places = self._plan.places(step, keys)
        with self._transfer.beside():
            clips, left = empty_clips(self._specs, len(keys), self._device), places
            while left:
                left = self._fill(left, clips)
            on_device = keys.to(self._device)
        replaced = [one for place in places for one in place.replaced()]
        return Batch(clips, on_device, replaced, keys, self._plan.config.repeats)

    def _fill(self, places: list[Place], clips: dict[str, Tensor]) -> list[Place]:
        """Write the places' clips; those whose files are broken have another source then."""
        config, broken = self._plan.config, []
        requests = [
            ClipRequest(place.source, chooser(place.source, self._specs, config, place.keys))
            for place in places
        ]
        for place, video in zip(places, self._decoder.decode(requests), strict=True):
            if isinstance(video, DecodeError):
                place.broken(str(video))
                broken.append(place)
                continue
            made = crops_of(video, place.source, config, place.keys)
            for row, clip in enumerate(made, place.row):
                for name, view in clip.views(self._specs).items():
                    clips[name][row] = view
        return broken
