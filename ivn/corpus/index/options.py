"""Options of ``ivn data index``."""

from dataclasses import dataclass
from typing import Annotated

from ivn.corpus.limits import ClusterLimits
from ivn.errors import UsageError
from ivn.options import Option, Positional, Unset


@dataclass(frozen=True, kw_only=True)
class Index(ClusterLimits):
    """Write one manifest of the videos in folders, lists, tars and published annotations.
    $ ivn data index FOLDER LIST.csv SHARDS/*.tar -o M.parquet
    $ ivn data index --format kinetics400 TRAIN.csv VAL.csv --videos FOLDER -o M.parquet

    Each unusable item is named once with its reason, and the others are indexed. An unusable video
    stays in the manifest with the reason as its status, and whatever reads the manifest leaves it
    out. An item that cannot be a row (a line without sense, a name that is not UTF-8, a member of
    a tar that is a link or whose name leads elsewhere) is only named. Labels in a tar that belong
    to no video are counted in one line, and are not unusable items. A file that crashes or delays
    the decoder costs only its own process.

    With more unusable items than --max-bad the manifest is written all the same, and the exit code
    is 1. Finished rows are kept in M.parquet.partial: after any kind of stop, the same command
    continues from there. See docs/data.md#manifests for what is in a manifest, docs/data.md#lists
    for lists, and docs/data.md#annotations-of-published-data-sets for what --format reads.

    Attributes:
        places: folders with everything below them (links are followed), videos, images, lists,
            tars in WebDataset's layout, and manifests. With --format, the files of that format.
        out: manifest to write; it must not exist. Paths below its folder are written relative to
            it, others as absolute paths.
        format: name of the published annotations that the files are, such as kinetics400, ssv2 or
            ava; auto recognises the files.
        videos: folder of the videos that --format describes.
        probe: whether to read the packets of each file for its size, frame rate, number of frames,
            codec, pixel format, rotation, mirroring, video streams and key frames; on by default.
        hash: whether to read all bytes of each file for their SHA-256.
        seconds: time limit per file, in seconds. A command that continues an earlier one needs
            the same limit.
        max_bad: largest share of unusable items with which the exit code is 0.
    """

    places: Annotated[tuple[str, ...], Positional("SOURCE ...")] = ()
    out: Annotated[str, Option("M.parquet", short="-o")]
    format: Annotated[str, Unset("NAME")] = ""
    videos: Annotated[str, Unset("DIR")] = ""
    probe: bool = True
    hash: bool = False
    seconds: Annotated[float, Option("S")] = 30.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.places:
            raise UsageError("give at least one SOURCE: ivn data index SOURCE... -o M.parquet")
        if bool(self.format) != bool(self.videos):
            raise UsageError("--format NAME and --videos DIR belong together")
