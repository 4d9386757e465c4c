"""``ivn data transcode``: a bar, a line for each unusable video, and a summary."""

import time
from collections.abc import Callable
from pathlib import Path

from ivn.corpus.transcode.options import Transcode
from ivn.corpus.transcode.run import Report, Tally, transcode
from ivn.data.manifest.parquet import manifest_at, read_manifest
from ivn.durable import MANIFEST
from ivn.progress import bars, output


def transcode_manifest(options: Transcode) -> int:
    """Makes the clips and prints a summary; returns 0.

    Raises:
        DataError: see :func:`ivn.corpus.transcode.run.transcode`.
    """
    encoding = options.encoding(gop=options.gop)
    given, folder = manifest_at(options.manifest), Path(options.out)
    return with_summary(
        given,
        folder,
        "clips made",
        lambda report: transcode(given, folder, encoding, options, report),
    )


def with_summary(manifest: Path, out: Path, what: str, work: Callable[[Report], Tally]) -> int:
    """Does the work with a bar, names unusable videos, and prints a summary; returns 0.

    Raises:
        DataError: the manifest cannot be used, or the work fails.
    """
    start = time.perf_counter()
    # All of it, before hours of work: a row far down may make no sense, or all paths be wrong.
    table = read_manifest(manifest)
    total = len(table) + table.unusable
    del table
    console = output()
    with bars(console) as shown:
        bar = shown.add(total=total)

        def report(tally: Tally, line: str) -> None:
            bar.update(tally.done)
            if line:
                console.print(f"unusable: {line}", markup=False)

        tally = work(report)
    parts = [f"{tally.made} {what}, {tally.made / (time.perf_counter() - start):.1f}/s"]
    if tally.kept:
        parts.append(f"{tally.kept} from before")
    if tally.unusable:
        parts.append(f"{tally.unusable} unusable")
    if tally.left_out:
        parts.append(f"{tally.left_out} left out: their status says why")
    console.print("; ".join(parts), markup=False)
    console.print((out / MANIFEST).as_posix(), markup=False)
    return 0
