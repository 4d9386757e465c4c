"""Options of ``ivn data check``."""

from dataclasses import dataclass
from typing import Annotated

from ivn.corpus.limits import ClusterLimits
from ivn.options import Option, Positional


@dataclass(frozen=True, kw_only=True)
class Check(ClusterLimits):
    """Decode every video of a manifest, and write which can be used and why the others cannot.
    $ ivn data check M.parquet -o CHECKED.parquet

    Every frame that a clip could ask for is decoded. The new manifest has all rows of the old one,
    each with its status: ok, or the reason why the video is unusable. CHECKED.bad.txt lists the
    unusable ones, with a name and a reason in each line. Training and everything else that reads
    the manifest leaves them out, and says how many they are. A row whose status was a reason
    before keeps it.

    A video that hangs, crashes or uses up the memory of the decoder ends only its own process, and
    is named with the reason. Finished rows are kept in CHECKED.parquet.partial: after any kind of
    stop, the same command continues from there.

    Attributes:
        manifest: manifest of the videos.
        out: manifest to write; it must not exist.
        seconds: time limit per video, in seconds; then its process is ended and the video is
            unusable. A command that continues an earlier one needs the same limit.
    """

    manifest: Annotated[str, Positional("M.parquet")]
    out: Annotated[str, Option("CHECKED.parquet", short="-o")]
    seconds: Annotated[float, Option("S")] = 120.0
