"""Where the time of a training step goes, and how it compares.

python benchmarks/bench_step.py --preset stage1-tiny --batch 8 --reference --check --json FILE
python benchmarks/bench_step.py --preset stage1-base --device cuda --batch 16 --plain --reference

The profile is of ours alone, fed by the real loader from the bundled clips: milliseconds of

    decode wait  until the batch is there
    teacher      its features, and for stage one its attention
    mask         which tokens are visible
    patches      from bytes to rows of pixels, the student's and the targets
    encoder      all else of the student's encoder
    predictor    from visible to all tokens
    decoder      the networks behind it: the decoder's, and stage one's alignment heads
    losses       all else of the forward pass: noise, norms and distances, sums
    backward
    optimizer    clipping and AdamW

``--reference`` times it against the same model with every operation replaced by its reference,
with and without the teacher; ``--plain`` against a plain eager step (``plain_step.py``), whose
clips are float and normalised already. Losses are found equal first. Teachers have the real class
and random weights. Milliseconds mean something on a machine that does nothing else; on a CPU read
the ratios and shares.
"""

import argparse
import importlib.util
import itertools
import json
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor

from ivn.benchmarks.clock import Clock, Parts
from ivn.benchmarks.plain_step import Native, PlainStep, Same
from ivn.benchmarks.provenance import in_words, provenance
from ivn.benchmarks.reference_ops import reference_ops
from ivn.config import Config
from ivn.data.clip import Batch
from ivn.data.loader import ClipLoader
from ivn.data.source import BUNDLED_CLIPS, list_clips
from ivn.model import patch as model_patch
from ivn.model.encoder import Encoder
from ivn.ops.random import make_keys
from ivn.presets import PRESETS
from ivn.stages import Stage, Stage1, Stage1Config, build
from ivn.stages import parts as stage_parts
from ivn.train.memory import keep_freed_memory
from ivn.train.optimizer import clip_gradients, make_optimizer

PARTS = (
    *("decode wait", "teacher", "mask", "patches", "encoder", "predictor", "decoder", "losses"),
    *("backward", "optimizer"),
)
# The plain step's embedding and decoder have no seams where ours have.
COARSE = ("teacher", "mask", "encoder", "predictor", "decoder and losses", "backward", "optimizer")
# How many times as fast as on the reference ops a step without its teacher is to be.
GOAL = 1.2


@dataclass(frozen=True)
class Side:
    """One way to take a step: which functions are its parts, its loss, and its update."""

    parts: Parts
    loss: Callable[[], Tensor]
    update: Callable[[], None]


def one_step(device: torch.device, side: Side, rest: str) -> dict[str, float]:
    """Milliseconds of each part of forward, backward and update; ``rest`` of forward's rest."""
    clock = Clock(device)
    with clock.part(rest), clock.watching(side.parts):
        value = side.loss()
    with clock.part("backward"):
        value.backward()
    with clock.part("optimizer"):
        side.update()
    return clock.milliseconds()


def medians(steps: list[dict[str, float]], names: tuple[str, ...]) -> dict[str, float]:
    """Of each part over the steps, and of the whole step."""
    found = {name: statistics.median(step.get(name, 0.0) for step in steps) for name in names}
    return found | {"step": statistics.median(sum(step.values()) for step in steps)}


def compare(
    device: torch.device, sides: dict[str, Side], names: tuple[str, ...], warm: int, rounds: int
) -> dict[str, dict[str, float]]:
    """Medians of every side's parts, the sides taken in turn."""
    rest = next(name for name in names if "losses" in name)
    times: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for _ in range(warm + rounds):
        for name, side in sides.items():
            times[name].append(one_step(device, side, rest))
    return {name: medians(found[warm:], names) for name, found in times.items()}


