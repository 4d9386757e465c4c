"""What a page shows: plain data, gathered elsewhere.

Legend: t frames or time slots, h x w pixels or tokens. A film whose pixels are few is a map of
tokens, one pixel each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ivn.report.draw.images import Pixels

_LARGEST = 1e300


def finite(value: object) -> float | None:
    """A number that somebody has written, or None where it is none that can be drawn."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    # JSON's whole numbers have no largest.
    return float(value) if -_LARGEST < value < _LARGEST else None


@dataclass(frozen=True)
class Missing:
    """Something that the page cannot show, and why, each in words."""

    what: str
    why: str


@dataclass(frozen=True)
class Series:
    """One number over a run's steps; only finite values."""

    steps: Sequence[float]
    values: Sequence[float]


@dataclass(frozen=True)
class Log:
    """What a run has written of its steps.

    Attributes:
        series: name -> values; ``loss``, ``lr``, ``terms.pixels``, ``health.cosine.layers``, ...
        last_step: the last step in it.
        skipped: steps whose loss or gradient was not finite.
        warnings: (step, text).
        replaced: (path, reason) -> times that a broken file was replaced.
    """

    series: Mapping[str, Series]
    last_step: int
    skipped: int
    warnings: Sequence[tuple[int, str]]
    replaced: Mapping[tuple[str, str], int]

    def losses(self) -> dict[str, tuple[float, float]]:
        """Means of the loss and of each of its terms, in the first and the last tenth of steps."""
        means = {}
        for name, series in self.series.items():
            if name == "loss" or name.startswith("terms."):
                tenth = max(1, len(series.values) // 10)
                first, last = (
                    sum(part) / tenth for part in (series.values[:tenth], series.values[-tenth:])
                )
                means[name.removeprefix("terms.")] = (first, last)
        return means


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        name: short, and different for each run of a page.
        stage: name of its stage, such as "stage 1"; "" where the config cannot be read.
        facts: (what, value) about the run, in the order in which they are shown.
        log: None without one.
        seconds_per_step: (waiting for data, everything else), means; None without a log.
        config: the whole config's text.
        preset: what ``changes`` are differences to; "" where there is none of its name.
        changes: (key, in this run, in the preset).
        probes: the contents of ``probes/*/result.json`` under the folder's name.
        missing: what this run lacks.
    """

    name: str
    stage: str = ""
    facts: Sequence[tuple[str, str]] = ()
    log: Log | None = None
    seconds_per_step: tuple[float, float] | None = None
    config: str = ""
    preset: str = ""
    changes: Sequence[tuple[str, str, str]] = ()
    probes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    missing: Sequence[Missing] = ()


@dataclass(frozen=True)
class Film:
    """Pixels over time, ``[t, h, w, 3]``, under a short label; ``note`` is a line below."""

    label: str
    pixels: Pixels
    note: str = ""


@dataclass(frozen=True)
class Strip:
    """Films of one clip, side by side."""

    title: str
    films: Sequence[Film]


@dataclass(frozen=True)
class Neighbours:
    """Which clips an encoder finds alike.

    Attributes:
        encoder: its name.
        nearest: a query's number -> (clip's number, cosine), nearest first.
    """

    encoder: str
    nearest: Mapping[int, Sequence[tuple[int, float]]]


@dataclass(frozen=True)
class Gallery:
    """The clips that neighbours are looked for among: ``thumbs`` ``[h, w, 3]`` and their names."""

    names: Sequence[str]
    thumbs: Sequence[Pixels]
    neighbours: Sequence[Neighbours]


@dataclass(frozen=True)
class Content:
    """All that a page shows.

    Attributes:
        runs: at least one.
        between: (key, its value in each run), of the settings in which runs differ.
        masks, reconstructions, features: a strip a clip and run.
        gallery: clips and their neighbours.
        missing: what no run of its own lacks.
        made_by: the program and its versions.
    """

    runs: Sequence[Run]
    between: Sequence[tuple[str, Sequence[str]]] = ()
    masks: Sequence[Strip] = ()
    reconstructions: Sequence[Strip] = ()
    features: Sequence[Strip] = ()
    gallery: Gallery | None = None
    missing: Sequence[Missing] = ()
    made_by: str = ""
