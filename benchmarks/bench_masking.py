"""Masks from keys against the same in eager PyTorch.

python benchmarks/bench_masking.py --device cpu
"""

from functools import partial

import torch
from measure import Report, arguments

from ivn.ops import masking
from ivn.ops.random import make_keys

# name, B, T, L, kept of a frame: stage one's masks
SAMPLED = {
    "cpu": [("tiny", 8, 8, 64, 13), ("base", 16, 16, 256, 51)],
    "cuda": [("base", 16, 16, 256, 51), ("base 75%", 16, 16, 256, 64)],
}
# name, B, T, side, blocks, height, width, kept: stage two's
BLOCKS = {
    "cpu": [("tiny", 8, 8, 8, 8, 3, 3, 100), ("base", 16, 32, 16, 8, 6, 6, 1600)],
    "cuda": [("base", 16, 32, 16, 8, 6, 6, 1600)],
}


def main() -> None:
    options = arguments(__doc__.splitlines()[0]).parse_args()
    report = Report(options)
    device = report.device
    for name, B, T, L, kept in SAMPLED[device.type][: 1 if options.quick else None]:
        weights, keys = torch.rand(B, T, L, device=device) + 1e-3, make_keys(1, 2, range(B))
        keys = keys.to(device)
        case = {
            "ivn": partial(masking.sample_tokens, weights, keys, kept),
            "eager": partial(masking.sample_tokens_reference, weights, keys, kept, True),
        }
        moved = weights.nbytes + 8 * B * T * kept
        report.add(f"{name} sample {B} x {T} x {L}", case, case["eager"](), moved, atol=0)
    for name, B, T, side, count, height, width, kept in BLOCKS[device.type][
        : 1 if options.quick else None
    ]:
        keys = make_keys(1, 2, range(B)).to(device)
        blocks = dict(count=count, height=height, width=width)
        case = {
            "ivn": partial(masking.hide_blocks, keys, side, side, **blocks),
            "eager": lambda keys=keys, side=side, blocks=blocks: masking.hide_blocks_reference(
                keys, side, side, *blocks.values(), 0
            ).bool(),
        }
        hidden = case["eager"]()
        report.add(f"{name} hide {B} x {side} x {side}", case, hidden, hidden.nbytes, atol=0)
        case = {
            "ivn": partial(masking.random_open_tokens, hidden, keys, T, kept),
            "eager": partial(masking.open_tokens_reference, hidden, keys, T, kept, True, 0),
        }
        index = case["eager"]()
        moved = hidden.nbytes + index.nbytes
        report.add(f"{name} open {B} x {T * side**2}", case, index, moved, atol=0)
        case = {
            "ivn": partial(masking.other_tokens, index, T * side**2),
            "eager": partial(masking.other_tokens_reference, index, T * side**2),
        }
        rest = case["eager"]()
        moved = index.nbytes + rest.nbytes
        report.add(f"{name} others {B} x {T * side**2}", case, rest, moved, atol=0)
    report.write()


if __name__ == "__main__":
    main()
