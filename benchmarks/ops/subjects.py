"""Makes cases to measure from an operation and its inputs."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from ivn.benchmarks.harness.measure import Call, Case

Function = Callable[..., Tensor | Sequence[Tensor]]
# An elementwise result may be off by a few roundings.
ROUNDINGS = 8


def both_directions(
    case: str,
    shape: str,
    functions: dict[str, Function],
    inputs: Sequence[Tensor],
    *,
    dtype: torch.dtype,
    moved: int,
    slack: float = ROUNDINGS,
    trained: Sequence[int] = (),
    moved_back: int = 0,
    slack_back: float = ROUNDINGS,
    others: dict[str, Call] | None = None,
    uncompiled: str = "",
    uncaptured: dict[str, str] | None = None,
) -> Iterator[Case]:
    """Returns the forward case of an operation and, if it has a gradient, the case with backward.

    Args:
        case, shape, dtype: see :class:`Case`.
        functions: name -> function of ``inputs``; "ours" is first, "eager" gives the right answer
            and is compiled, too.
        inputs: arguments of every function.
        moved: bytes that any implementation of the forward must read and write.
        slack: see :class:`Case`.
        trained: numbers of the inputs that have gradients.
        moved_back: further bytes that the backward must read and write.
        slack_back: ``slack`` of the gradients.
        others: see :class:`Case`.
        uncompiled: reason not to compile "eager"; "" compiles it.
        uncaptured: see :class:`Case`.
    """
    notes = {"compiled": f"skipped: {uncompiled}"} if uncompiled else {}
    if not uncompiled:
        functions = functions | {"compiled": _compiled(functions["eager"])}
    with torch.no_grad():
        expected = functions["eager"](*inputs)
    yield Case(
        *(case, shape, dtype, "forward"),
        {name: partial(_without_gradient, f, inputs) for name, f in functions.items()},
        expected,
        slack,
        moved,
        others or {},
        notes,
        uncaptured or {},
    )
    if not trained:
        return
    outputs = expected if isinstance(expected, (tuple, list)) else (expected,)
    cotangents = [torch.randn_like(one) for one in outputs]
    leaves = [
        one.detach().clone().requires_grad_() if i in trained else one
        for i, one in enumerate(inputs)
    ]
    del expected, outputs
    both = {
        name: partial(_gradients, f, leaves, trained, cotangents) for name, f in functions.items()
    }
    answer = both["eager"]()
    moved += moved_back
    yield Case(*(case, shape, dtype, "with backward"), both, answer, slack_back, moved, notes=notes)


def total_bytes(*tensors: Tensor) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def _compiled(function: Function) -> Function:
    # Forgets other shapes: after several PyTorch would silently stop compiling.
    torch.compiler.reset()
    return torch.compile(function, dynamic=False, fullgraph=True)


def _without_gradient(function: Function, inputs: Sequence[Tensor]) -> Tensor | Sequence[Tensor]:
    with torch.no_grad():
        return function(*inputs)


def _gradients(
    function: Function, inputs: Sequence[Tensor], trained: Sequence[int], cotangents: list[Tensor]
) -> Sequence[Tensor]:
    outputs = function(*inputs)
    outputs = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
    return torch.autograd.grad(outputs, [inputs[i] for i in trained], cotangents)
