"""Measures the training loop's own share of a step on the CPU, without health and checkpoints.

python benchmarks/steps/bench_loop.py --check

These are real steps of stage1-tiny on the bundled clips, each fetched, logged and shown
(run.log_every=1, which is the most work for the loop). The loop's own part is all of a step but

    model       the stage's loss, its teacher in it, and the backward pass
    optimizer   clipping and AdamW
    wait        until the batch is decoded, in this process: no workers compete for the cores
    health      health of the step, measured in a run every run.log_every steps
    checkpoint  checkpoint, written in a run every run.save_every steps

and its share is that of a step without the last three, which never waits.
"""

import argparse
import contextlib
import io
import itertools
import statistics
import tempfile
from pathlib import Path

import torch

from ivn import run
from ivn.benchmarks.harness import script
from ivn.benchmarks.harness.part_times import PartTimes
from ivn.config.presets import PRESETS
from ivn.config.run import Config, override
from ivn.data.loader.loader import ClipLoader
from ivn.media.source import BUNDLED_CLIPS
from ivn.stages.build import build_stage
from ivn.train import loop
from ivn.train.health import HealthCheck
from ivn.train.optimizer import SkippingAdamW

LIMIT = 0.03
WARM = 2
PRESET = PRESETS["stage1-tiny"]
# What a step's spans are, but for the model, whose class the preset's config knows.
PARTS = {
    "optimizer": [(loop, "clip_gradients"), (SkippingAdamW, "step_if")],
    "wait": [(ClipLoader, "__next__")],
    "health": [(HealthCheck, name) for name in ("__init__", "stepped", "fetch")],
    "checkpoint": [(loop._Trainer, "_save")],
}


def steps_of(spans: list[tuple[str, float, float]]) -> list[dict[str, float]]:
    """Returns milliseconds of each part of every step but the last; a step begins with its wait."""
    starts = [start for name, start, _ in spans if name == "wait"]
    found = []
    for begin, end in itertools.pairwise(starts):
        step = dict.fromkeys(["model", *PARTS], 0.0)
        for name, start, stop in spans:
            if begin <= start < end:
                step[name] += (stop - start) * 1e3
        found.append(step | {"loop": (end - begin) * 1e3 - sum(step.values())})
    return found


def train(config: Config) -> list[dict[str, float]]:
    """Trains, and returns milliseconds of each part of the steps."""
    clock = PartTimes(torch.device("cpu"))
    stage = type(build_stage(config.model, config.stage, seed=0, batch_size=1, pretrained=False))
    parts = PARTS | {"model": [(stage, "loss"), (torch.Tensor, "backward")]}
    with (
        tempfile.TemporaryDirectory() as place,
        contextlib.redirect_stdout(io.StringIO()),
        clock.watching(parts),
    ):
        code = run.start(config, data=BUNDLED_CLIPS, out=Path(place) / "run")
    assert code == 0
    return steps_of(clock.spans)


def bench(options: argparse.Namespace) -> dict:
    preset = PRESET()
    steps = WARM + (3 if options.quick else options.rounds) + 1
    config = override(
        preset,
        *(f"optim.steps={steps}", f"optim.batch_size={options.batch}", "run.log_every=1"),
        *(f"run.save_every={steps - 2}", "efficiency.device=cpu", "efficiency.workers=0"),
        f"efficiency.threads={options.threads}",
    )
    found = train(config)[WARM:]
    median = {
        name: statistics.median(step[name] for step in found)
        for name in ("loop", "model", "optimizer", "wait", "health")
    }
    median["checkpoint"] = max(step["checkpoint"] for step in found)
    share = statistics.median(
        step["loop"] / (step["loop"] + step["model"] + step["optimizer"]) for step in found
    )
    busy = median["loop"] + median["model"] + median["optimizer"]
    apart = {
        "health": median["health"] / busy / preset.run.log_every,
        "checkpoint": median["checkpoint"] / busy / preset.run.save_every,
    }
    print(f"stage1-tiny, {options.batch} clips a step, medians of {len(found)} steps:")
    for name, value in median.items():
        print(f"  {name:10} {value:10.2f} ms")
    print(f"the loop's own share {share:.2%}, limit {LIMIT:.0%}")
    print(
        f"apart from it: health every {preset.run.log_every} steps {apart['health']:.2%}, "
        f"a checkpoint every {preset.run.save_every} {apart['checkpoint']:.2%}"
    )
    return {"milliseconds": median, "share": share, "limit": LIMIT, "apart": apart}


def main() -> None:
    parser = script.parser(__doc__, rounds=10, on_gpus=False)
    parser.add_argument("--batch", type=int, default=8, help="clips a step (default 8, tiny's own)")
    options = parser.parse_args()
    found = script.started(options) | bench(options)
    script.write(found, options)
    if options.check and found["share"] > LIMIT:
        raise SystemExit(f"the loop's own share is {found['share']:.2%}, limit {LIMIT:.0%}")


if __name__ == "__main__":
    main()
