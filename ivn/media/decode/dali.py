"""DALI: NVIDIA's decoders on a GPU (NVDEC), fed with bytes that lie in memory.

On a machine without a GPU its CPU decoder knows VP8 and VP9. Which frame has which number is
PyAV's word: every file's packets are read first, and the frames are asked for by number. What
DALI cannot take goes to PyAV, whose colours differ by rounding (docs/data.md).
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
from ivn.media.decode.request import PROGRESSIVE, Choose, checked
from ivn.media.demux.packets import numbers_are_certain
from ivn.media.demux.reading import read_window
from ivn.media.facts import Facts, read_facts
from ivn.media.source import Source
from ivn.media.storage import named, read_bytes

if TYPE_CHECKING:
    from nvidia.dali import Pipeline

name = "dali"
_log = logging.getLogger(__name__)

# What NVDEC of A100 and H100 decodes, with the least and the largest side: NVIDIA's Video Codec
# SDK, support matrix. No AV1, no 4:2:2 and 4:4:4 of H.264. 10 bits are decoded, but rounded to 8
# by rules of its own.
_ON_GPU = {
    "h264": (48, 4096),
    "hevc": (144, 8192),
    "vp8": (48, 4096),
    "vp9": (128, 8192),
}
_ON_CPU = ("vp8", "vp9")
_FORMATS = ("yuv420p", "yuvj420p")


@functools.cache
def available() -> str:
    """``""``, or why DALI cannot be used here."""
    try:
        import nvidia.dali  # noqa: F401
    except ImportError:
        return 'DALI is not installed: pip install "ivn[dali]"'
    except (OSError, RuntimeError) as error:
        return f"DALI does not load ({str(error).strip().partition(chr(10))[0]})"
    return ""


def claims(facts: Facts) -> str:
    """``""``, or why such a file is better decoded on a CPU."""
    if facts.codec not in _ON_GPU:
        return f"{facts.codec}: no decoder of A100 and H100 for it"
    if facts.pixel_format not in _FORMATS:
        return f"{facts.pixel_format}: only 4:2:0 of 8 bits"
    if facts.variable_rate:
        return "variable frame rate: frames are not where their number says"
    if facts.rotation:
        return f"turned by {facts.rotation} degrees: not applied"
    if facts.mirrored:
        return "mirrored: not applied"
    if facts.streams > 1:
        return f"{facts.streams} video streams: it cannot be told which"
    least, largest = _ON_GPU[facts.codec]
    if min(facts.width, facts.height) < least or max(facts.width, facts.height) > largest:
        return f"{facts.width} x {facts.height}: sides must be {least} to {largest}"
    return ""


class Request(NamedTuple):
    """A clip that is wanted.

    Attributes:
        source: the video and its window.
        choose: its frames, see :func:`ivn.media.decode.decode`.
    """

    source: Source
    choose: Choose


class _Checked(NamedTuple):
    """What DALI is given.

    Attributes:
        data: uint8, the video's bytes.
        numbers: int32 ``[T]``, of frames in the whole file.
    """

    data: np.ndarray
    numbers: np.ndarray


class Decoder:
    """Decodes batches of requests on a GPU; what does not fit it, on the CPU beside it.

        with Decoder(device=torch.device("cuda"), batch_size=16, threads=8) as decoder:
            for frames in decoder.decode([Request(source, choose), ...]): ...

    Args:
        device: where frames end up; of a CPU, DALI decodes VP8 and VP9 alone.
        batch_size: requests at a time, at most.
        threads: of the CPU: they read files, check them and decode what DALI does not.

    Attributes:
        substituted: requests that DALI failed on, and PyAV decoded.
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
        """Free the decoders; decoding again starts new ones."""
        self._pipeline = None
        self._pool.shutdown(cancel_futures=True)

    def decode(self, requests: Sequence[Request]) -> list[Tensor | DecodeError]:
        """For each request its frames, uint8 ``[T, H, W, 3]`` on ``device``, or why there are none.

        Raises:
            ValueError: there are more requests than ``batch_size``, or a choice is not one.
        """
        if len(requests) > self._batch_size:
            raise ValueError(f"{len(requests)} requests in a batch of {self._batch_size}")
        ready = list(self._pool.map(self._check, requests))
        # Begun before the GPU's share, so that both run at once.
        others = {
            slot: self._pool.submit(_on_cpu, request)
            for slot, request in enumerate(requests)
            if ready[slot] is None
        }
        given = [slot for slot, one in enumerate(ready) if one is not None]
        found = self._run_all({slot: one for slot, one in enumerate(ready) if one is not None})
        for slot in given:
            if slot not in found:
                self.substituted += 1
                place = named(requests[slot].source)
                self._failed.add(place)
                _log.warning("%s: DALI cannot decode it, PyAV does", place)
                others[slot] = self._pool.submit(_on_cpu, requests[slot])
        for slot, future in others.items():
            result = future.result()
            found[slot] = result if isinstance(result, DecodeError) else result.to(self.device)
        return [found[slot] for slot in range(len(requests))]

    def _check(self, request: Request) -> _Checked | None:
        """The file's bytes and the frames' numbers in it, or None where PyAV is to say more."""
        source = request.source
        if named(source) in self._failed or not _is_for_dali(source):
            return None
        codecs = _ON_CPU if self.device.type == "cpu" else tuple(_ON_GPU)
        try:
            data = read_bytes(source)
            whole = replace(source, start=0.0, end=-1.0)
            with read_window(whole, content=data) as read:
                found, base = read.found, float(read.clock.base)
                context = read.stream.codec_context
                fits = context.codec.canonical_name in codecs and context.pix_fmt in _FORMATS
                fits = fits and context.field_order in PROGRESSIVE and not found.restarts
                fits = fits and not any(unit.turned for unit in found.units)
                # Nor one that stands behind the picture of a cover.
                fits = fits and len(video_streams(read.container)) == 1
                fits = fits and read.stream == read.container.streams.video[0]
        except DecodeError:
            return None  # PyAV says why
        if not fits or not numbers_are_certain(found) or found.hidden:
            return None
        times, window = [found.times[number] or 0 for number in found.shown], window_of(source)
        inside = [
            place for place, time in enumerate(times) if window.holds((time - times[0]) * base)
        ]
        if not inside:
            return None
        numbers = [inside[number] for number in checked(request.choose(len(inside)), len(inside))]
        return _Checked(np.frombuffer(data, np.uint8), np.array(numbers, np.int32))

    def _run_all(self, wanted: dict[int, _Checked]) -> dict[int, Tensor | DecodeError]:
        """Those that DALI can decode. One bad file fails its whole batch: then one at a time."""
        found = self._run(wanted)
        if found is None:
            found = {}
            for slot, one in wanted.items():
                found |= self._run({slot: one}) or {}
        return found

    def _run(self, wanted: dict[int, _Checked]) -> dict[int, Tensor | DecodeError] | None:
        """All of them, or None after a failure, which leaves a pipeline unusable."""
        if not wanted:
            return {}
        if self._pipeline is None:
            self._pipeline = self._build()
        try:
            self._pipeline.feed_input("encoded", [one.data for one in wanted.values()])
            self._pipeline.feed_input("frames", [one.numbers for one in wanted.values()])
            (output,) = self._pipeline.run()
        except RuntimeError:
            self._pipeline = None
            return None
        found: dict[int, Tensor | DecodeError] = {}
        for place, (slot, one) in enumerate(wanted.items()):
            frames = self._as_tensor(output[place])
            if frames.ndim == 4 and len(frames) == len(one.numbers) and frames.shape[-1] == 3:
                found[slot] = frames
        return found

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
        """A copy, since the pipeline uses its memory again."""
        if self.device.type == "cpu":
            return torch.from_numpy(np.array(frames))
        from nvidia.dali.plugin.pytorch import feed_ndarray

        out = torch.empty(tuple(frames.shape()), dtype=torch.uint8, device=self.device)
        feed_ndarray(frames, out, cuda_stream=torch.cuda.current_stream(self.device))
        return out


@functools.lru_cache(maxsize=2**16)
def _is_for_dali(source: Source) -> bool:
    """By the manifest's word; by a look at the file where there is none."""
    if source.decoder:
        return source.decoder == name
    try:
        return not claims(read_facts(source))
    except DecodeError:
        return False


def _on_cpu(request: Request) -> Tensor | DecodeError:
    try:
        return pyav.decode(*request)
    except DecodeError as error:
        return error


@functools.cache
def _one_at_a_time() -> Decoder:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return Decoder(device=device, batch_size=1, threads=1)


def decode(source: Source, choose: Choose) -> Tensor:
    """See :func:`ivn.media.decode.decode`; batches are what :class:`Decoder` is for."""
    (frames,) = _one_at_a_time().decode([Request(source, choose)])
    if isinstance(frames, DecodeError):
        raise frames
    return frames.cpu()
