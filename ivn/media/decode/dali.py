"""Decodes with DALI, on NVIDIA's decoders (NVDEC), from bytes in memory.

On a machine without a GPU, DALI's CPU decoder reads VP8 and VP9. PyAV's reading of the packets
numbers the frames, and DALI is asked for them by number. PyAV decodes the files that DALI cannot;
its colours differ by rounding (docs/data.md).
"""

import functools
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ivn.errors import DecodeError
from ivn.media.container import video_streams, window_of
from ivn.media.decode import pyav
from ivn.media.decode.request import PROGRESSIVE, BatchBackend, Choose, ClipRequest, checked
from ivn.media.demux.packets import numbers_are_certain
from ivn.media.demux.reading import read_window
from ivn.media.facts import Facts, read_facts
from ivn.media.source import Source
from ivn.media.storage import name_of, read_bytes

if TYPE_CHECKING:
    from nvidia.dali import Pipeline

_log = logging.getLogger(__name__)

# Codecs of NVDEC on A100 and H100, with the smallest and the largest side: NVIDIA's Video Codec
# SDK, support matrix. No AV1, no 4:2:2 and 4:4:4 of H.264. NVDEC decodes 10 bits, but rounds them
# to 8 by rules of its own.
_ON_GPU = {
    "h264": (48, 4096),
    "hevc": (144, 8192),
    "vp8": (48, 4096),
    "vp9": (128, 8192),
}
_ON_CPU = ("vp8", "vp9")
_FORMATS = ("yuv420p", "yuvj420p")


def claims(facts: Facts) -> str:
    """Returns "", or one line that says why such a file is better decoded on a CPU."""
    if facts.codec not in _ON_GPU:
        return f"{facts.codec}: no decoder of A100 and H100 for it"
    if facts.pixel_format not in _FORMATS:
        return f"{facts.pixel_format}: only 4:2:0 of 8 bits"
    if facts.variable_rate:
        return "variable frame rate: DALI numbers its frames by time"
    if facts.rotation:
        return f"turned by {facts.rotation} degrees: DALI does not turn frames"
    if facts.mirrored:
        return "mirrored: DALI does not mirror frames"
    if facts.streams > 1:
        return f"{facts.streams} video streams: DALI takes no choice"
    smallest, largest = _ON_GPU[facts.codec]
    if min(facts.width, facts.height) < smallest or max(facts.width, facts.height) > largest:
        return f"{facts.width} x {facts.height}: sides must be {smallest} to {largest}"
    return ""


class _Prepared(NamedTuple):
    """The input of DALI for one request.

    Attributes:
        data: bytes of the video, uint8.
        numbers: int32 ``[T]``, numbers of the frames in the whole file.
    """

    data: np.ndarray
    numbers: np.ndarray