class Run:
    """A stage, a batch and what updates the stage, as a preset has them."""

    def __init__(self, config: Config, batch: int, device: torch.device) -> None:
        self.config, self.device = config, device
        settings = config.stage
        if isinstance(settings, Stage1Config):
            settings = replace(settings, teacher=replace(settings.teacher, weights="random"))
        stage = build(config.model, settings, seed=0, batch_size=batch, pretrained=False)
        leave_no_zeros(stage)
        self.stage = stage.to(device).train()
        self.batch = random_batch(self.stage, batch, device)
        self.optimizer = make_optimizer(stage.parameter_groups(), stage, config.optim)
        self.trained = [x for group in self.optimizer.param_groups for x in group["params"]]

    def parts(self) -> Parts:
        stage = self.stage
        if isinstance(stage, Stage1):
            # The heads' norms belong to the distances.
            heads = [head.head for head in stage.alignment.layers]
            networks = [stage.decoder.net, *heads]
        else:
            networks = [stage.decoder.head]
        return {
            "teacher": [(stage, "look")],
            "mask": [(stage, "mask")],
            "patches": [(model_patch, "gather_patches"), (stage_parts, "gather_target_patches")],
            "encoder": [(stage.encoder, "hidden")],
            "predictor": [(stage.predictor, "forward")],
            "decoder": [(network, "forward") for network in networks],
        }

    def coarse_parts(self) -> Parts:
        return {name: found for name, found in self.parts().items() if name in COARSE}

    def loss(self) -> Tensor:
        return weighted(self.stage, self.terms(self.batch))

    def reference_loss(self) -> Tensor:
        with reference_ops():
            return self.loss()

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        return {name: term.total / term.count for name, term in self.stage.loss(batch).items()}

    def update(self) -> None:
        clip_gradients(self.trained, self.config.optim.clip_norm)
        self.optimizer.step()
        self.stage.after_step()
        self.optimizer.zero_grad()

    @contextmanager
    def told(self) -> Iterator[None]:
        """The teacher's answer is known while this lasts."""
        look, batch = self.stage.look, self.batch
        stage1 = isinstance(self.stage, Stage1)
        answer = look(batch) if stage1 else look(batch.clips["student"], batch.keys)
        with patch.object(self.stage, "look", lambda *_: answer):
            yield


def weighted(stage: Stage, terms: dict[str, Tensor]) -> Tensor:
    return torch.stack([stage.loss_weights[name] * mean for name, mean in terms.items()]).sum()


def random_batch(stage: Stage, B: int, device: torch.device) -> Batch:
    generator = torch.Generator().manual_seed(0)
    clips = {
        name: torch.randint(
            256, (B, spec.frames, spec.size, spec.size, 3), generator=generator, dtype=torch.uint8
        )
        for name, spec in stage.clip_specs.items()
    }
    return Batch(clips, make_keys(0, 0, range(B))).to(device)


def leave_no_zeros(stage: Stage) -> None:
    """Move LayerScale and the layers that start at zero, so that all parts show in the losses."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in stage.named_parameters():
            if name.endswith("gamma") or not parameter.any():
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)


def assert_equal(
    run: Run, ours: dict[str, Tensor], theirs: dict[str, Tensor], dtype: torch.dtype, other: str
) -> dict[str, float]:
    """Terms are means of cosines and of squared errors of unit scale; each residual block may round
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


@contextmanager
def computing_in(stage: Stage, dtype: torch.dtype) -> Iterator[None]:
    """The student's dtype, which the rest of it follows, and that of stage two's teacher."""
    encoders = [module for module in stage.modules() if isinstance(module, Encoder)]
    kept = [encoder.compute_dtype for encoder in encoders]
    for encoder in encoders:
        encoder.compute_dtype = dtype
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield
    for encoder, own in zip(encoders, kept, strict=True):
        encoder.compute_dtype = own


def profile(run: Run, warm: int, rounds: int) -> dict:
    """The parts of our step on the loader's batches, as ``ivn pretrain`` takes it."""
    if importlib.util.find_spec("av") is None:
        print("decode wait is not measured: PyAV is not installed")
        return _profile(run, itertools.repeat(run.batch), warm, rounds)
    with ClipLoader(
        list_clips(BUNDLED_CLIPS),
        run.stage.clip_specs,
        run.config.data,
        batch_size=len(run.batch),
        workers=run.config.efficiency.workers,
        pin_memory=run.device.type == "cuda",
    ) as loader:
        return _profile(run, loader, warm, rounds)


def _profile(run: Run, batches: Iterator[Batch], warm: int, rounds: int) -> dict:
    steps = []
    for _ in range(warm + rounds):
        clock = Clock(run.device)
        with clock.part("decode wait"):
            batch = next(batches).to(run.device, non_blocking=True)
        side = Side(run.parts(), lambda b=batch: weighted(run.stage, run.terms(b)), run.update)
        steps.append(clock.milliseconds() | one_step(run.device, side, "losses"))
    found = medians(steps[warm:], PARTS)
    share = {name: found[name] / found["step"] for name in PARTS}
    for name in (*PARTS, "step"):
        print(f"{name:12} {found[name]:10.2f} ms {share.get(name, 1.0):7.1%}")
    return {"milliseconds": found, "share": share}


