"""``ivn data shard``: a bar to look at, bad videos by name, and a line of what came of it."""

from pathlib import Path

from ivn.corpus.shard.run import ShardSettings, shard
from ivn.corpus.transcode.command import told
from ivn.corpus.transcode.run import Limits
from ivn.data.manifest.parquet import manifest_at


def shard_manifest(manifest: str, out: str, packing: ShardSettings, limits: Limits) -> int:
    """Pack the videos and say what came of it; gives 0.

    Raises:
        DataError: see :func:`ivn.corpus.shard.run.shard`.
    """
    given, folder = manifest_at(manifest), Path(out)
    return told(
        given, folder, "clips packed", lambda report: shard(given, folder, packing, limits, report)
    )
