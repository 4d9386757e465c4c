"""A clip's two files: frames as H.264 in MP4, and their ground truth in one npz.

Both appear whole or not at all, the video last: a clip is complete when its video is there.
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np

from ivn.durable import new_file

if TYPE_CHECKING:
    from av.video.stream import VideoStream

# Nearly lossless to the eye; a key frame a second, no frames that wait for later ones.
_CODEC = "libx264"
_SETTINGS = {"crf": "18", "preset": "veryfast", "bf": "0"}
_KEY_FRAMES = 16


@dataclass(frozen=True)
class Take:
    """A rendered clip: T frames of side S, and K boxes of objects in them.

    Attributes:
        frames: uint8 ``[T, S, S, 3]``, RGB.
        depth: distance from the plane of the camera, ``[T, S, S]``, in the units of its world.
        poses: position of the camera in each frame, ``[T, ...]``.
        boxes: int16 ``[K, 4]``: left, top, right, bottom in pixels, the last two exclusive.
        box_frame: int16 ``[K]``, number of the frame.
        box_object: ``[K]``, number of the object, the same in all frames of its clip.
        box_position: float32 ``[K, 3]``, position of the object.
    """

    frames: np.ndarray
    depth: np.ndarray
    poses: np.ndarray
    boxes: np.ndarray
    box_frame: np.ndarray
    box_object: np.ndarray
    box_position: np.ndarray

    def truth(self) -> dict[str, Any]:
        """Returns the arrays of the clip's npz by their names."""
        return {
            "depth": self.depth,
            "pose": self.poses.astype(np.float32),
            "boxes": self.boxes,
            "box_frame": self.box_frame,
            "box_object": self.box_object,
            "box_position": self.box_position,
        }


def write_clip(
    video: Path, known: Path, frames: np.ndarray, rate: Fraction, truth: dict[str, Any]
) -> None:
    """Writes the files ``video`` (.mp4) and ``known`` (.npz) of a clip.

    The npz is readable without pickle. The same arguments give the same bytes.

    Args:
        video: path of the video.
        known: path of the ground truth.
        frames: uint8 ``[T, S, S, 3]``, RGB.
        rate: frames per second.
        truth: arrays of the npz by their names.
    """
    # A kill between the two leaves the first.
    with new_file(known, overwrite=True) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **truth)
    with new_file(video, overwrite=True) as temporary, temporary.open("wb") as file:
        _encode(file, frames, rate)


def _encode(file: IO[bytes], frames: np.ndarray, rate: Fraction) -> None:
    """Writes uint8 ``[T, S, S, 3]`` as a video, on one thread, so that its bytes are the same."""
    import av

    options = {"movflags": "faststart"}
    with av.open(file, "w", format="mp4", options=options) as container:
        stream = cast("VideoStream", container.add_stream(_CODEC, rate=rate, options=_SETTINGS))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.gop_size = "yuv420p", _KEY_FRAMES
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
