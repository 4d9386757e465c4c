"""Steps that the commands of all tasks share."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from ivn.data.manifest.listing import list_clips, unusable_rows
from ivn.evaluate import results
from ivn.evaluate.options import Evaluation
from ivn.media.source import Source
from ivn.train import folder


def result_folder(task: str, options: Evaluation) -> Path | None:
    """Returns the folder of the result, which is free; None if nothing is written.

    Raises:
        DataError: the folder asked for holds a result.
    """
    if options.out:
        results.check_new(Path(options.out))
        return Path(options.out)
    run = Path(options.encoder[0])
    if not folder.is_run(run):
        return None
    parent = run / results.PROBES
    names = [task, *(f"{task}-{number}" for number in range(2, 10_000))]
    return next(parent / name for name in names if not (parent / name).exists())


def listed(data: str) -> Sequence[Source]:
    """Returns the videos of a list; prints how many rows of a manifest are unusable."""
    sources = list_clips(data)
    if line := unusable_rows(sources):
        print(line)
    return sources


def cache_of(options: Evaluation) -> Path | None:
    """Returns the folder of features; None for the user's own."""
    return Path(options.cache) if options.cache else None


def finish(result: results.Result, table: str, out: Path | None) -> int:
    """Writes the result into ``out``, if it is given, and prints it: the table, then JSON.

    Returns:
        The exit code: 0.
    """
    if out is not None:
        results.write(result, out)
    for file in result.skipped:
        print(f"skipped: {file.reason}", file=sys.stderr)
    print(table)
    if out is not None:
        print(f"result: {out}")
    print(json.dumps(result.json()))
    return 0
