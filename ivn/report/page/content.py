"""The content of a page, as plain data.

Legend: t frames or temporal positions, h x w pixels or tokens. A film with few pixels is a map of
tokens, with one pixel per token.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from ivn.report.draw.images import Pixels

_LARGEST = 1e300


def finite(value: object) -> float | None:
    """Returns ``value`` as a float, or None where it is no number that can be drawn."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    # Integers in JSON may be larger than any float.
    return float(value) if -_LARGEST < value < _LARGEST else None


@dataclass(frozen=True)
class Missing:
    """Something that the page cannot show, and the reason, both in words."""

    what: str
    why: str


@dataclass(frozen=True)
class Series:
    """The finite values of one number over a run's steps."""

    steps: Sequence[float]
    values: Sequence[float]


@dataclass(frozen=True)
class RunLog:
    """The log of a run.

    Attributes:
        series: name -> values, such as ``loss``, ``lr``, ``terms.pixels``,
            ``health.cosine.layers``.
        last_step: the last step in the log.
        skipped: number of steps whose loss or gradient was not finite.
        warnings: step and text of each warning.
        replaced: (path, reason) -> number of times that an unusable file was replaced.
    """

    series: Mapping[str, Series]
    last_step: int
    skipped: int
    warnings: Sequence[tuple[int, str]]
    replaced: Mapping[tuple[str, str], int]

    def losses(self) -> dict[str, tuple[float, float]]:
        """Returns the means of the loss and its terms in the first and the last tenth of steps."""
        means = {}
        for name, series in self.series.items():
            if name == "loss" or name.startswith("terms."):
                tenth = max(1, len(series.values) // 10)
                ends = series.values[:tenth], series.values[-tenth:]
                means[name.removeprefix("terms.")] = (fmean(ends[0]), fmean(ends[1]))
        return means


@dataclass(frozen=True)
class Run:
    """A run as the page shows it.

    Attributes:
        name: short name, unique on a page.
        stage: name of its stage, such as "stage 1"; "" where the config cannot be read.
        facts: name and value of each fact, in the order of the page.
        log: its log; None without one.
        seconds_per_step: mean times of waiting for data and of everything else; None without a log.
        config: text of the whole config.
        preset: name of the preset that ``changes`` refer to; "" without one.
        changes: key, value in this run and value in the preset of each difference.
        probes: name of a folder -> content of its ``probes/*/result.json``.
        missing: parts of the page that this run has no data for.
    """

    name: str
    stage: str = ""
    facts: Sequence[tuple[str, str]] = ()
    log: RunLog | None = None
    seconds_per_step: tuple[float, float] | None = None
    config: str = ""
    preset: str = ""
    changes: Sequence[tuple[str, str, str]] = ()
    probes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    missing: list[Missing] = field(default_factory=list)


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
    """The clips that an encoder finds similar.

    Attributes:
        encoder: name of the encoder.
        nearest: number of a query -> number and cosine of each clip, nearest first.
    """

    encoder: str
    nearest: Mapping[int, Sequence[tuple[int, float]]]


@dataclass(frozen=True)
class Gallery:
    """The clips for a search of neighbours: ``thumbs`` ``[h, w, 3]`` and names."""

    names: Sequence[str]
    thumbs: Sequence[Pixels]
    neighbours: Sequence[Neighbours]


@dataclass(frozen=True)
class Pictures:
    """Drawings of clips: one strip per clip and run, and clips and their neighbours."""

    masks: Sequence[Strip] = ()
    reconstructions: Sequence[Strip] = ()
    features: Sequence[Strip] = ()
    gallery: Gallery | None = None


@dataclass(frozen=True)
class Content:
    """The whole content of a page.

    Attributes:
        runs: runs of the page, at least one.
        between: key, and its value in each run, of settings that differ between runs.
        pictures: everything that is drawn of clips.
        missing: parts of the page without data, of no single run.
        made_by: names and versions of the program and its packages.
    """

    runs: Sequence[Run]
    between: Sequence[tuple[str, Sequence[str]]] = ()
    pictures: Pictures = Pictures()
    missing: Sequence[Missing] = ()
    made_by: str = ""
