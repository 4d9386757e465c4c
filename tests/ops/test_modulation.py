"""Adaptive LayerNorms: values and gradients against fp64, at the edges, and what is refused."""

from functools import partial

import pytest
import torch

from ivn.ops._device import INTERPRETED
from ivn.ops.modulation import (
    gated_modulate,
    gated_modulate_reference,
    modulate,
    modulate_reference,
)
from tests.capture import assert_captured
from tests.closeness import assert_as_good_as, cotangent

EPS = 1e-6
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
# Triton's interpreter cuts fp32 to bf16 instead of rounding it: twice the error.
TIMES = {dtype: 4 if INTERPRETED and dtype == torch.bfloat16 else 2 for dtype in DTYPES}
SHAPES = [
    pytest.param((9, 640), id="tiny"),
    pytest.param((2, 5, 1536), id="batched"),
    pytest.param((7, 33), id="odd"),
]
ROWS = {modulate: 3, gated_modulate: 5}  # x, shift, scale; or x, gate, branch, shift, scale
REFERENCES = {modulate: modulate_reference, gated_modulate: gated_modulate_reference}
BOTH = pytest.mark.parametrize("function", [modulate, gated_modulate], ids=lambda f: f.__name__)
AFFINE = pytest.mark.parametrize("affine", [True, False], ids=["affine", "bare"])


def arguments(function, shape, device, dtype=torch.float32, *, affine=True):
    draw = torch.Generator().manual_seed(1)
    rows = torch.randn(ROWS[function], *shape, generator=draw, dtype=torch.float64)
    rows[0] += 0.5  # a mean to take out
    weight, bias = torch.randn(2, shape[-1], generator=draw).to(device)
    vectors = [1 + 0.3 * weight, bias] if affine else []
    return [*(one.to(dtype).to(device) for one in rows), *vectors]


def complete(function, inputs):
    """``function(*inputs)``, without weight and bias where the inputs end before them."""
    absent = [None] * (ROWS[function] + 2 - len(inputs))
    return function(*inputs, *absent, eps=EPS)


def plain(function, inputs):
    """The reference, for rows in any number of dimensions."""
    x, rest, vectors = inputs[0], inputs[1 : ROWS[function]], inputs[ROWS[function] :]
    W = x.shape[-1]
    wide = torch.promote_types(x.dtype, torch.float32)
    affine = torch.stack(vectors).to(wide) if vectors else x.new_empty(0, W, dtype=wide)
    out = REFERENCES[function](*(one.reshape(-1, W) for one in (x, *rest)), affine, EPS)
    return [one.view(x.shape) for one in (out if isinstance(out, tuple) else (out,))]


def with_gradients(run, inputs):
    """Outputs and the gradients of all inputs, for cotangents that are the same each time."""
    inputs = [one.detach().clone().requires_grad_() for one in inputs]
    outputs = run(inputs)
    outputs = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
    cotangents = [cotangent(out) for out in outputs]
    return [*(out.detach() for out in outputs), *torch.autograd.grad(outputs, inputs, cotangents)]


@AFFINE
@BOTH
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_matches_double_precision(shape, dtype, function, affine, device):
    inputs = arguments(function, shape, device, dtype, affine=affine)
    if device == "cpu" and dtype == torch.float16 and not INTERPRETED:
        with pytest.raises(ValueError, match="expected on a CPU fp32, bf16 or fp64"):
            complete(function, inputs)
        return
    ours = with_gradients(partial(complete, function), inputs)
    baseline = with_gradients(partial(plain, function), inputs)
    exact = with_gradients(partial(plain, function), [one.double() for one in inputs])
    for actual, same, truth in zip(ours, baseline, exact, strict=True):
        assert_as_good_as(actual, same, truth, times=TIMES[dtype])


@BOTH
def test_chunks_of_one_tensor_are_read_where_they_lie(function, device):
    x, *rest = arguments(function, (2, 5, 48), device, affine=False)

    def of_chunks(inputs):
        chunks = inputs[1].chunk(len(rest), dim=-1)
        assert not chunks[0].is_contiguous()
        return complete(function, [inputs[0], *chunks])

    apart = with_gradients(partial(complete, function), [x, *rest])
    *ours, grad_wide = with_gradients(of_chunks, [x, torch.cat(rest, dim=-1)])
    together = [*apart[: -len(rest)], torch.cat(apart[-len(rest) :], dim=-1)]
    torch.testing.assert_close([*ours, grad_wide], together, rtol=0, atol=0)


@BOTH
def test_columns_of_a_matrix_are_rows_too(function, device):
    inputs = arguments(function, (6, 8), device, affine=False)
    turned = [one.t().contiguous().t() for one in inputs]
    ours, expected = complete(function, turned), complete(function, inputs)
    torch.testing.assert_close(ours, expected, rtol=0, atol=0)


