"""Options of ``ivn report``."""

from dataclasses import dataclass
from typing import Annotated

from ivn.errors import UsageError
from ivn.options import Positional, Unset


@dataclass(frozen=True, kw_only=True)
class Report:
    """Show what runs have learnt, side by side, on one page that opens offline.
    $ ivn report RUN
    $ ivn report RUN1 RUN2 -o PAGE.html

    The HTML page has every curve of the log, masks and the teacher's attention on real frames,
    reconstructions at several noise steps and sampling lengths, features over time, nearest
    neighbours between clips, the results in RUN/probes, the time spent, the config and its
    difference to the preset. Features are also those of the run that a stage two started from.

    Whatever a run lacks (a checkpoint, the end of its log, its clips or teacher, a result) is said
    on the page and in lines that begin with "missing: ", and the exit code is 0. A folder that
    holds no run is an error. Clips are read by their middle frames and centre; masks follow the
    rule and seed of the run. On a CPU, large models draw fewer clips and shorter samples.

    Attributes:
        runs: folders of runs.
        out: page to write; it must not exist. By default report.html in the folder of the first
            run, where an earlier page is replaced and any other file of that name is not.
        clips: clips to draw, instead of those that the runs were trained on.
    """

    runs: Annotated[tuple[str, ...], Positional("RUN ...")] = ()
    out: Annotated[str, Unset("FILE.html", short="-o")] = ""
    clips: Annotated[str, Unset("FOLDER|LIST")] = ""

    def __post_init__(self) -> None:
        if not self.runs:
            raise UsageError("give at least one RUN: ivn report RUN...")
