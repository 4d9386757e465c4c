"""Measures one operation at one shape: compares answers, then times implementations in turn.

On a CPU an implementation is called directly; read the results as ratios. On CUDA it is captured in
a graph, so that no time of the host counts, and each replay starts with cold caches. A copy that
moves as many bytes runs in the same rounds: it is the limit for operations bound by memory.
"""

import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from types import MappingProxyType

import torch
from torch import Tensor

Result = Tensor | Sequence[Tensor]
Call = Callable[[], Result]
OURS, COPY, EMPTY = "ours", "copy", "empty graph"
# Milliseconds in which the resolution of a CPU's clock and the cost of a call do not show.
_LONG_ENOUGH = 0.3


@dataclass(frozen=True)
class Case:
    """An operation at one shape, in one direction.

    Attributes:
        case: operation and size, such as "gather_tokens, base".
        shape: sizes in words.
        dtype: dtype of the computation.
        direction: "forward" or "with backward".
        implementations: name -> a call without arguments; the first is "ours".
        expected: the right answer.
        slack: allowed error of an answer, in epsilons of ``dtype`` times the largest expected
            magnitude; 0 asks for the same bits.
        moved: bytes that any implementation must read and write.
        others: further implementations, which draw other random numbers, so that only shapes can
            be compared.
        notes: name -> why an implementation is missing.
        uncaptured: name -> why an implementation cannot be in a CUDA graph; the host launches it.
            A capture that fails would leave PyTorch's allocator and generator in doubt.
    """

    case: str
    shape: str
    dtype: torch.dtype
    direction: str
    implementations: dict[str, Call]
    expected: Result
    slack: float
    moved: int
    others: dict[str, Call] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    uncaptured: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    """The results of measuring a case.

    Attributes:
        milliseconds: median of each implementation, of the copy and, on CUDA, of an empty graph.
        peak: bytes of memory that each implementation takes beyond its inputs; CUDA only.
        notes: notes of the case, and on implementations that could not be captured or run.
        wrong: name -> difference of a wrong answer; its implementation is not timed.
    """

    milliseconds: dict[str, float]
    peak: dict[str, int]
    notes: dict[str, str]
    wrong: dict[str, str]


def measure(case: Case, device: torch.device, *, rounds: int) -> Measured:
    """Checks every implementation of ``case``, then times those that are right in turn."""
    notes, wrong, right = dict(case.notes), {}, {}
    peak: dict[str, int] = {}
    for name, call in {**case.implementations, **case.others}.items():
        try:
            with _poisoned_memory() if name == OURS else nullcontext():
                result = call()
        except (torch.OutOfMemoryError, torch._dynamo.exc.TorchDynamoException) as error:
            if name == OURS:
                raise
            notes[name] = f"does not run: {first_line(error)}"
            continue
        problem = _difference(result, case, shapes_only=name in case.others)
        del result
        if problem:
            wrong[name] = problem
        else:
            right[name] = call
            if device.type == "cuda":
                peak[name] = _peak_memory(call, device)
    if not right:
        return Measured({}, peak, notes, wrong)
    right[COPY] = _copy(case.moved, device)
    times, not_captured = interleaved_medians(
        right, device, rounds=rounds, uncaptured=case.uncaptured
    )
    return Measured(times, peak, notes | not_captured, wrong)


def interleaved_medians(
    calls: dict[str, Callable],
    device: torch.device,
    *,
    rounds: int,
    uncaptured: Mapping[str, str] = MappingProxyType({}),
) -> tuple[dict[str, float], dict[str, str]]:
    """Returns median milliseconds of calls, made in turn so that drift hits all alike, and notes.

    On CUDA calls are replays of graphs, and an empty graph is timed, too. Notes say why the host
    launched a call instead, as it does those of ``uncaptured``.
    """
    if device.type == "cuda":
        return _graph_times(calls, device, rounds, uncaptured)
    return _cpu_times(calls, rounds), {}


