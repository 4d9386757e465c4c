"""Timing for the benchmarks of single operations: side by side, answers first."""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

# Memory bandwidth by the vendor's data sheet, GB/s.
PEAK = {"H200": 4800, "H100": 3350, "A100-SXM4-80GB": 2039, "A100": 1555}
Case = dict[str, Callable[[], Tensor | Sequence[Tensor]]]


def arguments(description: str) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--quick", action="store_true", help="the first size, few repeats")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    return parser


class Report:
    """Collects and prints one row for each case; the first implementation is the yardstick."""

    def __init__(self, options: argparse.Namespace):
        self.options = options
        self.device = torch.device(options.device)
        self.rows: list[dict] = []
        print(f"{hardware(self.device)}, torch {torch.__version__}, {options.dtype}")

    def add(
        self, name: str, case: Case, expected: Tensor | Sequence[Tensor], moved: int, atol: float
    ) -> None:
        """Check each implementation of ``case`` against ``expected``, then time them in turn.

        ``moved`` is the number of bytes that any implementation must read and write.
        """
        for function in case.values():
            torch.testing.assert_close(function(), expected, atol=atol, rtol=0)
        times = interleaved_medians(case, self.device, rounds=5 if self.options.quick else 30)
        ours = next(iter(times.values()))
        cells = [f"{key} {ms:9.3f} ms ({ms / ours:5.2f}x)" for key, ms in times.items()]
        row = {"case": name, "milliseconds": times, "bytes": moved}
        if self.device.type == "cuda":
            row["GB/s"] = speed = moved / ours / 1e6
            cells.append(f"{speed:6.0f} GB/s{share_of_peak(speed, self.device)}")
        self.rows.append(row)
        print(f"{name:<34} " + "  ".join(cells), flush=True)

    def write(self) -> None:
        """Write the JSON file that was asked for."""
        if self.options.json:
            found = {
                "hardware": hardware(self.device),
                "torch": torch.__version__,
                "dtype": self.options.dtype,
                "rows": self.rows,
            }
            self.options.json.write_text(json.dumps(found, indent=2) + "\n")


def hardware(device: torch.device) -> str:
    """What the numbers belong to."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    names = [line for line in _cpu_info() if line.startswith("model name")]
    name = names[0].partition(":")[2].strip() if names else platform.processor()
    return f"{name}, {torch.get_num_threads()} threads"


def share_of_peak(speed: float, device: torch.device) -> str:
    """``, 81% of peak`` where the peak is known."""
    name = torch.cuda.get_device_name(device)
    peak = next((value for key, value in PEAK.items() if key in name), None)
    return f", {speed / peak:.0%} of peak" if peak else ""


def interleaved_medians(case: Case, device: torch.device, *, rounds: int) -> dict[str, float]:
    """Median milliseconds of each function, called in turn so that drift hits all alike."""
    for function in case.values():
        for _ in range(3):
            function()
    times: dict[str, list[float]] = {name: [] for name in case}
    for _ in range(rounds):
        for name, function in case.items():
            times[name].append(_milliseconds(function, device))
    return {name: statistics.median(values) for name, values in times.items()}


def _milliseconds(function: Callable[[], object], device: torch.device) -> float:
    if device.type != "cuda":
        start = time.perf_counter()
        function()
        return (time.perf_counter() - start) * 1e3
    # Written over, so that no input is left in the L2 cache; the GPU is still busy with it when
    # the function is launched, so the host's share is hidden as it is in training.
    torch.empty(2**28, dtype=torch.uint8, device=device).zero_()
    start_event, stop_event = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start_event.record()
    function()
    stop_event.record()
    torch.cuda.synchronize(device)
    return start_event.elapsed_time(stop_event)


def _cpu_info() -> list[str]:
    file = Path("/proc/cpuinfo")
    return file.read_text().splitlines() if file.exists() else []
