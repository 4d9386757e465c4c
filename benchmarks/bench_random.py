"""Keyed normal numbers against plain PyTorch's own, keyed and not.

python benchmarks/bench_random.py --device cpu
"""

from functools import partial

import torch
from measure import Report, arguments

from ivn.ops.random import Purpose, make_keys, normal, normal_reference

# name, B, numbers a clip: the noise of stage one's masked patches
SIZES = {
    "cpu": [("tiny", 8, 408 * 588), ("base", 1, 3280 * 588)],
    "cuda": [("base", 16, 3280 * 588)],
}


def main() -> None:
    options = arguments(__doc__.splitlines()[0]).parse_args()
    report = Report(options)
    for name, B, count in SIZES[report.device.type][: 1 if options.quick else None]:
        keys = make_keys(1, 2, range(B)).to(report.device)
        purpose = Purpose.NOISE << 24
        case = {
            "ivn": partial(normal, keys, Purpose.NOISE, count),
            "eager": partial(normal_reference, keys, count, purpose, torch.float32),
        }
        expected = case["eager"]()
        report.add(f"{name} {B} x {count}", case, expected, expected.nbytes, atol=4e-6)
    report.write()


if __name__ == "__main__":
    main()
