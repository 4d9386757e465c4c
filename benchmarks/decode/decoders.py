"""Ways to decode chosen frames of a file: ours, each library's own best loop, other libraries.

Each takes a path and ascending frame numbers and returns uint8 ``[T, H, W, 3]``, RGB.
"""

import functools
import importlib.util
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from ivn.media.decode import BACKENDS, decode
from ivn.media.decode.dali import Decoder
from ivn.media.decode.request import ClipRequest
from ivn.media.source import Source

Decode = Callable[[str, Sequence[int]], np.ndarray]
OURS, DALI = "ours", "DALI"
# Number of requests in a batch for DALI.
BATCH = 16
# Names of the libraries' packages.
PACKAGES = ("av", "torchcodec", "nvidia-dali-cuda130", "decord", "opencv-python-headless")
PACKAGES += ("opencv-python", "torchvision")


def ways() -> tuple[dict[str, Decode], dict[str, str]]:
    """Returns the ways by name, ours first, and why others are not available, by name."""
    found: dict[str, Decode] = {OURS: functools.partial(_ours, "pyav")}
    missing = {}
    if why := BACKENDS["torchcodec"].available():
        missing["torchcodec"] = why
    else:
        found["ours with torchcodec"] = functools.partial(_ours, "torchcodec")
        found["torchcodec"] = _torchcodec
    if why := BACKENDS["dali"].available():
        missing[DALI] = why
    elif not torch.cuda.is_available():
        missing[DALI] = "no GPU"
    else:
        found[DALI] = functools.partial(_ours, "dali")
    found["PyAV"] = _pyav
    for name, package, way in (("decord", "decord", _decord), ("OpenCV", "cv2", _opencv)):
        if importlib.util.find_spec(package) is None:
            missing[name] = "not installed"
        else:
            found[name] = way
    if importlib.util.find_spec("torchvision") is None:
        missing["torchvision"] = "not installed"
    elif not _torchvision_decodes():
        missing["torchvision"] = "this version has no video decoder"
    else:
        found["torchvision"] = _torchvision
    return found, missing


class Dali:
    """Decodes all jobs into a GPU's memory, in batches; threads read and check files meanwhile."""

    def __init__(self, device: torch.device, threads: int) -> None:
        self._decoder = Decoder(device=device, batch_size=BATCH, threads=threads)

    def seconds(self, jobs: Sequence[tuple[str, list[int]]]) -> float:
        """Returns the seconds that all jobs take."""
        started = time.perf_counter()
        for first in range(0, len(jobs), BATCH):
            self._decoder.decode(
                [
                    ClipRequest(Source(path), lambda _, numbers=numbers: numbers)
                    for path, numbers in jobs[first : first + BATCH]
                ]
            )
        if self._decoder.device.type == "cuda":
            torch.cuda.synchronize(self._decoder.device)
        return time.perf_counter() - started

    def close(self) -> None:
        """Frees the decoders."""
        self._decoder.close()


def same(found: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Returns, by name, how frames differ from ours in size, or by more than rounding."""
    wrong, ours = {}, found[OURS].astype(np.int16)
    for name, frames in found.items():
        if frames.shape != ours.shape:
            wrong[name] = f"{frames.shape} instead of {ours.shape}"
        elif (apart := np.abs(frames - ours).mean((1, 2, 3)).max()) > 2:
            wrong[name] = f"frames that differ by {apart:.1f} of 255 on average"
    return wrong


def _ours(backend: str, path: str, numbers: Sequence[int]) -> np.ndarray:
    return decode(path, lambda _: numbers, backend=backend).numpy()


def _pyav(path: str, numbers: Sequence[int]) -> np.ndarray:
    """Decodes like a careful user of PyAV: one pass, one thread, no more frames than needed."""
    import av

    wanted, out = set(numbers), []
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for number, frame in enumerate(container.decode(stream)):
            if number in wanted:
                out.append(frame.to_ndarray(format="rgb24"))
            if len(out) == len(wanted):
                break
    return np.stack(out)


def _torchcodec(path: str, numbers: Sequence[int]) -> np.ndarray:
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(path, dimension_order="NHWC", seek_mode="approximate")
    return decoder.get_frames_at(list(numbers)).data.numpy()


def _decord(path: str, numbers: Sequence[int]) -> np.ndarray:
    import decord

    return decord.VideoReader(path, num_threads=1).get_batch(list(numbers)).asnumpy()


def _opencv(path: str, numbers: Sequence[int]) -> np.ndarray:
    """Decodes in one pass, and converts only the wanted frames."""
    import cv2

    cv2.setNumThreads(1)
    capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    wanted, out = set(numbers), []
    for number in range(max(numbers) + 1):
        if not capture.grab():
            break
        if number in wanted:
            out.append(cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB))
    capture.release()
    if len(out) != len(wanted):
        raise ValueError(f"{len(out)} of {len(wanted)} frames")
    return np.stack(out)


def _torchvision_decodes() -> bool:
    try:
        from torchvision.io import read_video  # noqa: F401
    except ImportError:  # removed in 0.24, for torchcodec
        return False
    return True


def _torchvision(path: str, numbers: Sequence[int]) -> np.ndarray:
    from torchvision.io import read_video

    frames, _, _ = read_video(path, pts_unit="sec", output_format="THWC")
    return frames[list(numbers)].numpy()
