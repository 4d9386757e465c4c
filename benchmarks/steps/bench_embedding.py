"""Compares the embedding of a quarter of the tokens with embedding all and dropping the rest.

python benchmarks/steps/bench_embedding.py --check

It measures the purpose of several operations: a dropped patch costs nothing, in pixels, norms,
products with weights or positions, forward or backward.
"""

import argparse
from collections.abc import Callable

import torch
from torch import Tensor

from ivn.benchmarks.harness import script
from ivn.benchmarks.harness.measure import interleaved_medians
from ivn.benchmarks.steps import plain_model as plain
from ivn.keys import make_keys
from ivn.model.encoder import EncoderConfig, build_encoder
from ivn.stages import masks

# Highest time of ours over plain, with a quarter of the tokens kept.
LIMITS = {"forward": 0.35, "forward and backward": 0.20}


def bench_embedding(options: argparse.Namespace) -> dict:
    """Measures patch embedding with norms, positions and cls tokens for a quarter of the tokens."""
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
    rounds = 5 if options.quick else options.rounds
    times, _ = interleaved_medians(case, device, rounds=rounds)
    median = {
        side: {what: times[f"{side} {what}"] for what in LIMITS} for side in ("ours", "plain")
    }
    ratio = {what: median["ours"][what] / median["plain"][what] for what in LIMITS}
    print(f"embedding, width {config.width}, {B} clips of 8 frames of 224 px, a quarter kept")
    print_table(median, ratio)
    return {"part": "embedding", "milliseconds": median, "ratio": ratio, "limits": LIMITS}


def assert_as_good(name: str, ours: Tensor, baseline: Tensor, exact: Tensor) -> None:
    """Checks that our error against fp64 is at most twice that of plain fp32, and four epsilons."""
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


def main() -> None:
    options = script.parser(__doc__, rounds=20, on_gpus=True).parse_args()
    found = script.started(options) | bench_embedding(options)
    script.write(found, options)
    missed = [what for what, limit in LIMITS.items() if found["ratio"][what] > limit]
    if missed and options.check:
        raise SystemExit(
            "; ".join(
                f"{what}: ratio {found['ratio'][what]:.3f}, limit {LIMITS[what]}" for what in missed
            )
        )


if __name__ == "__main__":
    main()
