"""Commands on the machine: how fast it is, and what is missing on it."""

from typing import Annotated, Literal

import tyro

from .app import Flag, app, optional


@app.command(name="bench")
def run_bench(
    name: tyro.conf.Positional[Literal["ops"]],
    /,
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
        name: ops, the operations one by one.
        device: cpu or cuda; auto takes the GPU where there is one.
        dtype: of the activations, bfloat16 or float32.
        only: some of patches, tokens, masking, random, norm, modulation, diffusion,
            distance.
        threads: of the CPU.
        quick: the first size of each operation, few rounds.
        out: a folder for the results, ops.json.
        plot: draw them there, too, as ops.png.
    """
    from ivn.benchmarks.ops import Options, bench

    nouns = tuple(filter(None, only.split(",")))
    bench(Options(device, dtype, nouns, quick, threads, out, plot))
    return 0


@app.command(name="doctor")
def run_doctor(*, json: Flag = False) -> int:
    """Say what is installed, compiled and usable, and what to do about the rest.

    Args:
        json: print it for programs.
    """
    from ivn.doctor import doctor

    return doctor(json=json)
