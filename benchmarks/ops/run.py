"""Compares every operation with eager and compiled PyTorch and the best installed library.

    ivn bench ops --only tokens,norm --out DIR --plot
    python -m ivn.benchmarks.ops.run ...        the same without tyro

Answers are compared before anything is timed. GB/s are of the bytes that any implementation must
move. "of copy" is the time of a copy of as many bytes, measured in turn with the rest, over ours.
"""

import importlib
import importlib.util
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from ivn.benchmarks.harness import script
from ivn.benchmarks.harness.measure import COPY, EMPTY, Case, Measured, first_line, measure
from ivn.benchmarks.ops.options import BenchOps
from ivn.devices import resolve_device
from ivn.durable import write_text
from ivn.errors import BenchError
from ivn.options import parse
from ivn.processes import keep_all_freed_memory
from ivn.provenance import in_words, provenance

_BEGINNING = "bench_"
NOUNS = sorted(
    file.stem.removeprefix(_BEGINNING) for file in Path(__file__).parent.glob(f"{_BEGINNING}*.py")
)
# Below this many bytes a GPU's launches cost more than the bytes do.
SMALL = 16 << 20


def bench(options: BenchOps) -> int:
    """Measure, print and write; gives 0.

    Raises:
        BenchError: the device or a library is missing, an answer was wrong, or ours failed; the
            rest is measured first.
    """
    device = _check(options)
    torch.set_num_threads(options.threads)
    if device.type == "cpu":
        keep_all_freed_memory()  # like a training run
    about = provenance(device) | {"dtype": options.dtype}
    print(in_words(about), flush=True)
    rows: list[dict] = []
    wrong = []
    for noun in options.only or NOUNS:
        for case in _cases(noun, device, getattr(torch, options.dtype), options.quick):
            try:
                found = measure(case, device, rounds=7 if options.quick else 30)
            except RuntimeError as error:  # out of memory, not compiled, or not capturable
                found = Measured({}, {}, case.notes, {"all": first_line(error)})
            rows.append(row := _row(noun, case, found))
            print(line(row), flush=True)
            wrong += [f"{noun}: {case.case} {case.direction}: {name}" for name in found.wrong]
            del case
        if options.out:  # after each noun, so that an interrupted run has the others' results
            _write(about | {"rows": rows}, options)
    if wrong:
        raise BenchError(f"wrong or failed, not timed: {'; '.join(wrong)}")
    return 0


def line(row: dict) -> str:
    """Returns a row as text: ours in milliseconds, the others as multiples of ours."""
    head = f"{row['noun']:10} {row['case']:34} {row['shape']:26} {row['direction']:13}"
    found, ours = row["implementations"], row["implementations"].get("ours")
    if ours is None:
        cells = ["not measured"]
    else:
        cells = [f"{ours['milliseconds']:9.4f} ms {ours['GB/s']:7.1f} GB/s"]
        cells.append(f"{ours['of_copy']:4.0%} of copy")
        if row["bytes"] < SMALL and "microseconds_above_empty" in ours:
            cells.append(f"{ours['microseconds_above_empty']:.1f} us above an empty graph")
        cells += [
            f"{name} {other['milliseconds'] / ours['milliseconds']:.2f}x"
            for name, other in found.items()
            if name != "ours"
        ]
    told = [f"  WRONG {name}: {why}" for name, why in row["wrong"].items()]
    told += [f"  {name}: {why}" for name, why in row["notes"].items()]
    return "\n".join([f"{head} {'  '.join(cells)}", *told])


def _write(found: dict, options: BenchOps) -> None:
    """ops.json, and the picture; whole at any time."""
    file = Path(options.out) / "ops.json"
    write_text(file, json.dumps(found, indent=1) + "\n", overwrite=True)
    if options.plot:
        from ivn.benchmarks.harness.plot import draw

        draw(found, file.with_suffix(".png"))


def _check(options: BenchOps) -> torch.device:
    unknown = [noun for noun in options.only if noun not in NOUNS]
    if unknown:
        raise BenchError(
            f"no benchmark of {', '.join(unknown)}; there are {', '.join(NOUNS)}", code=2
        )
    if options.threads < 1:
        raise BenchError(f"threads is {options.threads}, expected at least 1", code=2)
    if options.plot and not options.out:
        raise BenchError("a plot needs a folder to be written to: give --out DIR", code=2)
    if options.plot and importlib.util.find_spec("matplotlib") is None:
        raise BenchError('a plot needs matplotlib: pip install "ivn[bench]", or leave out --plot')
    device = resolve_device(options.device)
    if options.out:
        script.make_folder(options.out)
    return device


def _cases(noun: str, device: torch.device, dtype: torch.dtype, quick: bool) -> Iterator[Case]:
    module = importlib.import_module(f".{_BEGINNING}{noun}", __package__)
    sizes = module.SIZES[device.type]
    torch.manual_seed(0)
    for size in sizes[: 1 if quick else None]:
        few = device.type == "cuda" and size in sizes[1:-1]
        for case in module.cases(size, device, dtype):
            yield _uncompiled(case) if few else case


def _uncompiled(case: Case) -> Case:
    """Returns cases without ``torch.compile``, which takes seconds for each."""
    kept = {name: call for name, call in case.implementations.items() if name != "compiled"}
    why = {"compiled": "skipped: measured at the noun's first and last size"}
    return replace(case, implementations=kept, notes=why | case.notes)


def _row(noun: str, case: Case, found: Measured) -> dict:
    """Returns a row of the JSON."""
    times = dict(found.milliseconds)
    copy, empty = times.pop(COPY, 0.0), times.pop(EMPTY, 0.0)
    implementations = {}
    for name, milliseconds in times.items():
        cells = {
            "milliseconds": milliseconds,
            "GB/s": case.moved / milliseconds / 1e6,
            "of_copy": copy / milliseconds,
        }
        if empty:
            cells["microseconds_above_empty"] = (milliseconds - empty) * 1e3
            cells["peak_bytes"] = found.peak[name]
        implementations[name] = cells
    return {
        "noun": noun,
        "case": case.case,
        "shape": case.shape,
        "dtype": str(case.dtype).removeprefix("torch."),
        "direction": case.direction,
        "bytes": case.moved,
        "copy_milliseconds": copy,
        "implementations": implementations,
        "notes": found.notes,
        "wrong": found.wrong,
    }


if __name__ == "__main__":
    sys.exit(script.run(lambda: bench(parse(BenchOps))))
