"""Options of ``ivn bench ops``."""

from dataclasses import dataclass
from typing import Annotated, Literal

from ivn.options import Device, Option, Unset


@dataclass(frozen=True, kw_only=True)
class BenchOps:
    """Measure the operations: ours, eager and compiled PyTorch, and the best library installed.

    Each operation is measured forward and with backward, all implementations in turn. Answers are
    compared before anything is timed; a wrong one, or an operation that fails, is said, not timed,
    and makes the exit code 1.

    A line is a row: our milliseconds, GB/s of the bytes that any implementation must move, the
    share of the speed of a copy that moves as many (measured in the same rounds), and how many
    times as long each of the others takes. On a GPU all are replays of CUDA graphs that find the
    caches cold, and small operations are also given in microseconds above an empty graph. On a CPU
    read the ratios, on a machine that does nothing else. Compiling takes seconds per row. Where
    tyro is not installed, python -m ivn.benchmarks.ops.run takes the same options.

    Attributes:
        device: device to measure on; auto takes the GPU if there is one.
        dtype: number type of the activations.
        only: nouns of the operations to measure, such as tokens,norm; all by default. A message
            lists them if one is unknown.
        threads: number of CPU threads.
        quick: whether to measure only the first size of each operation, in few rounds.
        out: folder for ops.json, which has every row and the hardware, versions and commit that it
            belongs to; it is written after each noun.
        plot: whether to draw the rows as ops.png in that folder as well; it needs pip install
            "ivn[bench]".
    """

    device: Device = "auto"
    dtype: Annotated[Literal["bfloat16", "float32"], Option("bfloat16|float32")] = "bfloat16"
    only: Annotated[tuple[str, ...], Unset("NOUN,...", commas=True)] = ()
    threads: Annotated[int, Option("N")] = 1
    quick: bool = False
    out: Annotated[str, Unset("DIR")] = ""
    plot: bool = False