def test_a_gate_of_zero_leaves_the_stream_as_it_was(device):
    x, gate, *rest = arguments(gated_modulate, (5, 16), device)
    stream, out = gated_modulate(x, torch.zeros_like(gate), *rest)
    assert torch.equal(stream, x)
    torch.testing.assert_close(out, modulate(x, *rest[1:]), rtol=0, atol=0)


def test_the_norm_is_that_of_the_rounded_stream(device):
    x, gate, branch, *rest = arguments(gated_modulate, (5, 64), device, torch.bfloat16)
    stream, out = gated_modulate(x, gate, branch, *rest)
    torch.testing.assert_close(out, modulate(stream, *rest), rtol=0, atol=0)


@BOTH
def test_a_constant_added_to_the_stream_changes_no_norm(function, device):
    x, *rest = arguments(function, (5, 64), device)
    before, after = complete(function, [x, *rest]), complete(function, [x + 3, *rest])
    if function is gated_modulate:
        before, after = before[1], after[1]
    torch.testing.assert_close(after, before, rtol=0, atol=1e-4)


@BOTH
def test_no_number_stays_no_number(function, device):
    inputs = arguments(function, (3, 8), device, torch.bfloat16)
    inputs[0][1, 2] = torch.nan
    out = complete(function, inputs)
    out = out if function is modulate else out[1]
    assert out[1].isnan().all() and not out[[0, 2]].isnan().any()


@BOTH
def test_rows_of_zeros_stay_finite(function, device):
    inputs = [torch.zeros_like(one) for one in arguments(function, (3, 8), device)]
    outputs = with_gradients(partial(complete, function), inputs)
    assert all(output.isfinite().all() for output in outputs)


@AFFINE
@BOTH
def test_no_rows(function, affine, device):
    inputs = arguments(function, (0, 8), device, affine=affine)
    results = with_gradients(partial(complete, function), inputs)
    made = 1 if function is modulate else 2
    assert [one.shape for one in results[made:]] == [one.shape for one in inputs]
    assert not any(one.any() for one in results)


@AFFINE
@BOTH
def test_gradients_pass_gradcheck(function, affine, device):
    inputs = arguments(function, (3, 5), device, torch.float64, affine=affine)
    trained = [one.double().requires_grad_() for one in inputs]
    assert torch.autograd.gradcheck(lambda *given: complete(function, given), trained)


@AFFINE
@BOTH
def test_opcheck(function, affine, device):
    rows = arguments(function, (4, 33), device, affine=False)
    matrix = torch.randn(2 if affine else 0, 33, device=device)
    given = [one.requires_grad_() for one in (*rows, matrix)]
    torch.library.opcheck(getattr(torch.ops.ivn, function.__name__).default, (*given, EPS))


@AFFINE
@BOTH
def test_compiles_into_one_graph_with_its_gradient(function, affine, device):
    inputs = arguments(function, (4, 33), device, affine=affine)
    run = partial(complete, function)
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(with_gradients(compiled, inputs), with_gradients(run, inputs))


@pytest.mark.gpu
@BOTH
def test_captured_in_a_cuda_graph(function):
    inputs = arguments(function, (64, 640), "cuda", torch.bfloat16)
    assert_captured(lambda: with_gradients(partial(complete, function), inputs), inputs)


def ones(*shape):
    return torch.ones(shape)


REFUSED = {
    "no features": (
        lambda: modulate(ones(2, 0), ones(2, 0), ones(2, 0), None, None),
        r"modulate: x is \[2, 0\] float32 on cpu, expected \[..., W\]",
    ),
    "shift": (
        lambda: modulate(ones(2, 4), ones(2, 3), ones(2, 4), None, None),
        r"modulate: shift is \[2, 3\] float32 on cpu, expected \[2, 4\] float32 on cpu",
    ),
    "scale's dtype": (
        lambda: modulate(ones(2, 4), ones(2, 4), ones(2, 4).bfloat16(), None, None),
        r"scale is \[2, 4\] bfloat16 on cpu",
    ),
    "branch": (
        lambda: gated_modulate(ones(2, 4), ones(2, 4), ones(4), ones(2, 4), ones(2, 4), None, None),
        r"gated_modulate: branch is \[4\] float32",
    ),
    "weight": (
        lambda: modulate(ones(2, 4), ones(2, 4), ones(2, 4), ones(3), ones(4)),
        r"weight is \[3\] float32 on cpu, expected \[4\]",
    ),
    "bias alone": (
        lambda: modulate(ones(2, 4), ones(2, 4), ones(2, 4), None, ones(4)),
        "of weight and bias one is None, expected both or neither",
    ),
    "integers": (
        lambda: modulate(ones(2, 4).int(), ones(2, 4), ones(2, 4), None, None),
        "expected .* in floating point",
    ),
}


@pytest.mark.parametrize(("ask", "words"), REFUSED.values(), ids=REFUSED)
def test_wrong_arguments_are_refused(ask, words):
    with pytest.raises(ValueError, match=words):
        ask()
