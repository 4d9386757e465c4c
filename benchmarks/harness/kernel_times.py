"""Measures the kernels of a function with ``torch.profiler``."""

from collections.abc import Callable, Iterable

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity

# Number of rows that are printed, and of characters of a name: names of attention kernels are long.
SHOWN, NAME = 40, 110


def measure(step: Callable[[], None], device: torch.device, rounds: int) -> list[dict]:
    """Returns the kernels of ``rounds`` calls of ``step``, in the form of :func:`rows`.

    On a CPU, which has no kernels, these are operators.
    """
    cuda = device.type == "cuda"
    activity = ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU
    with torch.profiler.profile(activities=[activity]) as profiler:
        for _ in range(rounds):
            step()
        if cuda:
            torch.cuda.synchronize(device)
    return rows(profiler.key_averages(), cuda, rounds)


def rows(events: Iterable, cuda: bool, rounds: int) -> list[dict]:
    """Returns names, calls and own milliseconds per round, and shares of the sum, longest first.

    Args:
        events: sums over the calls of one name, from torch.profiler.
        cuda: whether to count kernels, or else operators of the CPU. Operators also have the time
            of the kernels that they launch, and named ranges the time of all that is inside.
        rounds: number of times that the function ran.
    """
    device = DeviceType.CUDA if cuda else DeviceType.CPU
    times = [
        (event.self_device_time_total if cuda else event.self_cpu_time_total, event)
        for event in events
        if event.device_type == device and not event.is_user_annotation
    ]
    whole = sum(time for time, _ in times)
    return [
        {
            "name": event.key,
            "calls": event.count / rounds,
            "milliseconds": time / 1e3 / rounds,
            "share": time / whole,
        }
        for time, event in sorted(times, key=lambda one: -one[0])
        if time > 0
    ]


def print_table(found: list[dict]) -> None:
    print(f"{'ms':>10} {'share':>6} {'calls':>7}  kernel, each for one step")
    for row in found[:SHOWN]:
        numbers = f"{row['milliseconds']:10.3f} {row['share']:6.1%} {row['calls']:7.1f}"
        print(f"{numbers}  {row['name'][:NAME]}")
    rest = found[SHOWN:]
    if rest:
        print(f"{sum(row['milliseconds'] for row in rest):10.3f} ms in {len(rest)} others")
