"""Times the parts of several ways to take a step, in turn."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .part_times import Parts, PartTimes


@dataclass(frozen=True)
class Side:
    """One way to take a step: the functions of its parts, its loss and its update."""

    parts: Parts
    loss: Callable[[], Tensor]
    update: Callable[[], None]


def one_step(device: torch.device, side: Side, rest: str) -> dict[str, float]:
    """Returns milliseconds of each part; ``rest`` names the rest of the forward pass."""
    clock = PartTimes(device)
    with clock.part(rest), clock.watching(side.parts):
        value = side.loss()
    with clock.part("backward"):
        value.backward()
    with clock.part("optimizer"):
        side.update()
    return clock.milliseconds()


def medians(steps: list[dict[str, float]], names: tuple[str, ...]) -> dict[str, float]:
    """Returns the median of each part over the steps, and of the whole step."""
    found = {name: statistics.median(step.get(name, 0.0) for step in steps) for name in names}
    return found | {"step": statistics.median(sum(step.values()) for step in steps)}


def compare(
    device: torch.device, sides: dict[str, Side], names: tuple[str, ...], warm: int, rounds: int
) -> dict[str, dict[str, float]]:
    """Returns the medians of each side's parts; the sides take steps in turn."""
    rest = next(name for name in names if "losses" in name)
    times: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for _ in range(warm + rounds):
        for name, side in sides.items():
            times[name].append(one_step(device, side, rest))
    return {name: medians(found[warm:], names) for name, found in times.items()}


def print_table(title: str, median: dict[str, dict[str, float]]) -> None:
    ours, (other, theirs) = median["ours"], [*median.items()][1]
    print(f"{title}\n{'':18} {'ours, ms':>10} {other + ', ms':>14} {'ratio':>7}")
    for part, value in ours.items():
        ratio = f"{value / theirs[part]:7.3f}" if theirs[part] else ""
        print(f"{part:18} {value:10.2f} {theirs[part]:14.2f} {ratio}")
