"""``ivn data shard``: a bar, a line for each unusable video, and a summary."""

from pathlib import Path

from ivn.corpus.shard.options import Shard
from ivn.corpus.shard.run import ShardSettings, shard
from ivn.corpus.transcode.command import told
from ivn.corpus.transcode.encoding import Encoding, usual_crf
from ivn.corpus.transcode.run import Limits
from ivn.data.manifest.parquet import manifest_at
from ivn.processes import cores


def shard_manifest(options: Shard) -> int:
    """Packs the videos and prints a summary; returns 0.

    Raises:
        DataError: see :func:`ivn.corpus.shard.run.shard`.
    """
    crf = usual_crf(options.codec) if options.crf == -1 else options.crf
    packing = ShardSettings(
        options.size, options.frames, Encoding(options.codec, crf, options.short, gop=1)
    )
    limits = Limits(options.workers or cores(), options.seconds, options.max_bad)
    given, folder = manifest_at(options.manifest), Path(options.out)
    return told(
        given, folder, "clips packed", lambda report: shard(given, folder, packing, limits, report)
    )
