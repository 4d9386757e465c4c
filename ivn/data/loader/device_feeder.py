"""Makes batches on the GPU that uses them: decodes, crops and resizes there."""

from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from ivn.data.batch import Batch, ClipSpec, empty_clips
from ivn.data.loader.prefetch import Prefetch
from ivn.data.loader.transfer import transfer_to
from ivn.data.reader import chooser, crops_of
from ivn.data.sampling.plan import BatchSlot, Plan
from ivn.errors import DecodeError
from ivn.media.decode.request import BatchBackend, ClipRequest


class DeviceFeeder:
    """A source of the batches of steps ``start``, ``start + 1``, ..., made two ahead by a thread.

    Each file is decoded once, into the device's memory, and cropped, resized and mirrored there for
    every consumer. Files of the same batch that do not fit the back end are decoded on the CPU at
    the same time, and unusable files are substituted as with workers.

    Args:
        plan: sources and keys of each step.
        specs: consumer -> its clips.
        backend: library that decodes.
        device: device where batches are made and used.
        threads: number of CPU threads.
        start: the first step.
    """

    def __init__(
        self,
        plan: Plan,
        specs: Mapping[str, ClipSpec],
        backend: BatchBackend,
        *,
        device: torch.device,
        threads: int,
        start: int,
    ) -> None:
        self.prefetch = Prefetch(batch_bytes=1, limit_bytes=0)
        self._plan, self._specs, self._device = plan, dict(specs), device
        slots = plan.slots(start, plan.keys(start))
        self._decoder = backend.open(device=device, batch_size=len(slots), threads=threads)
        self._transfer = transfer_to(device)
        self._next = start
        self._made: deque[Future[Batch]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ivn-device-feeder")
        self._ask()

    def take(self, step: int) -> Batch:
        """Returns the batch of ``step``; steps must be taken in order.

        Raises:
            DataError: Eleven files in a row are unusable.
        """
        del step
        batch = self._made.popleft().result()
        self._ask()
        self._transfer.hand_over([*batch.clips.values(), batch.keys])
        return batch

    def close(self) -> None:
        """Ends the thread and frees the decoders."""
        self._thread.shutdown(cancel_futures=True)
        self._decoder.close()

    def _ask(self) -> None:
        while len(self._made) < self.prefetch.depth:
            self._made.append(self._thread.submit(self._make, self._next))
            self._next += 1

    def _make(self, step: int) -> Batch:
        keys = self._plan.keys(step)
        slots = self._plan.slots(step, keys)
        with self._transfer.side_stream():
            clips, unfilled = empty_clips(self._specs, len(keys), self._device), slots
            while unfilled:
                unfilled = self._fill(unfilled, clips)
            on_device = keys.to(self._device)
        replaced = [file for slot in slots for file in slot.substitutions()]
        return Batch(clips, on_device, replaced, keys, self._plan.config.repeats)

    def _fill(self, slots: list[BatchSlot], clips: dict[str, Tensor]) -> list[BatchSlot]:
        """Writes the clips of slots; returns those whose file was unusable and now is another."""
        config, unfilled = self._plan.config, []
        requests = [
            ClipRequest(slot.source, chooser(slot.source, self._specs, config, slot.keys))
            for slot in slots
        ]
        for slot, video in zip(slots, self._decoder.decode(requests), strict=True):
            if isinstance(video, DecodeError):
                slot.mark_unusable(str(video))
                unfilled.append(slot)
                continue
            made = crops_of(video, slot.source, config, slot.keys)
            for row, clip in enumerate(made, slot.row):
                for name, view in clip.for_consumers(self._specs).items():
                    clips[name][row] = view
        return unfilled
