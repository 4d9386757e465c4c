"""The parts of an embedding: npz files of windows; see :class:`ivn.durable.Parts`.

Windows come in one order: video after video, window after window. A part holds some that follow
one another, so the last part tells where to continue.
"""

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from ivn.durable import Parts, digest
from ivn.errors import DataError
from ivn.media.source import Source


@dataclass(frozen=True)
class WindowPart:
    """Some windows, W.

    Attributes:
        features: float32 ``[W, ...]``.
        video: int64 ``[W]``, number of the video in the list.
        number: int64 ``[W]``, number of the window in its video.
        start: float64 ``[W]``, seconds.
        end: float64 ``[W]``, seconds.
        frames: int64 ``[W]``; see :class:`ivn.data.sliding.FrameWindow`.
        left: int64 ``[W]``; see there.
        unusable: number of a video -> why it cannot be used, of all videos up to here.
    """

    features: np.ndarray
    video: np.ndarray
    number: np.ndarray
    start: np.ndarray
    end: np.ndarray
    frames: np.ndarray
    left: np.ndarray
    unusable: Mapping[int, str]

    def digest(self, sources: Sequence[Source]) -> str:
        """Returns a digest of which windows of which videos these are."""
        windows = zip(self.video.tolist(), self.number.tolist(), strict=True)
        return digest((sources[video].path, number) for video, number in windows)


def add(parts: Parts, part: WindowPart, sources: Sequence[Source]) -> None:
    """Writes a part of the features of ``sources`` to disk."""
    # By a stream: numpy adds a suffix to a path.
    with parts.add(part.digest(sources), ".npz") as path, path.open("wb") as stream:
        np.savez(stream, **vars(part) | {"unusable": np.array(json.dumps(part.unusable))})


def finished(parts: Parts, sources: Sequence[Source]) -> list[WindowPart]:
    """Returns the parts that an earlier call finished, without their features, which are ``[0]``.

    Raises:
        DataError: a file is damaged.
    """
    found = []
    for index, path in enumerate(list(parts.paths)):
        part = read(path, features=False)
        if not parts.keep(index, part.digest(sources)):
            break
        found.append(part)
    return found


def read(path: Path, *, features: bool) -> WindowPart:
    """Returns a part; without ``features`` they are ``[0]``.

    Raises:
        DataError: the file is damaged.
    """
    given = {} if features else {"features": np.empty(0, np.float32)}
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = [field.name for field in fields(WindowPart) if field.name not in given]
            held = given | {name: arrays[name] for name in names}
            unusable = json.loads(str(arrays["unusable"]))
        held["unusable"] = {int(video): reason for video, reason in unusable.items()}
        return WindowPart(**held)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path}: damaged; remove the folder {path.parent} and start again"
        ) from error
