"""Fused norms: values and gradients against fp64, at the edges, compiled, and what is refused."""

from functools import partial

import pytest
import torch

from ivn.ops._device import INTERPRETED
from ivn.ops.norm import (
    add_norm,
    add_norm_reference,
    qk_norm,
    qk_norm_reference,
    rms_norm,
    rms_norm_reference,
)
from tests.capture import assert_captured
from tests.closeness import assert_as_good_as, cotangent

EPS = 1e-6
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
# Triton's interpreter cuts fp32 to bf16 instead of rounding it: twice the error.
TIMES = {dtype: 4 if INTERPRETED and dtype == torch.bfloat16 else 2 for dtype in DTYPES}
SHAPES = [
    pytest.param((64, 192), id="tiny"),
    pytest.param((3, 5, 768), id="batched"),
    pytest.param((9, 1408), id="huge"),
    pytest.param((7, 33), id="odd"),
    pytest.param((1, 1), id="smallest"),
]


def serves(device, dtype):
    """Everything but fp16 in the C++ version."""
    return device == "cuda" or INTERPRETED or dtype != torch.float16


def add_norm_inputs(shape, device, x_dtype, branch_dtype):
    draw = torch.Generator().manual_seed(1)
    x, branch = (torch.randn(shape, generator=draw, dtype=torch.float64) for _ in range(2))
    scale, weight = (1 + 0.3 * torch.randn(2, shape[-1], generator=draw)).unbind()
    drop = torch.where(torch.rand(shape[:-1], generator=draw) < 0.3, 0.0, 1 / 0.7)
    inputs = (x.to(x_dtype), branch.to(branch_dtype), scale, drop, weight)
    return [one.to(device) for one in inputs]


