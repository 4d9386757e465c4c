"""Writes the tables of README.md and docs/ from the results that are committed.

python benchmarks/harness/tables.py           write them
python benchmarks/harness/tables.py --check   fail if a table does not agree with the results

``benchmarks/results/<machine>/`` holds a machine's ``ops.json``, or ``ops-<noun>.json`` for each
noun, ``step-<preset>.json``, ``decode.json``, and ``table-<name>.json`` of ``ivn ablate``; "cpu" is
a machine without a GPU. A table in a document is between ``<!-- NAME -->`` and ``<!-- end -->``.
"""

import argparse
import json
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from ivn.ablation.table import shown
from ivn.provenance import in_words

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("docs/performance.md", "docs/experiments.md", "README.md")
NOT_YET = "Not measured yet."
CPU = "cpu"
# A part with less than this share of a step is in italics, since its speed does not matter.
SMALL = 0.03
_COMPARED = ("eager", "compiled")
_ABOUT = ("hardware", "torch", "triton", "cuda", "ivn", "commit")
_LIBRARIES = ("av", "torchcodec", "decord", "opencv-python-headless")
_BLOCK = re.compile(r"(<!-- ([a-z0-9 -]+) -->\n).*?(<!-- end -->)", re.DOTALL)

# machine -> stem of a file -> its contents
Results = dict[str, dict[str, dict]]


def read(folder: Path = ROOT / "benchmarks" / "results") -> Results:
    """Returns every machine's results.

    Raises:
        ValueError: operations were measured with different versions or hardware.
    """
    found: Results = {}
    for machine in sorted(folder.iterdir()) if folder.exists() else []:
        files = machine.glob("*.json")
        read = {file.stem: json.loads(file.read_text()) for file in files}
        nouns = [read.pop(name) for name in sorted(read) if name.startswith("ops-")]
        if nouns:
            if len({_about(noun) for noun in nouns}) > 1:
                raise ValueError(
                    f"{machine}: ops-*.json differ in {', '.join(_ABOUT)}, expected none"
                )
            read["ops"] = nouns[0] | {"rows": [row for noun in nouns for row in noun["rows"]]}
        found[machine.name] = read
        if (machine / "ops.png").exists():
            found[machine.name]["ops"]["picture"] = f"benchmarks/results/{machine.name}/ops.png"
    return found


def written(text: str, results: Results) -> str:
    """Returns a document's ``text`` with new tables."""

    def block(match: re.Match[str]) -> str:
        start, name, end = match.groups()
        return f"{start}{TABLES[name](results)}\n{end}"

    return _BLOCK.sub(block, text)


def cpu_profile(results: Results) -> str:
    """Returns the parts of every preset's step, in milliseconds and shares of the step."""
    return _profiles(results.get(CPU, {}))


def cpu_reference(results: Results) -> str:
    return _references(results.get(CPU, {}))


def cpu_ops(results: Results) -> str:
    """Returns only ratios, since milliseconds depend on the CPU."""
    found = results.get(CPU, {}).get("ops")
    if found is None:
        return NOT_YET
    header = ["operation", "shape", "direction", "of copy", "how many times as long others take"]
    rows = []
    for row in _measured(found):
        others = [f"{name} {times:.2f}" for name, times in _times_ours(row).items()]
        share = f"{row['implementations']['ours']['of_copy']:.0%}"
        rows.append([row["case"], row["shape"], row["direction"], share, ", ".join(others)])
    return "\n\n".join([_about(found), _table(header, rows), *_failed(found)])


def cpu_decode(results: Results) -> str:
    """Returns the speed of each way of decoding and of the loader; a loop of PyAV has speed 1."""
    found = results.get(CPU, {}).get("decode")
    if found is None:
        return NOT_YET
    speed = {row["way"]: row["clips_per_second"] for row in found["rows"]}
    rows = [
        [way, f"{speed[way] / speed['PyAV']:.2f}"] for way in sorted(speed, key=speed.__getitem__)
    ]
    return f"{_about(found, _LIBRARIES)}\n\n{_table(['', 'as fast as PyAV'], rows)}"


def gpu_ops(results: Results) -> str:
    return _of_gpus(results, _gpu_ops)


def gpu_summary(results: Results) -> str:
    """Returns shares, ratios and plots for a front page."""
    return _of_gpus(results, _gpu_summary)


def gpu_profile(results: Results) -> str:
    return _of_gpus(results, lambda found: f"{_profiles(found)}\n\n{_references(found)}")


def ablation(name: str, results: Results) -> str:
    """Returns one of the paper's tables by ``ivn ablate``, for every machine that ran it."""
    stem = f"table-{name}"
    found = [machine[stem] for machine in results.values() if stem in machine]
    return "\n\n".join(f"{_about(one['about'])}\n\n{shown(one)}" for one in found) or NOT_YET


TABLES: dict[str, Callable[[Results], str]] = {
    "cpu profile": cpu_profile,
    "cpu reference": cpu_reference,
    "cpu operations": cpu_ops,
    "cpu decoding": cpu_decode,
    "gpu operations": gpu_ops,
    "gpu summary": gpu_summary,
    "gpu profile": gpu_profile,
    **{f"ablation {name}": partial(ablation, name) for name in ("1a", "1c", "3")},
}


