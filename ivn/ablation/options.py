"""Options of ``ivn ablate``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from ivn.options import Option, Positional, Settings, Unset

Scale = Literal["tiny", "small", "base", "large", "huge"]


@dataclass(frozen=True, kw_only=True)
class Ablate:
    """Run the rows of one of the paper's ablation tables, evaluate each, and print them together.
    $ ivn ablate 1a --data M.parquet --out DIR

    The table stands beside the paper's numbers in DIR/table-1a.md and .json, and is the last thing
    printed. From --scale small on the rows are the paper's: 8 frames, 30 epochs at batch 1024 in
    both stages, SigLIP2-L as teacher. At tiny they are in its proportions, as the notes of the
    table say. A seed decides weights, order of clips and masks, the same for all rows. The head is
    linear, on one vector per frame, in five folds that never part a group. Random weights and
    statistics of raw pixels stand below the rows. For each label and each column of the paper, the
    notes compare pairs of rows: in how many the better row is the paper's better row, and in how
    many of those pairs in which one row is better with every seed.

    After any kind of stop the same command continues, run by run; tables in one DIR share the runs
    that they have in common. ivn report shows the runs in DIR/runs with their results. A row that
    cannot run (no text encoder of that width, a teacher that cannot be fetched) has the reason in
    the table; where that was not known beforehand, the exit code is 1.

    Attributes:
        table: 1a for the parts of stage one, 1b for predictors, 1c for decoders, 2 for teachers, 3
            for stage two, 4-masks and 4-frames.
        data: clips to pretrain on.
        out: folder for runs (DIR/runs), baselines, features and tables.
        probe: labelled clips to evaluate on, as a list or a manifest; those of --data by default.
        scale: size of the models: tiny, small, base, large or huge.
        seeds: number of runs of each row.
        labels: names of the labels to evaluate; by default all that five folds of groups can
            judge.
        internvideo2: file of InternVideo2's released 1B weights, for a row of table 3 that is left
            out without it.
        settings: settings of every run, such as optim.steps=200. Those of stage.teacher hold
            wherever a row has the scale's own teacher, also as a target.
    """

    table: Annotated[Literal["1a", "1b", "1c", "2", "3", "4-masks", "4-frames"], Positional()]
    data: Annotated[str, Option("FOLDER|LIST")]
    out: Annotated[Path, Option("DIR")]
    probe: Annotated[str, Unset("LIST")] = ""
    scale: Annotated[Scale, Option("SCALE")] = "tiny"
    seeds: Annotated[int, Option("N")] = 3
    labels: Annotated[tuple[str, ...], Unset("NAME,...", commas=True)] = ()
    internvideo2: Annotated[str, Unset("FILE")] = ""
    settings: Settings = ()