def with_gradients(function, inputs, trained):
    """Outputs, and the gradients of ``trained`` for cotangents that are the same each time."""
    inputs = [one.detach().clone().requires_grad_(i in trained) for i, one in enumerate(inputs)]
    outputs = function(*inputs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    leaves, cotangents = [inputs[i] for i in trained], [cotangent(out) for out in outputs]
    gradients = torch.autograd.grad(outputs, leaves, cotangents)
    return [*(out.detach() for out in outputs), *gradients]


def plain_add_norm(x, branch, scale, drop, weight):
    C = x.shape[-1]
    stream, normed = add_norm_reference(
        x.reshape(-1, C), branch.reshape(-1, C), scale, drop.reshape(-1), weight, EPS
    )
    return stream.view(x.shape), normed.view(x.shape)


def plain_qk_norm(qkv, q_weight, k_weight):
    weights = torch.stack([q_weight, k_weight]).to(torch.promote_types(qkv.dtype, torch.float32))
    return qk_norm_reference(qkv.unflatten(-1, (3, -1)).flatten(0, -3), weights, EPS).view(
        qkv.shape
    )


def qkv_inputs(shape, device, dtype):
    draw = torch.Generator().manual_seed(3)
    qkv = torch.randn(*shape[:-1], 3 * shape[-1], generator=draw, dtype=torch.float64)
    weights = 1 + 0.3 * torch.randn(2, shape[-1], generator=draw)
    return [qkv.to(dtype).to(device), *weights.to(device).unbind()]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stream", ["fp32", "same"])
@pytest.mark.parametrize("shape", SHAPES[:-1])
def test_rms_norm_matches_double_precision(shape, stream, dtype, device):
    x, _, _, _, weight = add_norm_inputs(shape, device, torch.float64, dtype)
    x = x.to(torch.float32 if stream == "fp32" else dtype)
    if not serves(device, dtype):
        with pytest.raises(ValueError, match="expected on a CPU both"):
            rms_norm(x, weight, dtype=dtype)
        return
    ours = with_gradients(partial(rms_norm, dtype=dtype), [x, weight], [0, 1])
    plain = partial(rms_norm_reference, eps=EPS)
    baseline = with_gradients(partial(plain, dtype=dtype), [x, weight], [0, 1])
    wide = [x.double(), weight.double()]
    exact = with_gradients(partial(plain, dtype=torch.float64), wide, [0, 1])
    for actual, same, truth in zip(ours, baseline, exact, strict=True):
        assert_as_good_as(actual, same, truth, times=TIMES[dtype])


def test_rms_norm_does_not_see_the_scale_of_its_rows(device):
    x, _, _, _, weight = add_norm_inputs((5, 33), device, torch.float64, torch.float64)
    once, thrice = (rms_norm(x * by, weight, eps=0.0, dtype=torch.float64) for by in (1, 3))
    torch.testing.assert_close(once, thrice)


@pytest.mark.parametrize("branch_dtype", DTYPES)
@pytest.mark.parametrize("stream", ["fp32", "branch"])
@pytest.mark.parametrize("shape", SHAPES)
def test_add_norm_matches_double_precision(shape, stream, branch_dtype, device):
    x_dtype = torch.float32 if stream == "fp32" else branch_dtype
    inputs = add_norm_inputs(shape, device, x_dtype, branch_dtype)
    trained = [0, 1, 2, 4]
    if not serves(device, branch_dtype):
        with pytest.raises(ValueError, match="expected on a CPU both"):
            add_norm(*inputs)
        return
    ours = with_gradients(add_norm, inputs, trained)
    baseline = with_gradients(plain_add_norm, inputs, trained)
    exact = with_gradients(plain_add_norm, [one.double() for one in inputs], trained)
    for actual, same, truth in zip(ours, baseline, exact, strict=True):
        if shape != (1, 1):  # of one feature the norm is a sign, its gradient rounding alone
            assert_as_good_as(actual, same, truth, times=TIMES[branch_dtype])
        else:
            torch.testing.assert_close(actual, truth.to(actual.dtype), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES[:-1])
def test_qk_norm_matches_double_precision(shape, dtype, device):
    inputs = qkv_inputs(shape, device, dtype)
    if not serves(device, dtype):
        with pytest.raises(ValueError, match="expected on a CPU both"):
            qk_norm(*inputs)
        return
    ours = with_gradients(qk_norm, inputs, [0, 1, 2])
    baseline = with_gradients(plain_qk_norm, inputs, [0, 1, 2])
    exact = with_gradients(plain_qk_norm, [one.double() for one in inputs], [0, 1, 2])
    for actual, same, truth in zip(ours, baseline, exact, strict=True):
        assert_as_good_as(actual, same, truth, times=TIMES[dtype])


def test_values_pass_qk_norm_untouched(device):
    qkv, *weights = qkv_inputs((4, 24), device, torch.bfloat16)
    normed = qk_norm(qkv, *weights)
    assert torch.equal(normed[:, 48:], qkv[:, 48:])
    assert not torch.equal(normed[:, :48], qkv[:, :48])


def test_a_dropped_branch_leaves_the_stream_as_it_was(device):
    x, branch, scale, drop, weight = add_norm_inputs((5, 16), device, torch.float32, torch.float32)
    drop[2] = 0
    branch.requires_grad_()
    stream, normed = add_norm(x, branch, scale, drop, weight)
    assert torch.equal(stream[2], x[2]) and not torch.equal(stream[1], x[1])
    (grad,) = torch.autograd.grad(normed.sum() + stream.sum(), branch)
    assert not grad[2].any() and grad[1].any()


@pytest.mark.parametrize("bits", [0x7FC00000, 0x7FFFFFFF, -1])
@pytest.mark.parametrize("branch_dtype", [torch.float32, torch.bfloat16])
def test_no_number_stays_no_number(bits, branch_dtype, device):
    x, branch, scale, drop, weight = add_norm_inputs((3, 8), device, torch.float32, branch_dtype)
    x[1, 2] = torch.tensor(bits, dtype=torch.int32).view(torch.float32)
    stream, normed = add_norm(x, branch, scale, drop, weight)
    assert stream[1, 2].isnan() and normed[1].isnan().all() and not normed[0].isnan().any()


def test_rows_of_zeros_stay_finite(device):
    x, branch, scale, drop, weight = add_norm_inputs((3, 8), device, torch.float32, torch.float32)
    outputs = with_gradients(add_norm, [x * 0, branch * 0, scale, drop, weight], [0, 1, 2, 4])
    assert all(output.isfinite().all() for output in outputs)


def test_no_rows(device):
    inputs = add_norm_inputs((0, 8), device, torch.float32, torch.float32)
    outputs = with_gradients(add_norm, inputs, [0, 1, 2, 4])
    assert [list(output.shape) for output in outputs] == [[0, 8]] * 4 + [[8]] * 2
    assert not outputs[-1].any()
    rms = with_gradients(partial(rms_norm, dtype=torch.float32), [inputs[0], inputs[4]], [0, 1])
    assert rms[0].shape == (0, 8) and not rms[-1].any()
    qkv = with_gradients(qk_norm, qkv_inputs((0, 8), device, torch.float32), [0, 1, 2])
    assert qkv[0].shape == (0, 24) and not qkv[-1].any()


def test_gradients_pass_gradcheck(device):
    inputs = [one.double() for one in add_norm_inputs((3, 5), device, *[torch.float64] * 2)]
    trained = [one.requires_grad_(i != 3) for i, one in enumerate(inputs)]
    assert torch.autograd.gradcheck(add_norm, trained)
    alone = partial(rms_norm, dtype=torch.float64)
    assert torch.autograd.gradcheck(alone, (trained[0], trained[4]))
    trained = [one.double().requires_grad_() for one in qkv_inputs((3, 4), device, torch.float64)]
    assert torch.autograd.gradcheck(qk_norm, trained)


def test_opcheck(device):
    inputs = add_norm_inputs((4, 33), device, torch.float32, torch.float32)
    trained = [one.requires_grad_(i != 3) for i, one in enumerate(inputs)]
    torch.library.opcheck(torch.ops.ivn.add_norm.default, (*trained, EPS))
    alone = (trained[0], trained[4], EPS, torch.float32)
    torch.library.opcheck(torch.ops.ivn.rms_norm.default, alone)
    qkv, *weights = qkv_inputs((4, 33), device, torch.float32)
    arguments = (qkv.view(4, 3, 33).requires_grad_(), torch.stack(weights).requires_grad_(), EPS)
    torch.library.opcheck(torch.ops.ivn.qk_norm.default, arguments)


def test_compiles_into_one_graph_with_its_gradient(device):
    for function, inputs, trained in [
        (add_norm, add_norm_inputs((4, 33), device, *[torch.float32] * 2), [0, 1, 2, 4]),
        (
            partial(rms_norm, dtype=torch.bfloat16),
            add_norm_inputs((4, 33), device, *[torch.float32] * 2)[::4],
            [0, 1],
        ),
        (qk_norm, qkv_inputs((4, 33), device, torch.float32), [0, 1, 2]),
    ]:
        compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
        ours, expected = (with_gradients(f, inputs, trained) for f in (compiled, function))
        torch.testing.assert_close(ours, expected)


@pytest.mark.gpu
def test_is_captured_in_a_cuda_graph():
    inputs = add_norm_inputs((64, 768), "cuda", torch.float32, torch.bfloat16)
    alone = partial(rms_norm, dtype=torch.bfloat16)
    assert_captured(lambda: with_gradients(add_norm, inputs, [0, 1, 2, 4]), inputs[:2])
    assert_captured(lambda: with_gradients(alone, inputs[::4], [0, 1]), inputs[:1])
    qkv = qkv_inputs((64, 768), "cuda", torch.bfloat16)
    assert_captured(lambda: with_gradients(qk_norm, qkv, [0, 1, 2]), qkv[:1])


def ones(*shape):
    return torch.ones(shape)


REFUSED = {
    "branch": (
        lambda: add_norm(ones(2, 4), ones(2, 3), *[ones(4)] * 1, ones(2), ones(4)),
        "branch",
    ),
    "drop": (lambda: add_norm(ones(2, 4), ones(2, 4), ones(4), ones(4), ones(4)), "drop"),
    "scale": (lambda: add_norm(ones(2, 4), ones(2, 4), ones(3), ones(2), ones(4)), "scale is"),
    "weight": (lambda: add_norm(ones(2, 4), ones(2, 4), ones(4), ones(2), ones(5)), "weight is"),
    "integers": (
        lambda: add_norm(ones(2, 4), ones(2, 4).int(), ones(4), ones(2), ones(4)),
        "expected floating point",
    ),
    "no features": (lambda: rms_norm(ones(2, 0), ones(0), dtype=torch.float32), "rms_norm: x is"),
    "thirds": (lambda: qk_norm(ones(2, 4), ones(1), ones(1)), r"expected \[..., 3 \* C\]"),
    "q weight": (lambda: qk_norm(ones(2, 6), ones(3), ones(2)), "q_weight is"),
}


@pytest.mark.parametrize(("ask", "words"), REFUSED.values(), ids=REFUSED)
def test_wrong_arguments_are_refused(ask, words):
    with pytest.raises(ValueError, match=words):
        ask()


@pytest.mark.skipif(INTERPRETED, reason="it is the C++ version that checks what it reads")
def test_an_operation_refuses_a_tensor_whose_rows_lie_elsewhere_than_it_reads():
    """A program that was traced at another size could pass such a tensor."""
    x, weight = torch.ones(6, 8), torch.ones(8)
    drop = torch.ones(1).expand(6)
    with pytest.raises(RuntimeError, match=r"add_norm: a tensor \[6\] has strides \[0\]"):
        torch.ops.ivn.add_norm(x, x, weight, drop, weight, 1e-6)
