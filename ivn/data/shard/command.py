"""``ivn data shard``: a bar to look at, bad videos by name, and a line of what came of it."""

import time
from pathlib import Path

from ivn.data.folder import MANIFEST
from ivn.data.shard.run import Packing, shard
from ivn.data.transcode.command import showing, summary
from ivn.data.transcode.run import Limits


def shard_manifest(manifest: str, out: str, packing: Packing, limits: Limits) -> int:
    """Pack the videos and say what came of it; gives 0.

    Raises:
        DataError: see :func:`ivn.data.shard.run.shard`.
    """
    start = time.perf_counter()
    with showing(Path(manifest)) as (console, report):
        tally = shard(Path(manifest), Path(out), packing, limits, report)
    summary(console, tally, "clips packed", time.perf_counter() - start)
    console.print((Path(out) / MANIFEST).as_posix(), markup=False)
    return 0
