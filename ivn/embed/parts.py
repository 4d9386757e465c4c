"""What is finished of an embedding, on disk beside the file to come, in a folder FILE.partial.

Windows come in one order: video after video, window after window. A part holds some that follow
one another, and appears whole or not at all; so the last part tells where to go on.
"""

import json
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ivn.data.source import DataError
from ivn.train.folder import locked

_SETTINGS = "settings.json"


@dataclass(frozen=True)
class Part:
    """Some windows, W.

    Attributes:
        features: float32 ``[W, ...]``.
        video, number: int64 ``[W]``, of the video in the list, of the window in its video.
        start, end: float64 ``[W]``, seconds.
        broken: number of a video -> why it cannot be used, of all videos up to here.
    """

    features: np.ndarray
    video: np.ndarray
    number: np.ndarray
    start: np.ndarray
    end: np.ndarray
    broken: Mapping[int, str]


class Parts:
    """The parts of one file; one process at a time."""

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
                    {int(video): reason for video, reason in broken.items()},
                )
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{file}: damaged; remove the folder {self.folder} and start again"
            ) from error

    def discard(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder)


@contextmanager
def parts_beside(out: Path, settings: Mapping[str, Any]) -> Iterator[Parts]:
    """The parts for a file ``out`` made with these settings, new or from before, locked.

    Raises:
        DataError: the parts that are there were made with other settings.
        FolderInUseError: another process works on them.
    """
    folder = out.with_name(f"{out.name}.partial")
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        begun = folder / _SETTINGS
        text = json.dumps(dict(settings), indent=1)
        if begun.exists():
            if begun.read_text(errors="replace") != text:
                raise DataError(
                    f"{folder}: begun with another encoder, other videos or other settings; "
                    "remove it, or give another file"
                )
        else:
            if any(folder.iterdir()):
                raise DataError(f"{folder}: is there, and not of ours: give another file")
            temporary = folder / "settings.tmp"
            temporary.write_text(text)
            os.replace(temporary, begun)
        yield Parts(folder)
