"""Videos whose coding has turns, and all frames of a video by plain decoding."""

import os
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from ivn.media.container import opened
from ivn.media.decode.rgb import ToRgb
from ivn.media.demux.reading import read_window
from ivn.media.orientation import orientation_of
from ivn.media.source import Source
from tests.media.videos import BUNDLED


def needs(backend: ModuleType) -> pytest.MarkDecorator:
    """Skips where a back end cannot be used, unless IVN_REQUIRE_TORCHCODEC or _DALI is 1."""
    required = os.environ.get(f"IVN_REQUIRE_{backend.BACKEND.name.upper()}") == "1"
    missing = backend.BACKEND.available()
    return pytest.mark.skipif(bool(missing) and not required, reason=missing)


# With threads of its own, x265 has crashed once in many thousand videos.
_ALONE = "log-level=none:pools=none:frame-threads=1"
# How each is coded: FFmpeg's name of the encoder, and its settings.
KINDS = {
    "plain": ("libx264", {}),
    "pyramid": ("libx264", {"x264-params": "bframes=5:b-pyramid=normal:keyint=12"}),
    "no references to B": ("libx264", {"x264-params": "bframes=3:b-pyramid=none:keyint=30"}),
    "open groups": ("libx264", {"x264-params": "open-gop=1:bframes=3:keyint=10:scenecut=0"}),
    "no key frames": ("libx264", {"x264-params": "intra-refresh=1:bframes=0:keyint=10"}),
    "many slices": ("libx264", {"x264-params": "slices=4:bframes=2:keyint=8"}),
    "interlaced": ("libx264", {"x264-params": "interlaced=1:bframes=2:keyint=8"}),
    "key frames alone": ("libx264", {"x264-params": "keyint=1"}),
    "hevc": ("libx265", {"x265-params": f"{_ALONE}:bframes=4:keyint=12"}),
    "hevc layers": (
        "libx265",
        {"x265-params": f"{_ALONE}:bframes=4:temporal-layers=3:keyint=16"},
    ),
    "hevc open groups": (
        "libx265",
        {"x265-params": f"{_ALONE}:open-gop=1:bframes=4:keyint=10"},
    ),
    "hevc single B": (
        "libx265",
        {"x265-params": f"{_ALONE}:open-gop=1:bframes=1:b-adapt=0:keyint=10"},
    ),
    "mpeg4": ("mpeg4", {"bf": "2", "g": "12"}),
    "vp8": ("libvpx", {"g": "20", "auto-alt-ref": "1", "lag-in-frames": "16", "b": "200k"}),
    "vp9 looking ahead": (
        "libvpx-vp9",
        {"g": "20", "auto-alt-ref": "1", "lag-in-frames": "16", "cpu-used": "8"},
    ),
    "vp9": ("libvpx-vp9", {"g": "12", "deadline": "realtime", "cpu-used": "8"}),
}


def moving(count, height=64, width=96):
    """Noise that drifts: nothing is still, and every frame differs from every other."""
    ground = np.random.default_rng(1).integers(0, 256, (height, width + 4 * count, 3), np.uint8)
    ground = (ground[:, :-1].astype(np.uint16) + ground[:, 1:]) // 2
    return np.stack([ground[:, 3 * i : 3 * i + width] for i in range(count)]).astype(np.uint8)


def write_kind(path, kind, count=48):
    """A video at 10 frames a second, coded as KINDS says."""
    import av

    codec, options = KINDS[kind]
    if codec == "libx264":  # the same bytes on every processor
        same = [options.get("x264-params", ""), "cpu-independent=1"]
        options = {"x264-params": ":".join(filter(None, same))}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options=dict(options))
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        stream.thread_count = 1
        for frame in moving(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return Path(path)


def plain_frames(path):
    """All frames of a video, uint8 ``[T, H, W, 3]``, by PyAV's loop and our own colours."""
    import av

    with av.open(str(path), metadata_errors="ignore") as container:
        frames = list(container.decode(video=0))
        size, to_rgb = (frames[0].width, frames[0].height), ToRgb()
        return np.stack([orientation_of(frame).upright(to_rgb(frame, *size)) for frame in frames])


def bundled(suffix):
    """The first clip of the package with this suffix."""
    return next(file for file in BUNDLED if file.suffix == suffix)


@dataclass(frozen=True)
class Facts:
    """What back ends ask about."""

    codec: str = "h264"
    pixel_format: str = "yuv420p"
    width: int = 320
    height: int = 240
    rotation: int = 0
    mirrored: bool = False
    streams: int = 1
    variable_rate: bool = False
    keyframe_seconds: float = 0.0


def facts_of(path):
    """Of a video that can be decoded."""
    with read_window(Source(str(path))) as reading:
        times = reading.table
        gaps = np.diff(sorted(times.times[number] for number in times.shown))
        context = reading.stream.codec_context
        codec, kind = context.codec.canonical_name, context.pix_fmt
    with opened(path) as (container, stream, _):
        frame = next(container.decode(stream))
        size, orientation = (frame.width, frame.height), orientation_of(frame)
    varies = len(gaps) > 0 and np.ptp(gaps) > gaps.mean() / 10
    return Facts(codec, kind, *size, 90 * orientation.turns, orientation.mirrored, 1, varies)
