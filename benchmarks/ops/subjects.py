"""From an operation and its inputs to the cases that are measured."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from ivn.benchmarks.harness.measure import Call, Case

Function = Callable[..., Tensor | Sequence[Tensor]]
# An elementwise result may be a few roundings off.
ROUNDINGS = 8


def cases(
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
    """The forward case of an operation, and the one with its backward where it has one.

    Args:
        case, shape, dtype: see :class:`Case`.
        functions: name -> what takes ``inputs``; "ours" first, "eager" says what is right and is
            compiled, too.
        inputs: of every function, in its order.
        moved: bytes of the forward that any implementation must read and write.
        slack: see :class:`Case`.
        trained: which inputs have gradients.
        moved_back: bytes that the backward must read and write besides.
        slack_back: as ``slack``, of the gradients.
        others: see :class:`Case`.
        uncompiled: why "eager" is not compiled; "" compiles it.
        uncaptured: see :class:`Case`.
    """
    notes = {"compiled": f"left out: {uncompiled}"} if uncompiled else {}
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
    # Forgets other shapes: after some of them PyTorch would quietly stop compiling.
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