def against_reference(run: Run, warm: int, rounds: int) -> dict:
    """Ours and the same model on reference ops, with and without the teacher."""
    dtype = getattr(torch, run.config.model.dtype)
    with torch.no_grad():
        ours = run.terms(run.batch)
        with reference_ops():
            theirs = run.terms(run.batch)
    losses = assert_equal(run, ours, theirs, dtype, "reference ops")
    parts = run.parts()
    sides = {
        "ours": Side(parts, run.loss, run.update),
        "reference": Side(parts, run.reference_loss, run.update),
    }
    median = {"with teacher": compare(run.device, sides, PARTS[1:], warm, rounds)}
    with run.told():
        parts = run.parts()
        sides = {
            "ours": Side(parts, run.loss, run.update),
            "reference": Side(parts, run.reference_loss, run.update),
        }
        median["without teacher"] = compare(run.device, sides, PARTS[1:], warm, rounds)
    fast = {}
    for what, sided in median.items():
        fast[what] = sided["reference"]["step"] / sided["ours"]["step"]
        print_table(f"{what}, against reference ops", sided)
        print(f"{what}: {fast[what]:.2f} times as fast as on reference ops")
    return {"losses": losses, "milliseconds": median, "times_as_fast": fast, "goal": GOAL}


def against_plain(run: Run, warm: int, rounds: int) -> dict:
    """Ours and a plain eager step."""
    stage, batch = run.stage, run.batch
    other, dtype = PlainStep(stage, batch), getattr(torch, run.config.model.dtype)
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

    parts: Parts = {
        "teacher": [(other, "look"), (other.model, "look")],
        "mask": [(other, "mask"), (other, "mask_view")],
        "encoder": [(other.model, "encode")],
        "predictor": [(other.model, "predict")],
    }
    sides = {
        "ours": Side(run.coarse_parts(), run.loss, run.update),
        "plain": Side(parts, lambda: other.loss(Native(batch), dtype)[0], update),
    }
    median = compare(run.device, sides, COARSE, warm, rounds)
    print_table("against a plain eager step", median)
    ratio = {part: median["ours"][part] / median["plain"][part] for part in (*COARSE, "step")}
    return {"losses": losses, "milliseconds": median, "ratio": ratio}


def print_table(title: str, median: dict[str, dict[str, float]]) -> None:
    ours, (other, theirs) = median["ours"], [*median.items()][1]
    print(f"{title}\n{'':18} {'ours, ms':>10} {other + ', ms':>14} {'ratio':>7}")
    for part, value in ours.items():
        ratio = f"{value / theirs[part]:7.3f}" if theirs[part] else ""
        print(f"{part:18} {value:10.2f} {theirs[part]:14.2f} {ratio}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", required=True, choices=PRESETS, metavar="PRESET")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, default=2, help="clips a step (default 2)")
    parser.add_argument("--warm", type=int, default=3, help="steps before the timed ones")
    parser.add_argument("--rounds", type=int, default=20, help="timed steps of each side")
    parser.add_argument(
        "--threads", type=int, default=1,
        help="CPU threads, the same for all sides (default 1, which others disturb least)",
    )  # fmt: skip
    parser.add_argument("--reference", action="store_true", help="compare with reference ops")
    parser.add_argument("--plain", action="store_true", help="compare with a plain eager step")
    parser.add_argument(
        "--check", action="store_true",
        help=f"fail unless {GOAL} times as fast as on reference ops without the teacher",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    options = parser.parse_args()
    device = torch.device(options.device)
    torch.set_num_threads(options.threads)
    if device.type == "cpu":
        keep_freed_memory()  # as a run does
    about = provenance(device)
    print(in_words(about))
    rounds = (1, 2) if options.quick else (options.warm, options.rounds)
    run = Run(PRESETS[options.preset](), options.batch, device)
    dtype = run.config.model.dtype
    print(f"{options.preset}, {options.batch} clips a step, {dtype}, {options.threads} threads")
    found = about | {"preset": options.preset, "batch": options.batch, "dtype": dtype}
    found["profile"] = profile(run, *rounds)
    if options.plain:
        found["plain"] = against_plain(run, *rounds)
    if options.reference:
        found["reference"] = against_reference(run, *rounds)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    fast = found["reference"]["times_as_fast"]["without teacher"] if options.reference else 0.0
    if options.check and fast < GOAL:
        raise SystemExit(f"without its teacher {fast:.2f} times as fast, the goal is {GOAL}")


if __name__ == "__main__":
    main()
