"""Commands on the machine: how fast it is, and what is missing on it."""

from typing import Annotated, Literal

import tyro

from ivn.errors import UsageError

from .app import Commands, Flag, app, optional

bench = Commands("ivn bench")
app.command(bench, name="bench", help="Measure how fast things are on this machine.")


@bench.command(name="ops")
def run_ops(
    *,
    device: Annotated[Literal["auto", "cpu", "cuda"], tyro.conf.arg(metavar="DEVICE")] = "auto",
    dtype: Annotated[Literal["bfloat16", "float32"], tyro.conf.arg(metavar="DTYPE")] = "bfloat16",
    only: Annotated[str, optional("NOUN,...")] = "",
    threads: Annotated[int, tyro.conf.arg(metavar="N")] = 1,
    quick: Flag = False,
    out: Annotated[str, optional("DIR")] = "",
    plot: Flag = False,
) -> int:
    """Measure the operations: ours, eager and compiled PyTorch, and the best library installed.

    Answers are compared first. A row tells milliseconds, GB/s of the bytes that any implementation
    must move, the share of a copy's speed, and how many times as long the others take. Compiling
    takes seconds a row. Leave the machine to it; on a CPU read the ratios.

    Args:
        device: cpu or cuda; auto takes the GPU where there is one.
        dtype: of the activations, bfloat16 or float32.
        only: some of patches, tokens, masking, random, norm, modulation, diffusion,
            distance.
        threads: of the CPU.
        quick: the first size of each operation, few rounds.
        out: a folder for the results, ops.json.
        plot: draw them there, too, as ops.png.
    """
    from ivn.benchmarks.ops import run as ops

    nouns = tuple(filter(None, only.split(",")))
    ops.bench(ops.Options(device, dtype, nouns, quick, threads, out, plot))
    return 0


@bench.command(name="decode")
def run_decode(
    data: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="DATA")]],
    /,
    *,
    clips: Annotated[int, tyro.conf.arg(metavar="N")] = 16,
    frames: Annotated[int, tyro.conf.arg(metavar="N")] = 16,
    size: Annotated[int, tyro.conf.arg(metavar="PIXELS")] = 224,
    processes: Annotated[str, optional("N,...")] = "",
    threads: Annotated[str, tyro.conf.arg(metavar="N,...")] = "1",
    rounds: Annotated[int, tyro.conf.arg(metavar="N")] = 3,
    clips_per_second: Annotated[float, optional("R")] = 0.0,
    shards: Annotated[str, optional("M.parquet")] = "",
    out: Annotated[str, optional("DIR")] = "",
) -> int:
    """Measure decoding: our back ends and our loader, and every library that is installed.

    The same frames of the same files for all, compared first: PyAV, torchcodec, decord, OpenCV and
    torchvision, each by its own best loop. Recommends the number of workers. Leave the machine to
    it, and read the ratios.

    Args:
        data: a manifest, list, folder or video; whole files of it are decoded.
        clips: how many of its files, evenly spread.
        frames: of a clip, evenly spread over the file.
        size: of the loader's crops.
        processes: how many decode at a time, such as 1,2,4; up to all cores by default.
        threads: in each process, every one with a file of its own.
        rounds: through all, of which the median counts; one more comes first and does not count.
        clips_per_second: that a GPU takes: how many cores does it need.
        shards: DATA packed by ivn data shard, which our loader reads in turn with the originals.
        out: a folder for the results, decode.json.
    """
    from ivn.benchmarks.decode import bench_decode

    options = bench_decode.Options(
        data,
        clips,
        frames,
        size,
        _counts("--processes", processes),
        _counts("--threads", threads),
        rounds,
        clips_per_second,
        shards,
        out,
    )
    bench_decode.bench(options)
    return 0


def _counts(name: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part)
    except ValueError:
        raise UsageError(f"{name} is {text!r}, expected whole numbers parted by commas") from None


@app.command(name="doctor")
def run_doctor(*, json: Flag = False) -> int:
    """Say what is installed, compiled and usable, and what to do about the rest.

    Args:
        json: print it for programs.
    """
    from ivn.doctor import doctor

    return doctor(json=json)