def _cpu_times(calls: dict[str, Callable], rounds: int) -> dict[str, float]:
    repeats = {}
    for name, call in calls.items():
        call()
        repeats[name] = max(1, round(_LONG_ENOUGH / max(_cpu_milliseconds(call, 1), 1e-4)))
    return _medians(
        {
            name: lambda call=call, name=name: _cpu_milliseconds(call, repeats[name])
            for name, call in calls.items()
        },
        rounds,
    )


def _medians(samples: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in samples}
    for _ in range(rounds):
        for name, sample in samples.items():
            times[name].append(sample())
    return {name: statistics.median(values) for name, values in times.items()}


def _cpu_milliseconds(call: Callable, repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) * 1e3 / repeats


def _graph_times(
    calls: dict[str, Callable], device: torch.device, rounds: int, uncaptured: Mapping[str, str]
) -> tuple[dict[str, float], dict[str, str]]:
    notes = {
        name: f"launched by the host: {why}" for name, why in uncaptured.items() if name in calls
    }
    launches = {name: calls[name] for name in notes}
    before = torch.cuda.current_stream(device)
    for name, call in {**calls, EMPTY: lambda: ()}.items():
        if name in launches:
            continue
        try:
            launches[name] = _captured(call, device)
        except RuntimeError as error:
            torch.cuda.set_stream(before)  # a failed capture leaves its own stream
            torch.cuda.synchronize(device)
            if name == OURS:  # ours must be capturable; what it is compared with need not be
                raise
            launches[name] = call
            notes[name] = (
                f"its capture failed ({first_line(error)}): launched by the host, and doubt this "
                "row and those after it, for PyTorch does not mend its state"
            )
    # Overwritten, so that no input stays in the L2 cache. The GPU is still busy with it when the
    # graph is launched, so that the host's time is hidden, as it is in training.
    other = torch.empty(2**28, dtype=torch.uint8, device=device)

    def sample(launch: Callable) -> float:
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        other.zero_()
        start.record()
        launch()
        stop.record()
        torch.cuda.synchronize(device)
        return start.elapsed_time(stop)

    samples = {name: lambda launch=launch: sample(launch) for name, launch in launches.items()}
    _medians(samples, 3)
    return _medians(samples, rounds), notes


def _captured(call: Call, device: torch.device) -> Callable[[], None]:
    """Captures ``call`` in a CUDA graph, and returns its launch."""
    beside = torch.cuda.Stream(device)
    beside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(beside):
        for _ in range(3):
            call()
    torch.cuda.current_stream(device).wait_stream(beside)
    torch.cuda.synchronize(device)
    graph = torch.cuda.CUDAGraph()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The CUDA Graph is empty")
        with torch.cuda.graph(graph):
            call()
    return graph.replay


def _copy(moved: int, device: torch.device) -> Call:
    """Returns a copy that reads half of ``moved`` bytes and writes the other half."""
    source = torch.randint(256, (max(1, moved // 2),), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def _peak_memory(call: Call, device: torch.device) -> int:
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    call()
    return torch.cuda.max_memory_allocated(device) - before


def _difference(result: Result, case: Case, *, shapes_only: bool) -> str:
    """Returns how ``result`` differs from the right answer of ``case``, or ""."""
    actual, expected = (
        x if isinstance(x, (tuple, list)) else (x,) for x in (result, case.expected)
    )
    if len(actual) != len(expected):
        return f"{len(actual)} tensors, expected {len(expected)}"
    for i, (ours, right) in enumerate(zip(actual, expected, strict=True)):
        if ours.shape != right.shape:
            return f"output {i} is {list(ours.shape)}, expected {list(right.shape)}"
        if shapes_only or right.numel() == 0:
            continue
        if case.slack == 0 or not right.is_floating_point():
            if not torch.equal(ours, right):
                return f"output {i} differs"
            continue
        largest = float(right.abs().max())
        error = float((ours.to(right.dtype) - right).abs().max())
        allowed = case.slack * torch.finfo(case.dtype).eps * largest
        if not error <= allowed:  # NaN fails too
            return f"output {i} is off by {error:.3g}, allowed is {allowed:.3g}"
    return ""


@contextmanager
def _poisoned_memory() -> Iterator[None]:
    """Fills torch.empty with NaN, so that an element that is never written shows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(False)


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
