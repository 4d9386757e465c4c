"""What is finished of an embedding, on disk beside the file to come, in a folder FILE.partial.

Windows come in one order: video after video, window after window. A part holds some that follow
one another, and appears whole or not at all; so the last part tells where to go on.
"""

import json
import os
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ivn.errors import DataError


@dataclass(frozen=True)
class Part:
    """Some windows, W.

    Attributes:
        features: float32 ``[W, ...]``.
        video, number: int64 ``[W]``, of the video in the list, of the window in its video.
        start, end: float64 ``[W]``, seconds.
        frames, left: int64 ``[W]``; see :class:`ivn.data.sliding.FrameWindow`.
        broken: number of a video -> why it cannot be used, of all videos up to here.
    """

    features: np.ndarray
    video: np.ndarray
    number: np.ndarray
    start: np.ndarray
    end: np.ndarray
    frames: np.ndarray
    left: np.ndarray
    broken: Mapping[int, str]


class Parts:
    """The parts of one file, in a folder that this process holds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = sorted(folder.glob("part-*.npz"))

    def __len__(self) -> int:
        return len(self._files)

    def add(self, part: Part) -> None:
        """Write a part to disk."""
        file = self.folder / f"part-{len(self._files):08}.npz"
        temporary = file.with_suffix(".tmp")
        with temporary.open("wb") as stream:
            np.savez(
                stream,
                features=part.features,
                video=part.video,
                number=part.number,
                start=part.start,
                end=part.end,
                frames=part.frames,
                left=part.left,
                broken=np.array(json.dumps(part.broken)),
            )
        os.replace(temporary, file)
        self._files.append(file)

    def columns(self, index: int) -> Part:
        """A part without its features, which are ``[0]``.

        Raises:
            DataError: the file is damaged.
        """
        return self._read(index, features=False)

    def features(self, index: int) -> np.ndarray:
        """The features of a part."""
        return self._read(index, features=True).features

    def _read(self, index: int, *, features: bool) -> Part:
        file = self._files[index]
        try:
            with np.load(file, allow_pickle=False) as arrays:
                broken = json.loads(str(arrays["broken"]))
                return Part(
                    arrays["features"] if features else np.empty(0, np.float32),
                    arrays["video"],
                    arrays["number"],
                    arrays["start"],
                    arrays["end"],
                    arrays["frames"],
                    arrays["left"],
                    {int(video): reason for video, reason in broken.items()},
                )
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{file}: damaged; remove the folder {self.folder} and start again"
            ) from error

    def discard(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder)
