"""Measures the parts of a training step, and compares the step with others.

python benchmarks/steps/bench_step.py --preset stage1-tiny --batch 8 --reference --check --json FILE
python benchmarks/steps/bench_step.py --preset stage1-base --device cuda --batch 16 --plain
--reference

The profile is that of our step on batches of the real loader from the bundled clips, in ms:

    decode wait  until the batch is there
    teacher      the teacher's features, and for stage one its attention
    mask         the choice of visible tokens
    patches      bytes to rows of pixels, for the student and the targets
    encoder      the rest of the student's encoder
    predictor    visible to all tokens
    decoder      the networks after it: the decoder, and stage one's alignment heads
    losses       the rest of the forward pass: noise, norms and distances, sums
    backward
    optimizer    clipping and AdamW

On a GPU it also prints the peak of the memory in use, as PyTorch's allocator counts it.

``--kernels`` lists the kernels of further steps, or on a CPU the operators, by torch.profiler.

``--reference`` compares it with the same model in which every operation is replaced by its
reference, with and without the teacher; ``--plain`` with a plain eager step (``plain_step.py``),
whose clips are already float and normalised. Losses are compared first. Teachers have the real
class and random weights. Milliseconds are meaningful on a machine that does nothing else; on a CPU
read the ratios and shares.
"""

import importlib.util
import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from ivn.benchmarks.harness import kernel_times, script
from ivn.benchmarks.harness.part_times import Parts, PartTimes
from ivn.benchmarks.harness.sides import Side, compare, medians, one_step, print_table
from ivn.benchmarks.steps.plain_step import Native, Same, plain_step
from ivn.benchmarks.steps.preset_step import PresetStep, computing_in, weighted
from ivn.benchmarks.steps.reference_ops import reference_ops
from ivn.config.presets import PRESETS
from ivn.data.batch import Batch
from ivn.data.loader.loader import ClipLoader
from ivn.data.manifest.listing import list_clips
from ivn.media.source import BUNDLED_CLIPS
from ivn.processes import keep_all_freed_memory

PARTS = (
    *("decode wait", "teacher", "mask", "patches", "encoder", "predictor", "decoder", "losses"),
    *("backward", "optimizer"),
)
# The plain step's embedding and decoder are not divided into ours' parts.
COARSE = ("teacher", "mask", "encoder", "predictor", "decoder and losses", "backward", "optimizer")
# Goal for a step without its teacher: times as fast as on the reference ops.
GOAL = 1.2


def assert_equal(
    run: PresetStep,
    ours: dict[str, Tensor],
    theirs: dict[str, Tensor],
    dtype: torch.dtype,
    other: str,
) -> dict[str, float]:
    """Checks that losses are equal, up to rounding.

    Terms are means of cosines and of squared errors of unit scale; each residual block may round
    them by an epsilon of the dtype.
    """
    blocks = 2 * (run.stage.encoder.config.depth + run.stage.predictor.config.layers)
    for name, value in ours.items():
        error, scale = (value - theirs[name]).abs().item(), max(1.0, theirs[name].abs().item())
        allowed = blocks * torch.finfo(dtype).eps * scale
        if not error <= allowed:
            raise SystemExit(
                f"{name} in {dtype}: ours {value.item():.6g}, {other} {theirs[name].item():.6g}, "
                f"further apart than {allowed:.1g}"
            )
    return {name: value.item() for name, value in ours.items()}


def profile(run: PresetStep, warm: int, rounds: int) -> dict:
    """Measures the parts of our step on the loader's batches, taken like in ``ivn pretrain``."""
    if importlib.util.find_spec("av") is None:
        print("decode wait is not measured: PyAV is not installed")
        return _profile(run, itertools.repeat(run.batch), warm, rounds)
    with ClipLoader(
        list_clips(BUNDLED_CLIPS),
        run.stage.clip_specs,
        run.config.data,
        batch_size=len(run.batch),
        workers=run.config.efficiency.workers,
        device=run.device,
    ) as loader:
        return _profile(run, loader, warm, rounds)


def _profile(run: PresetStep, batches: Iterator[Batch], warm: int, rounds: int) -> dict:
    steps = []
    cuda = run.device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(run.device)
    for _ in range(warm + rounds):
        clock = PartTimes(run.device)
        with clock.part("decode wait"):
            batch = next(batches).to(run.device, non_blocking=True)
        side = Side(run.parts(), lambda b=batch: weighted(run.stage, run.terms(b)), run.update)
        steps.append(clock.milliseconds() | one_step(run.device, side, "losses"))
    found = medians(steps[warm:], PARTS)
    share = {name: found[name] / found["step"] for name in PARTS}
    for name in (*PARTS, "step"):
        print(f"{name:12} {found[name]:10.2f} ms {share.get(name, 1.0):7.1%}")
    peak = {}
    if cuda:
        peak = {"peak_bytes": torch.cuda.max_memory_allocated(run.device)}
        print(f"peak memory  {peak['peak_bytes'] / 2**30:10.2f} GiB")
    return {"milliseconds": found, "share": share} | peak


