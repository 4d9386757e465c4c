"""``ivn data shard``: a bar, a line for each unusable video, and a summary."""

from pathlib import Path

from ivn.corpus.shard.options import Shard
from ivn.corpus.shard.run import ShardSettings, shard
from ivn.corpus.transcode.command import with_summary
from ivn.data.manifest.parquet import manifest_at


def shard_manifest(options: Shard) -> int:
    """Packs the videos and prints a summary; returns 0.

    Raises:
        DataError: see :func:`ivn.corpus.shard.run.shard`.
    """
    packing = ShardSettings(options.size, options.frames, options.encoding(gop=1))
    given, folder = manifest_at(options.manifest), Path(options.out)
    return with_summary(
        given, folder, "clips packed", lambda report: shard(given, folder, packing, options, report)
    )