def _gpu_ops(found: dict[str, dict]) -> str:
    if "ops" not in found:
        return NOT_YET
    header = ["operation", "shape", "direction", "ms", "GB/s", "of copy", "us above empty"]
    header += ["eager", "compiled", "library"]
    rows = []
    for row in _measured(found["ops"]):
        ours = row["implementations"]["ours"]
        times = _times_ours(row)
        library = [f"{name} {times[name]:.2f}" for name in times if name not in _COMPARED]
        rows.append(
            [
                *(row["case"], row["shape"], row["direction"], f"{ours['milliseconds']:.4f}"),
                *(f"{ours['GB/s']:.0f}", f"{ours['of_copy']:.0%}"),
                f"{ours['microseconds_above_empty']:.1f}",
                *_compared(times),
                ", ".join(library),
            ]
        )
    return "\n\n".join([_about(found["ops"]), _table(header, rows), *_failed(found["ops"])])


def _gpu_summary(found: dict[str, dict]) -> str:
    if "ops" not in found:
        return NOT_YET
    header = ["operation", "direction", "speed, of a copy's", "eager takes", "compiled takes"]
    rows = [
        [
            *(row["case"], row["direction"], f"{row['implementations']['ours']['of_copy']:.0%}"),
            *(f"{times} x" if times else "" for times in _compared(_times_ours(row))),
        ]
        for row in _measured(found["ops"])
    ]
    picture = found["ops"].get("picture")
    shown = [f"![Speed of each operation]({picture})"] if picture else []
    told = [_about(found["ops"]), _table(header, rows), *_failed(found["ops"]), *shown]
    return "\n\n".join(told)


def _measured(found: dict) -> list[dict]:
    return [row for row in found["rows"] if "ours" in row["implementations"]]


def _failed(found: dict) -> list[str]:
    """Returns a line on the rows in which ours was wrong or failed, if there are any."""
    rows = [row for row in found["rows"] if "ours" not in row["implementations"]]
    told = [
        f"{row['case']} {row['direction']} ({'; '.join(row['wrong'].values())})" for row in rows
    ]
    return [f"Wrong or failed, not timed: {', '.join(told)}."] if told else []


def _times_ours(row: dict) -> dict[str, float]:
    """Returns the time of each other implementation as a multiple of ours."""
    cells = row["implementations"]
    ours = cells["ours"]["milliseconds"]
    return {name: c["milliseconds"] / ours for name, c in cells.items() if name != "ours"}


def _compared(times: dict[str, float]) -> list[str]:
    return [f"{times[name]:.2f}" if name in times else "" for name in _COMPARED]


def _profiles(found: dict[str, dict]) -> str:
    steps = _steps(found)
    if not steps:
        return NOT_YET
    heads = [f"{step['preset']}, {_clips(step)}" for step in steps]
    parts = [*steps[0]["profile"]["milliseconds"]]
    rows = [[part, *(_profile_cell(step["profile"], part) for step in steps)] for part in parts]
    return f"{_about(steps[0])}\n\n{_table(['part', *heads], rows)}"


def _profile_cell(profile: dict, part: str) -> str:
    milliseconds, share = profile["milliseconds"][part], profile["share"].get(part)
    told = f"{milliseconds:.1f} ms"
    if share is None:
        return told
    told = f"{told}, {share:.1%}"
    return told if share >= SMALL else f"*{told}*"


def _references(found: dict[str, dict]) -> str:
    rows = [
        [step["preset"], _clips(step), what, f"{fast:.2f}"]
        for step in _steps(found)
        for what, fast in step.get("reference", {}).get("times_as_fast", {}).items()
    ]
    if not rows:
        return NOT_YET
    return _table(["preset", "step", "", "times as fast as on the reference ops"], rows)


def _steps(found: dict[str, dict]) -> list[dict]:
    order = {"tiny": 0, "base": 1}
    steps = [found[name] for name in sorted(found) if name.startswith("step-")]
    return sorted(steps, key=lambda step: order.get(step["preset"].split("-")[1], 2))


def _clips(step: dict) -> str:
    return f"{step['batch']} clip{'s' if step['batch'] > 1 else ''}, {step['dtype']}"


def _of_gpus(results: Results, table: Callable[[dict[str, dict]], str]) -> str:
    gpus = [found for machine, found in results.items() if machine != CPU]
    return "\n\n".join(table(found) for found in gpus) or NOT_YET


def _about(found: dict, libraries: Sequence[str] = ()) -> str:
    return in_words({key: found[key] for key in (*_ABOUT, *libraries) if key in found}) + ":"


def _table(header: list[str], rows: Iterable[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing, and fail if a table is out of date"
    )
    options = parser.parse_args()
    results = read()
    for name in DOCUMENTS:
        old = (ROOT / name).read_text()
        new = written(old, results)
        if options.check and new != old:
            raise SystemExit(
                f"{name} is not what the results say: python benchmarks/harness/tables.py"
            )
        (ROOT / name).write_text(new)


if __name__ == "__main__":
    main()
