"""A whole training step, or its embedding alone, beside plain eager PyTorch with equal losses.

python benchmarks/bench_step.py --preset stage1-base --device cuda --batch 4 --json FILE
python benchmarks/bench_step.py --part embedding --check

The plain side embeds all tokens and indexes with booleans (``plain_step.py``); it is given clips
that are float and normalised already, ours the uint8 that a loader hands over. Teachers have the
real class and random weights. Numbers of milliseconds mean something on a GPU that nothing else
uses; on a CPU read the ratios.
"""

import argparse
import json
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import torch
from measure import hardware, interleaved_medians
from plain_step import Native, PlainStep, Same, plain
from torch import Tensor

import ivn
from ivn.data.clip import Batch
from ivn.model.encoder import Encoder, EncoderConfig, build_encoder
from ivn.ops.random import make_keys
from ivn.presets import PRESETS
from ivn.stages import Stage, Stage1Config, build, masks
from ivn.train.optimizer import clip_gradients, make_optimizer

PARTS = ("teacher", "mask", "encoder", "predictor", "decoder and loss", "backward", "optimizer")
# Ours over plain, of the embedding at a quarter of the tokens kept.
LIMITS = {"forward": 0.35, "forward and backward": 0.20}


class Clock:
    """Adds up the milliseconds of named parts of a step; a part inside another is the other's."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.spans, self.inside = device, [], False

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        if self.inside:
            yield
            return
        self.inside, start = True, self._now()
        yield
        self.spans.append((name, start, self._now()))
        self.inside = False

    @contextmanager
    def watching(self, methods: dict[str, list[tuple[object, str]]]) -> Iterator[None]:
        """Make each ``(object, method)`` a part of that name while the context lasts."""
        with ExitStack() as stack:
            for name, found in methods.items():
                for owner, method in found:
                    timed = self._timed(name, getattr(owner, method))
                    stack.enter_context(patch.object(owner, method, timed))
            yield

    def milliseconds(self) -> dict[str, float]:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        found: dict[str, float] = {}
        for name, start, stop in self.spans:
            cuda = self.device.type == "cuda"
            span = start.elapsed_time(stop) if cuda else (stop - start) * 1e3
            found[name] = found.get(name, 0.0) + span
        return found

    def _timed(self, name: str, function: Callable) -> Callable:
        def timed(*arguments, **options):
            with self.part(name):
                return function(*arguments, **options)

        return timed

    def _now(self):
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def one_step(
    device: torch.device,
    methods: dict[str, list[tuple[object, str]]],
    loss: Callable[[], Tensor],
    update: Callable[[], None],
) -> dict[str, float]:
    """Milliseconds of each part of forward, backward and update."""
    parts, whole = Clock(device), Clock(device)
    with whole.part("forward"), parts.watching(methods):
        value = loss()
    with whole.part("backward"):
        value.backward()
    with whole.part("optimizer"):
        update()
    times, total = parts.milliseconds(), whole.milliseconds()
    times["decoder and loss"] = total["forward"] - sum(times.values())
    times |= {name: total[name] for name in ("backward", "optimizer")}
    return times | {"step": sum(total.values())}


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


def our_loss(stage: Stage, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    terms = {name: term.total / term.count for name, term in stage.loss(batch).items()}
    return sum(stage.loss_weights[name] * mean for name, mean in terms.items()), terms


def assert_equal_losses(
    stage: Stage, other: PlainStep, batch: Batch, dtype: torch.dtype
) -> dict[str, float]:
    """Both sides' terms with the same mask and random numbers, computed in ``dtype``.

    Terms are means of cosines and of squared errors of unit scale; each residual block may round
    them by an epsilon of the dtype.
    """
    encoders = [module for module in stage.modules() if isinstance(module, Encoder)]
    kept = [encoder.compute_dtype for encoder in encoders]
    for encoder in encoders:  # the student's, which the rest of it follows, and stage two's teacher
        encoder.compute_dtype = dtype
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        ours, theirs = our_loss(stage, batch)[1], other.loss(Same(stage, batch), dtype)[1]
    for encoder, own in zip(encoders, kept, strict=True):
        encoder.compute_dtype = own
    blocks = 2 * (stage.encoder.config.depth + stage.predictor.config.layers)
    for name, value in ours.items():
        error, scale = (value - theirs[name]).abs().item(), max(1.0, theirs[name].abs().item())
        allowed = blocks * torch.finfo(dtype).eps * scale
        if not error <= allowed:
            raise SystemExit(
                f"{name} in {dtype}: ours {value.item():.6g}, plain {theirs[name].item():.6g}, "
                f"further apart than {allowed:.1g}"
            )
    return {name: value.item() for name, value in ours.items()}


def bench_preset(options: argparse.Namespace) -> dict:
    config, device = PRESETS[options.preset](), torch.device(options.device)
    settings = config.stage
    if isinstance(settings, Stage1Config):
        settings = replace(settings, teacher=replace(settings.teacher, weights="random"))
    B = options.batch
    stage = build(config.model, settings, seed=0, batch_size=B, pretrained=False)
    leave_no_zeros(stage)
    stage.to(device).train()
    batch = random_batch(stage, B, device)
    other, dtype = PlainStep(stage, batch), getattr(torch, config.model.dtype)
    losses = {"float32": assert_equal_losses(stage, other, batch, torch.float32)}
    losses[config.model.dtype] = assert_equal_losses(stage, other, batch, dtype)

    ours = make_optimizer(stage.parameter_groups(), stage, config.optim)
    trained = [x for group in ours.param_groups for x in group["params"]]
    leaves = [x for x in other.parameters.values() if x.requires_grad]
    theirs = torch.optim.AdamW(leaves, config.optim.lr, config.optim.betas, config.optim.eps)

    def update_ours() -> None:
        clip_gradients(trained, config.optim.clip_norm)
        ours.step()
        stage.after_step()
        ours.zero_grad()

    def update_theirs() -> None:
        torch.nn.utils.clip_grad_norm_(leaves, config.optim.clip_norm)
        theirs.step()
        theirs.zero_grad()

    sides = {
        "ours": (
            {
                "teacher": [(stage, "look")],
                "mask": [(stage, "mask")],
                "encoder": [(stage.encoder, "hidden")],
                "predictor": [(stage.predictor, "forward")],
            },
            lambda: our_loss(stage, batch)[0],
            update_ours,
        ),
        "plain": (
            {
                "teacher": [(other, "look"), (other.model, "look")],
                "mask": [(other, "mask"), (other, "mask_view")],
                "encoder": [(other.model, "encode")],
                "predictor": [(other.model, "predict")],
            },
            lambda: other.loss(Native(batch), dtype)[0],
            update_theirs,
        ),
    }
    warm, rounds = (1, 2) if options.quick else (3, options.rounds)
    times: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for _ in range(warm + rounds):
        for name, side in sides.items():
            times[name].append(one_step(device, *side))
    median = {
        name: {part: statistics.median(t[part] for t in found[warm:]) for part in (*PARTS, "step")}
        for name, found in times.items()
    }
    ratio = {part: median["ours"][part] / median["plain"][part] for part in (*PARTS, "step")}
    print(f"{options.preset}, {B} clips, {config.model.dtype}; equal losses: {losses}")
    print_table(median, ratio)
    return {
        "preset": options.preset, "batch": B, "dtype": config.model.dtype, "losses": losses,
        "milliseconds": median, "ratio": ratio,
    }  # fmt: skip


def bench_embedding(options: argparse.Namespace) -> dict:
    """Patch embedding with its norms, positions and cls tokens, a quarter of the tokens kept."""
    B, grid, device = 2, (8, 16, 16), torch.device(options.device)
    N = grid[0] * grid[1] * grid[2]
    config = EncoderConfig(768, 0, 12, 3072, num_frames=grid[0])  # an encoder without its blocks
    encoder = build_encoder(config, seed=0).to(device)
    parameters = {
        name: parameter
        for name, parameter in encoder.named_parameters()
        if not name.startswith("clip_projector")
    }
    generator = torch.Generator().manual_seed(0)
    video = torch.randint(256, (B, 8, 224, 224, 3), generator=generator, dtype=torch.uint8)
    index = masks.evenly(make_keys(0, 0, range(B)), grid, 64)
    probe = torch.randn(B, 4 + index.shape[1], config.width, generator=generator).to(device)
    video, index = video.to(device), index.to(device)
    visible = plain.to_mask(index, N)

    def plain_side(dtype: torch.dtype):
        p = {
            f"encoder.{name}": parameter.detach().to(dtype, copy=True).requires_grad_()
            for name, parameter in parameters.items()
        }
        model, pixels = plain.PlainModel(p, config, None), plain.normalise(video, dtype)
        return lambda: model.embed(pixels, visible), list(p.values())

    def ours() -> Tensor:
        return encoder.hidden(video, index)[0]

    def both_ways(forward: Callable[[], Tensor], leaves: list[Tensor]) -> Callable:
        def run() -> tuple[Tensor, ...]:
            output = forward()
            loss = (output * probe.to(output.dtype)).sum()
            return (output.detach(), loss.detach(), *torch.autograd.grad(loss, leaves))

        return run

    theirs, leaves = plain_side(torch.float32)
    runs = {
        "ours": both_ways(ours, list(parameters.values())),
        "plain": both_ways(theirs, leaves),
        "exact": both_ways(*plain_side(torch.float64)),
    }
    names = ("output", "loss", *parameters)
    for name, *values in zip(names, *(run() for run in runs.values()), strict=True):
        assert_as_good(name, *values)

    case = {"ours forward": ours, "plain forward": theirs}
    case |= {f"{side} forward and backward": runs[side] for side in ("ours", "plain")}
    times = interleaved_medians(case, device, rounds=5 if options.quick else options.rounds)
    median = {
        side: {what: times[f"{side} {what}"] for what in LIMITS} for side in ("ours", "plain")
    }
    ratio = {what: median["ours"][what] / median["plain"][what] for what in LIMITS}
    print(f"embedding, width {config.width}, {B} clips of 8 frames of 224 px, a quarter kept")
    print_table(median, ratio)
    found = {"part": "embedding", "milliseconds": median, "ratio": ratio, "limits": LIMITS}
    missed = [what for what, limit in LIMITS.items() if ratio[what] > limit]
    if missed and options.check:
        raise SystemExit(
            "; ".join(f"{what}: ratio {ratio[what]:.3f}, limit {LIMITS[what]}" for what in missed)
        )
    return found


def assert_as_good(name: str, ours: Tensor, baseline: Tensor, exact: Tensor) -> None:
    """Ours errs from fp64 at most twice as far as plain fp32 does, and four epsilons."""
    floor = 4 * torch.finfo(ours.dtype).eps * exact.abs().max()
    allowed = 2 * (baseline.double() - exact).abs().max() + floor
    error = (ours.double() - exact).abs().max()
    if not error <= allowed:
        raise SystemExit(f"{name}: ours errs by {error:.2g}, allowed is {allowed:.2g}")


def print_table(median: dict[str, dict[str, float]], ratio: dict[str, float]) -> None:
    width = max(map(len, ratio))
    print(f"{'':{width}} {'ours, ms':>10} {'plain, ms':>10} {'ratio':>7}")
    for part, value in ratio.items():
        ours, theirs = median["ours"][part], median["plain"][part]
        print(f"{part:{width}} {ours:10.2f} {theirs:10.2f} {value:7.3f}")


def provenance(device: torch.device) -> dict:
    """What the numbers belong to."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    described = subprocess.run(git, capture_output=True, text=True, check=False)
    return {
        "hardware": hardware(device),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if device.type == "cuda" else "",
        "ivn": ivn.__version__,
        "commit": described.stdout.strip() or "unknown",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--preset", choices=PRESETS, metavar="PRESET", help=", ".join(PRESETS))
    what.add_argument("--part", choices=["embedding"])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, default=2, help="clips a step (default 2)")
    parser.add_argument("--rounds", type=int, default=20, help="timed steps of each side")
    parser.add_argument(
        "--threads", type=int, default=1,
        help="CPU threads, the same for both sides (default 1, which others disturb least)",
    )  # fmt: skip
    parser.add_argument("--check", action="store_true", help="fail over the embedding's limits")
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    about = provenance(torch.device(options.device))
    print(", ".join(f"{key} {value}" for key, value in about.items() if value))
    found = bench_embedding(options) if options.part else bench_preset(options)
    if options.json:
        options.json.write_text(json.dumps(about | found, indent=2) + "\n")


if __name__ == "__main__":
    main()
