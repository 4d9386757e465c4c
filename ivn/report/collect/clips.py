"""Reads some clips of a list, spread over it, for every consumer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from ivn.data.batch import ClipSpec
from ivn.data.config import DataConfig
from ivn.data.reader import read_clip
from ivn.errors import DecodeError
from ivn.media.source import Source
from ivn.progress import bars, output
from ivn.report.page.content import Missing

from .names import short_names

Item = TypeVar("Item")

Specs = Mapping[str, ClipSpec]  # consumer -> what it sees
Views = Mapping[str, Tensor]  # consumer -> uint8 [1, T, S, S, 3]

# Unusable files after which no more are tried.
_NAMED = 8


@dataclass(frozen=True)
class Clip:
    """A clip: its name on the page, and its frames as each run sees them."""

    name: str
    views: Mapping[str, Views]


def read_some(
    sources: Sequence[Source], runs: Mapping[str, Specs], count: int, missing: list[Missing]
) -> list[Clip]:
    """Reads up to ``count`` clips, their middle frames and centre.

    Args:
        sources: sources to take evenly spaced ones from, and others in the place of unusable ones.
        runs: name of a run -> its consumers, which see the same frames.
        count: largest number of clips.
        missing: gets a line for each unusable source.
    """
    tried: list[Source] = []
    read: list[dict[str, Views] | str] = []
    good = 0
    with bars(output(errors=True)) as shown:
        bar = shown.add("clips", total=min(count, len(sources)))
        for source in spread(sources, count):
            if good == count or len(read) - good == _NAMED:
                break
            tried.append(source)
            try:
                read.append(_read(source, runs))
                good += 1
            # torch lacks the memory for a side or length that a config asks for.
            except (DecodeError, RuntimeError, MemoryError) as error:
                read.append(str(error))
            bar.update(good)
    named = list(zip(names_of(tried), read, strict=True))
    missing += [Missing(f"clip {name}", why) for name, why in named if isinstance(why, str)]
    return [Clip(name, views) for name, views in named if not isinstance(views, str)]


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """Returns all items: first ``count`` that are evenly spaced, then the others."""
    count = min(count, len(items))
    first = [i * len(items) // count for i in range(count)]
    rest = sorted(set(range(len(items))) - set(first))
    return [items[i] for i in (*first, *rest)]


def names_of(sources: Sequence[Source]) -> list[str]:
    """Returns short names of the files, with windows and labels where there are any."""
    return short_names([Path(source.path) for source in sources], [*map(_end, sources)])


def _end(source: Source) -> str:
    window = ""
    if source.start > 0 or source.end >= 0:
        end = f"{source.end:g}" if source.end >= 0 else "end"
        window = f" [{source.start:g} to {end} s]"
    label = f" ({source.label})" if source.label is not None else ""
    return f"{window}{label}"


def _read(source: Source, runs: Mapping[str, Specs]) -> dict[str, Views]:
    """Reads a clip once for each run that no earlier run's frames serve."""
    key = torch.zeros(1, 4, dtype=torch.int64)
    centre = DataConfig(augmentation="centre")
    read: list[tuple[Specs, Views]] = []
    views: dict[str, Views] = {}
    for name, specs in sorted(runs.items(), key=lambda item: -len(item[1])):
        for earlier, seen in read:
            if specs.items() <= earlier.items() and _frames(specs) == _frames(earlier):
                views[name] = seen
                break
        else:
            clips = read_clip(source, specs, centre, key)
            views[name] = {consumer: clip[None] for consumer, clip in clips.items()}
            read.append((specs, views[name]))
    return views


def _frames(specs: Specs) -> int:
    return max(spec.frames for spec in specs.values())
