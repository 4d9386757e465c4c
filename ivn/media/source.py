"""A source: a video, or a part of one."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

# fmt: off
VIDEO_SUFFIXES = (
    ".3g2", ".3gp", ".apng", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".m2t",
    ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpe", ".mpeg", ".mpg", ".mts", ".mxf", ".ogm",
    ".ogv", ".qt", ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv", ".y4m",
)
# fmt: on
# Every decoder reads these as videos of one frame.
IMAGE_SUFFIXES = (".jpeg", ".jpg", ".png", ".webp")

# Real clips in the package, under free licences (see ATTRIBUTION.tsv there).
BUNDLED_CLIPS = Path(__file__).parents[1] / "assets" / "clips"


@dataclass(frozen=True)
class Source:
    """A video, or a part of one.

    Attributes:
        path: path of the file.
        label: label as the list has it; None without one. Equal to ``labels["label"]``.
        start, end: times in seconds from the first frame; ``end`` -1 is the end of the file.
        flip: whether the clip may be mirrored.
        group: name shared by sources that no split may separate, such as those of one film; the
            file itself where it is "".
        labels: name -> value of every label.
        targets: kind -> path of a side file (depth, boxes, actions) with values for each frame.
        member: name of the video inside the tar at ``path``; "" where ``path`` is the video.
        offset, size: position of the member's first byte in the tar and number of its bytes; size 0
            where they are unknown.
        decoder: name of the back end that fits the file; "" where that is decided on reading.
    """

    path: str
    label: str | None = None
    start: float = 0.0
    end: float = -1.0
    flip: bool = True
    group: str = ""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    targets: Mapping[str, str] = field(default_factory=dict, hash=False)
    member: str = ""
    offset: int = 0
    size: int = 0
    decoder: str = ""

    def __post_init__(self) -> None:
        named = self.labels.get("label")
        if self.label is None:
            object.__setattr__(self, "label", named)
        elif named is None:
            object.__setattr__(self, "labels", {"label": self.label, **self.labels})
        elif named != self.label:
            raise ValueError(f"{self.path}: label {self.label!r}, but labels[label] is {named!r}")


_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def is_url(name: str) -> bool:
    """Returns whether ``name``, meant to be a path, is a URL, shortened by pathlib or not."""
    return bool(_URL.match(name)) and not os.path.exists(name)


def not_there(name: str) -> str:
    """Returns the reason why ``name`` is neither a file nor a folder."""
    if is_url(name):
        return "a URL, expected a path: fetch it first"
    exists = os.path.exists(name)
    return "neither a file nor a folder" if exists else "no such file or folder"
