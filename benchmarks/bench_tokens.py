"""``gather_tokens`` and its gradient against eager and compiled PyTorch.

python benchmarks/bench_tokens.py --device cpu
"""

import torch
from measure import Report, arguments

from ivn.ops import gather_tokens
from ivn.ops.tokens import gather_tokens_reference

# name, B, N, D, kept: the tokens of 16 frames of 224 px, and of 8 frames of 112 px
SIZES = {
    "cpu": [("tiny", 8, 512, 192, 0.25), ("base", 2, 4096, 768, 0.25)],
    "cuda": [("base", 64, 4096, 768, 0.25), ("base 80%", 32, 4096, 768, 0.8)],
}


def main() -> None:
    options = arguments(__doc__.splitlines()[0]).parse_args()
    report = Report(options)
    implementations = {
        "ivn": gather_tokens,
        "eager": gather_tokens_reference,
        "compiled": torch.compile(gather_tokens_reference, dynamic=False),
    }
    for name, B, N, D, kept in SIZES[report.device.type][: 1 if options.quick else None]:
        tokens = torch.randn(B, N, D, device=report.device).to(getattr(torch, options.dtype))
        order = torch.rand(B, N, device=report.device).argsort(1)
        index = order[:, : int(N * kept)].sort(1).values
        expected = gather_tokens_reference(tokens, index)
        forward = {
            key: lambda gather=gather, x=tokens, i=index: gather(x, i)
            for key, gather in implementations.items()
        }
        moved = 2 * expected.nbytes + index.nbytes
        report.add(f"{name} {B} x {N} x {D} forward", forward, expected, moved, atol=0)

        tokens = tokens.requires_grad_()
        grad = torch.randn_like(expected)

        def both(gather, tokens=tokens, index=index, grad=grad):
            return torch.autograd.grad(gather(tokens, index), tokens, grad)

        backward = {
            key: lambda gather=gather, both=both: both(gather)
            for key, gather in implementations.items()
        }
        moved += grad.nbytes + index.nbytes + tokens.nbytes
        answer = both(gather_tokens_reference)
        report.add(f"{name} {B} x {N} x {D} with backward", backward, answer, moved, atol=0)
    report.write()


if __name__ == "__main__":
    main()
