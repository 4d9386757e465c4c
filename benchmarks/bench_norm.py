"""``add_norm`` and ``qk_norm`` with their gradients against eager and compiled PyTorch.

python benchmarks/bench_norm.py --device cpu
"""

from functools import partial

import torch
from measure import Report, arguments

from ivn.ops.norm import add_norm, add_norm_reference, qk_norm, qk_norm_reference

EPS = 1e-6
# name, rows, features: 16 clips of stage one's visible tokens, and of all tokens
SIZES = {
    "cpu": [("tiny", 1056, 192), ("base", 1672, 768)],
    "cuda": [("base", 13376, 768), ("base whole", 65600, 768), ("huge", 65600, 1408)],
}


def plain_qk_norm(qkv, q_weight, k_weight):
    weights = torch.stack([q_weight, k_weight])
    return qk_norm_reference(qkv.unflatten(-1, (3, -1)), weights, EPS).flatten(1)


def with_gradients(function, inputs, trained, cotangents):
    outputs = function(*inputs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    return torch.autograd.grad(outputs, [inputs[i] for i in trained], cotangents)


def main() -> None:
    options = arguments(__doc__.splitlines()[0]).parse_args()
    report = Report(options)
    device, dtype = report.device, getattr(torch, options.dtype)
    plain_add_norm = partial(add_norm_reference, eps=EPS)
    for name, R, C in SIZES[device.type][: 1 if options.quick else None]:
        x, branch = torch.randn(2, R, C, device=device).to(dtype).unbind()
        scale, weight = (1 + 0.1 * torch.randn(2, C, device=device)).unbind()
        drop = torch.ones(R, device=device)
        qkv = torch.randn(R, 3 * C, device=device).to(dtype)
        cases = {
            "add_norm": (add_norm, plain_add_norm, [x, branch, scale, drop, weight], [0, 1, 2, 4]),
            "qk_norm": (qk_norm, plain_qk_norm, [qkv, scale, weight], [0, 1, 2]),
        }
        for title, (ours, plain, inputs, trained) in cases.items():
            functions = {
                "ivn": ours,
                "eager": plain,
                "compiled": torch.compile(plain, dynamic=False),
            }
            forward = {key: partial(f, *inputs) for key, f in functions.items()}
            expected = plain(*inputs)
            large = [one for one in inputs if one.ndim == 2]
            made = expected if isinstance(expected, tuple) else (expected,)
            moved = sum(one.nbytes for one in (*large, *made))
            atol = 4 * torch.finfo(dtype).eps * max(float(one.abs().max()) for one in made)
            report.add(f"{name} {title} {R} x {C}", forward, expected, moved, atol)

            leaves = [one.clone().requires_grad_(i in trained) for i, one in enumerate(inputs)]
            cotangents = [torch.randn_like(one) for one in made]
            both = {
                key: partial(with_gradients, f, leaves, trained, cotangents)
                for key, f in functions.items()
            }
            answer = with_gradients(plain, leaves, trained, cotangents)
            # Sums over all rows, in whatever order: their rounding grows with the root of R.
            largest = max(float(one.abs().max()) for one in answer)
            atol = max(8, R**0.5) * torch.finfo(dtype).eps * largest
            moved += sum(one.nbytes for one in (*made, *large, *large))
            report.add(f"{name} {title} with backward", both, answer, moved, atol)
    report.write()


if __name__ == "__main__":
    main()