class Decoder:
    """A decoder of batches of requests on a GPU, and of those that do not fit it on the CPU.

        with Decoder(device=torch.device("cuda"), batch_size=16, threads=8) as decoder:
            for frames in decoder.decode([ClipRequest(source, choose), ...]): ...

    Args:
        device: device of the result; on a CPU, DALI decodes only VP8 and VP9.
        batch_size: largest number of requests at a time.
        threads: number of CPU threads, which read and check files and decode what DALI does not.

    Attributes:
        substituted: number of requests on which DALI failed, and which PyAV decoded.
    """

    def __init__(self, *, device: torch.device, batch_size: int, threads: int) -> None:
        self.device, self.substituted = device, 0
        self._batch_size, self._threads = batch_size, threads
        self._pool = ThreadPoolExecutor(threads)
        self._pipeline: Pipeline | None = None
        self._failed: set[str] = set()

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees the decoders; decoding again starts new ones."""
        self._pipeline = None
        self._pool.shutdown(cancel_futures=True)

    def decode(self, requests: Sequence[ClipRequest]) -> list[Tensor | DecodeError]:
        """Returns the frames of each request, uint8 ``[T, H, W, 3]`` on ``device``, or its error.

        Raises:
            ValueError: There are more requests than ``batch_size``, or a frame was chosen that the
                video does not have.
        """
        if len(requests) > self._batch_size:
            raise ValueError(f"{len(requests)} requests in a batch of {self._batch_size}")
        prepared = list(self._pool.map(self._prepare, requests))
        # The CPU's share begins before the GPU's, so that both run at once.
        others = {
            slot: self._pool.submit(_on_cpu, request)
            for slot, request in enumerate(requests)
            if prepared[slot] is None
        }
        wanted = {slot: given for slot, given in enumerate(prepared) if given is not None}
        results = self._run_all(wanted)
        for slot in sorted(wanted.keys() - results.keys()):
            self.substituted += 1
            name = name_of(requests[slot].source)
            self._failed.add(name)
            _log.warning("%s: DALI cannot decode it, PyAV does", name)
            others[slot] = self._pool.submit(_on_cpu, requests[slot])
        for slot, future in others.items():
            result = future.result()
            results[slot] = result if isinstance(result, DecodeError) else result.to(self.device)
        return [results[slot] for slot in range(len(requests))]

    def _prepare(self, request: ClipRequest) -> _Prepared | None:
        """Reads the file and numbers the frames; returns None where PyAV should decode it."""
        source = request.source
        if name_of(source) in self._failed or not _is_for_dali(source):
            return None
        codecs = _ON_CPU if self.device.type == "cpu" else tuple(_ON_GPU)
        try:
            data = read_bytes(source)
            whole = replace(source, start=0.0, end=-1.0)
            with read_window(whole, content=data) as reading:
                table, base = reading.table, float(reading.clock.base)
                context = reading.stream.codec_context
                fits = context.codec.canonical_name in codecs and context.pix_fmt in _FORMATS
                fits = fits and context.field_order in PROGRESSIVE and not table.restarts
                fits = fits and not any(picture.rotated for picture in table.pictures)
                # Nor may the video stream come after a cover picture.
                fits = fits and len(video_streams(reading.container)) == 1
                fits = fits and reading.stream == reading.container.streams.video[0]
        except DecodeError:
            return None  # PyAV reports it
        if not fits or not numbers_are_certain(table) or table.hidden:
            return None
        times, window = [table.times[number] or 0 for number in table.shown], window_of(source)
        inside = [
            number for number, time in enumerate(times) if window.holds((time - times[0]) * base)
        ]
        if not inside:
            return None
        numbers = [inside[number] for number in checked(request.choose(len(inside)), len(inside))]
        return _Prepared(np.frombuffer(data, np.uint8), np.array(numbers, np.int32))

    def _run_all(self, wanted: dict[int, _Prepared]) -> dict[int, Tensor | DecodeError]:
        """Decodes all that DALI can: together, or one by one where one file fails the batch."""
        results = self._run(wanted)
        if results is None:
            results = {}
            for slot, given in wanted.items():
                results |= self._run({slot: given}) or {}
        return results

    def _run(self, wanted: dict[int, _Prepared]) -> dict[int, Tensor | DecodeError] | None:
        """Decodes all of them; returns None after a failure, which ends the pipeline."""
        if not wanted:
            return {}
        if self._pipeline is None:
            self._pipeline = self._build()
        try:
            self._pipeline.feed_input("encoded", [given.data for given in wanted.values()])
            self._pipeline.feed_input("frames", [given.numbers for given in wanted.values()])
            (output,) = self._pipeline.run()
        except RuntimeError:
            self._pipeline = None
            return None
        results: dict[int, Tensor | DecodeError] = {}
        for index, (slot, given) in enumerate(wanted.items()):
            frames = self._as_tensor(output[index])
            if frames.ndim == 4 and len(frames) == len(given.numbers) and frames.shape[-1] == 3:
                results[slot] = frames
        return results

    def _build(self) -> "Pipeline":
        import nvidia.dali as dali
        from nvidia.dali import fn

        on_gpu = self.device.type == "cuda"
        index = (self.device.index or 0) if on_gpu else None
        pipeline = dali.Pipeline(
            batch_size=self._batch_size,
            num_threads=self._threads,
            device_id=index,
            prefetch_queue_depth=1,
            exec_dynamic=True,
        )
        with pipeline:
            encoded = fn.external_source(name="encoded", dtype=dali.types.UINT8, ndim=1)
            frames = fn.external_source(name="frames", dtype=dali.types.INT32, ndim=1)
            video = fn.decoders.video(encoded, device="mixed" if on_gpu else "cpu", frames=frames)
            pipeline.set_outputs(video)
        pipeline.build()
        return pipeline

    def _as_tensor(self, frames: Any) -> Tensor:
        """Returns a copy, since the pipeline reuses its memory."""
        if self.device.type == "cpu":
            return torch.from_numpy(np.array(frames))
        from nvidia.dali.plugin.pytorch import feed_ndarray

        out = torch.empty(tuple(frames.shape()), dtype=torch.uint8, device=self.device)
        feed_ndarray(frames, out, cuda_stream=torch.cuda.current_stream(self.device))
        return out


@functools.lru_cache(maxsize=2**16)
def _is_for_dali(source: Source) -> bool:
    """Returns the manifest's choice; without one, whether the file's facts fit DALI."""
    if source.decoder:
        return source.decoder == BACKEND.name
    try:
        return not claims(read_facts(source))
    except DecodeError:
        return False


def _on_cpu(request: ClipRequest) -> Tensor | DecodeError:
    try:
        return pyav.decode(*request)
    except DecodeError as error:
        return error


@functools.cache
def _one_at_a_time() -> Decoder:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return Decoder(device=device, batch_size=1, threads=1)


def decode(source: Source, choose: Choose) -> Tensor:
    """Returns the chosen frames of one clip; :class:`Decoder` decodes batches."""
    (frames,) = _one_at_a_time().decode([ClipRequest(source, choose)])
    if isinstance(frames, DecodeError):
        raise frames
    return frames.cpu()


BACKEND = BatchBackend(
    name="dali",
    library="DALI",
    module="nvidia.dali",
    package="nvidia-dali-cuda130",
    fix='pip install "ivn[dali]"',
    decode=decode,
    claims=claims,
    open=Decoder,
)
