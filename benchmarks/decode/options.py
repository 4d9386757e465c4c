"""Options of ``ivn bench decode``."""

from dataclasses import dataclass
from typing import Annotated

from ivn.options import Option, Positional, Unset


@dataclass(frozen=True, kw_only=True)
class BenchDecode:
    """Measure decoding: our back ends and our loader, and every library that is installed.
    $ ivn bench decode M.parquet --processes 1,2 --clips-per-second 28

    The same frames of the same files are decoded by our decoding with PyAV and with torchcodec, by
    our loader (which also crops and resizes), and by PyAV, torchcodec, decord, OpenCV and
    torchvision, each in its own best loop. Frames are compared before anything is timed. A file
    that one of them decodes differently is skipped for all and named, and a library that fails on
    most files is skipped. Each round then times all in turn, and the results are medians.

    A row gives clips and frames per second, and how many times as fast as ours. The last line
    recommends a value of efficiency.workers. Read the ratios, on a machine that does nothing else.
    Where tyro is not installed, python -m ivn.benchmarks.decode.bench_decode takes the same
    options.

    Attributes:
        data: a manifest, a list, a folder or a video; whole files are decoded.
        clips: number of files to decode, evenly spread over the data.
        frames: number of frames of each clip, evenly spread over its file.
        size: side of the loader's crops, in pixels.
        processes: numbers of processes that decode at the same time, such as 1,2,4; by default 1,
            2, 4 and so on up to all cores.
        threads: numbers of threads in each process, each thread with a file of its own.
        rounds: number of timed rounds; one more comes first.
        clips_per_second: number of clips per second that a GPU takes; the last line says how many
            cores decode as many.
        shards: manifest of the same data packed by ivn data shard, which the loader reads as well.
        out: folder for decode.json, which has every row with all its times and what it belongs to.
    """

    data: Annotated[str, Positional("DATA")]
    clips: Annotated[int, Option("N")] = 16
    frames: Annotated[int, Option("N")] = 16
    size: Annotated[int, Option("PIXELS")] = 224
    processes: Annotated[tuple[int, ...], Unset("N,...", commas=True)] = ()
    threads: Annotated[tuple[int, ...], Option("N,...", commas=True)] = (1,)
    rounds: Annotated[int, Option("N")] = 3
    clips_per_second: Annotated[float, Unset("R")] = 0.0
    shards: Annotated[str, Unset("M.parquet")] = ""
    out: Annotated[str, Unset("DIR")] = ""