def kernels(run: PresetStep, warm: int, rounds: int) -> list[dict]:
    """Lists the kernels of at most three of our steps, the slowest first."""
    del warm  # the profiled steps before these have warmed up

    def step() -> None:
        run.loss().backward()
        run.update()

    found = kernel_times.measure(step, run.device, min(rounds, 3))
    kernel_times.print_table(found)
    return found


def against_reference(run: PresetStep, warm: int, rounds: int) -> dict:
    """Compares ours with the same model on reference ops, with and without the teacher."""
    dtype = getattr(torch, run.config.model.dtype)
    with torch.no_grad():
        ours = run.terms(run.batch)
        with reference_ops():
            theirs = run.terms(run.batch)
    losses = assert_equal(run, ours, theirs, dtype, "reference ops")

    def sides() -> dict[str, Side]:
        parts, ways = run.parts(), {"ours": run.loss, "reference": run.reference_loss}
        return {name: Side(parts, loss, run.update) for name, loss in ways.items()}

    median = {"with teacher": compare(run.device, sides(), PARTS[1:], warm, rounds)}
    with run.stored_teacher():
        median["without teacher"] = compare(run.device, sides(), PARTS[1:], warm, rounds)
    fast = {}
    for what, sided in median.items():
        fast[what] = sided["reference"]["step"] / sided["ours"]["step"]
        print_table(f"{what}, against reference ops", sided)
        print(f"{what}: {fast[what]:.2f} times as fast as on reference ops")
    return {"losses": losses, "milliseconds": median, "times_as_fast": fast, "goal": GOAL}


def against_plain(run: PresetStep, warm: int, rounds: int) -> dict:
    """Compares ours with a plain eager step."""
    stage, batch = run.stage, run.batch
    other, dtype = plain_step(stage, batch), getattr(torch, run.config.model.dtype)
    losses = {}
    for same in {torch.float32, dtype}:
        with computing_in(stage, same):
            ours, theirs = run.terms(batch), other.loss(Same(stage, batch), same)[1]
        losses[str(same).removeprefix("torch.")] = assert_equal(run, ours, theirs, same, "plain")
    optim = run.config.optim
    leaves = [x for x in other.parameters.values() if x.requires_grad]
    adamw = torch.optim.AdamW(leaves, optim.lr, optim.betas, optim.eps)

    def update() -> None:
        torch.nn.utils.clip_grad_norm_(leaves, optim.clip_norm)
        adamw.step()
        adamw.zero_grad()

    coarse = {name: found for name, found in run.parts().items() if name in COARSE}
    parts: Parts = {
        # A step whose target is its own encoder has no pass of its own through a teacher.
        "teacher": [(owner, "look") for owner in (other, other.model) if hasattr(owner, "look")],
        "mask": [(other, "mask")],
        "encoder": [(other.model, "encode")],
        "predictor": [(other.model, "predict")],
    }
    sides = {
        "ours": Side(coarse, run.loss, run.update),
        "plain": Side(parts, lambda: other.loss(Native(batch), dtype)[0], update),
    }
    median = compare(run.device, sides, COARSE, warm, rounds)
    print_table("against a plain eager step", median)
    ratio = {part: median["ours"][part] / median["plain"][part] for part in (*COARSE, "step")}
    return {"losses": losses, "milliseconds": median, "ratio": ratio}


def main() -> None:
    parser = script.parser(__doc__, rounds=20, on_gpus=True)
    parser.add_argument("--preset", required=True, choices=PRESETS, metavar="PRESET")
    parser.add_argument("--batch", type=int, default=2, help="clips a step (default 2)")
    parser.add_argument("--warm", type=int, default=3, help="steps before the timed ones")
    parser.add_argument("--kernels", action="store_true", help="list the kernels by their time")
    parser.add_argument("--reference", action="store_true", help="compare with reference ops")
    parser.add_argument("--plain", action="store_true", help="compare with a plain eager step")
    options = parser.parse_args()
    if options.check and not options.reference:
        parser.error("--check is of the comparison with reference ops: give --reference, too")
    found = script.started(options)
    device = torch.device(options.device)
    if device.type == "cpu":
        keep_all_freed_memory()  # like a training run
    rounds = (1, 2) if options.quick else (options.warm, options.rounds)
    run = PresetStep(PRESETS[options.preset](), options.batch, device)
    dtype = run.config.model.dtype
    print(f"{options.preset}, {options.batch} clips a step, {dtype}, {options.threads} threads")
    found |= {"preset": options.preset, "batch": options.batch, "dtype": dtype}
    measured = {"profile": profile}
    if options.kernels:
        measured["kernels"] = kernels
    if options.plain:
        measured["plain"] = against_plain
    if options.reference:
        measured["reference"] = against_reference
    for name, measure in measured.items():
        found[name] = measure(run, *rounds)
        script.write(found, options)  # so that a later failure leaves these results
    if options.check:
        fast = found["reference"]["times_as_fast"]["without teacher"]
        if fast < GOAL:
            raise SystemExit(f"without its teacher {fast:.2f} times as fast, the goal is {GOAL}")


if __name__ == "__main__":
    main()
