"""Keyed noise and the hybrid loss: values and gradients against fp64, at the edges, and refused."""

import pytest
import torch

from ivn.keys import Purpose, make_keys
from ivn.model.diffusion import training_steps
from ivn.ops._device import INTERPRETED
from ivn.ops.diffusion import (
    LossTerms,
    Steps,
    diffusion_loss,
    diffusion_loss_reference,
    loss_terms,
    noisy_target,
    noisy_target_reference,
)
from ivn.ops.random import normal
from tests.capture import assert_captured
from tests.closeness import assert_as_good_as

WORD = Purpose.NOISE << 24
WIDE = {torch.float32: torch.float32, torch.bfloat16: torch.float32, torch.float64: torch.float64}
# Triton's interpreter cuts fp32 to bf16 instead of rounding it.
TIMES = 4 if INTERPRETED else 2
SHAPES = [  # samples, rows of each, dimensions
    pytest.param((2, 5, 588), id="model-patches"),
    pytest.param((1, 3, 768), id="wider"),
    pytest.param((2, 3, 7), id="odd"),
    pytest.param((3, 2, 30), id="even"),
    pytest.param((2, 9, 1), id="single"),
]


def case(B, P, D, dtype, device):
    """An output, and the arguments that follow it; row 0 is of step 0 and has extreme pixels."""
    draw = torch.Generator().manual_seed(4)
    target = torch.randn(B * P, D, generator=draw, dtype=torch.float64)
    target[:1] *= 3
    output = torch.randn(B * P, 2 * D, generator=draw, dtype=torch.float64)
    timestep = torch.randint(0, 1000, (B * P,), generator=draw)
    timestep[::5] = 0
    wide = WIDE[dtype]
    keys = make_keys(3, 1, range(B))
    moved = [one.to(device) for one in (target.to(wide), keys, timestep)]
    return output.to(dtype).to(device), (*moved, training_steps(torch.device(device), wide))


def with_gradient(function, output, arguments):
    output = output.detach().clone().requires_grad_()
    terms = LossTerms(*function(output, *arguments))
    weights = torch.linspace(1, 2, len(output), dtype=terms.mse.dtype, device=output.device)
    (grad,) = torch.autograd.grad((terms.mse * weights + terms.variational).sum(), output)
    return terms.mse.detach(), terms.variational.detach(), grad


def reference(output, *arguments):
    return diffusion_loss_reference(output, *arguments, WORD)


def noise_of(target, keys, timestep, steps):
    """The noise itself: a target that fades out entirely, and nothing but noise instead."""
    only = torch.zeros_like(steps)
    only[:, Steps._fields.index("noise")] = 1
    mixed = noisy_target(target, keys, timestep, only, dtype=target.dtype)
    return mixed[:, : target.shape[1]]


@pytest.mark.parametrize("dtype", WIDE)
@pytest.mark.parametrize("shape", SHAPES)
def test_loss_and_gradient_match_the_reference(shape, dtype, device):
    output, arguments = case(*shape, dtype, device)
    ours = with_gradient(diffusion_loss, output, arguments)
    if dtype == torch.float64:
        expected = with_gradient(reference, output, arguments)
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-12)
        return
    # The same noise for all: in fp64 it would have more bits, which is no error of either side.
    target, _, timestep, steps = arguments
    given = (target, noise_of(*arguments), timestep, steps)
    baseline = with_gradient(lambda y: loss_terms(y.to(target.dtype), *given), output, ())
    given = (*(one.double() for one in given[:2]), timestep)
    steps = training_steps(output.device, torch.float64)
    exact = with_gradient(lambda y: loss_terms(y, *given, steps), output.double(), ())
    for actual, same, truth in zip(ours, baseline, exact, strict=True):
        assert_as_good_as(actual, same, truth, times=TIMES)


@pytest.mark.parametrize("dtype", WIDE)
@pytest.mark.parametrize("shape", SHAPES)
def test_noisy_target_matches_the_reference(shape, dtype, device):
    _, arguments = case(*shape, dtype, device)
    ours = noisy_target(*arguments, dtype=dtype)
    expected = noisy_target_reference(*arguments, WORD, dtype)
    assert ours.shape == expected.shape and ours.shape[1] % 8 == 0
    assert not ours[:, shape[2] :].any(), "padding that is not zero"
    step = {torch.bfloat16: 2**-7, torch.float32: 3e-6, torch.float64: 1e-13}[dtype]
    torch.testing.assert_close(ours, expected, rtol=step, atol=step)


def test_the_noise_is_that_of_the_keys(device):
    """Bit for bit where multiply-adds are fused."""
    _, arguments = case(2, 5, 588, torch.float32, device)
    ours = noise_of(*arguments)
    expected = normal(arguments[1], Purpose.NOISE, 5 * 588).view(10, 588)
    if INTERPRETED:
        torch.testing.assert_close(ours, expected, rtol=0, atol=3e-6)
    else:
        assert torch.equal(ours, expected)


@pytest.mark.gpu
def test_the_noise_is_the_same_bits_on_both_devices():
    for dtype in (torch.float32, torch.float64):
        _, here = case(3, 40, 588, dtype, "cpu")
        _, there = case(3, 40, 588, dtype, "cuda")
        one, two = noisy_target(*here, dtype=dtype), noisy_target(*there, dtype=dtype)
        assert torch.equal(one, two.cpu())


def test_half_precision_is_single_precision_rounded(device):
    output, arguments = case(2, 3, 30, torch.float32, device)
    single = noisy_target(*arguments, dtype=torch.float32)
    assert torch.equal(noisy_target(*arguments, dtype=torch.float16), single.half())
    half = diffusion_loss(output.half(), *arguments)
    torch.testing.assert_close(half, diffusion_loss(output.half().float(), *arguments))


def test_a_perfect_estimate_leaves_no_error_and_the_least_bits(device):
    """With the true noise and variance past step 0 the two distributions are one."""
    _, (target, keys, timestep, steps) = case(2, 4, 30, torch.float64, device)
    noise = normal(keys, Purpose.NOISE, 4 * 30, dtype=torch.float64).view(8, 30)
    perfect = torch.cat([noise, -torch.ones_like(noise)], 1)
    later = timestep.clamp(min=1)
    terms = diffusion_loss(perfect, target, keys, later, steps)
    torch.testing.assert_close(terms.mse, torch.zeros_like(terms.mse), atol=1e-12, rtol=0)
    zero = torch.zeros_like(terms.variational)
    torch.testing.assert_close(terms.variational, zero, atol=1e-12, rtol=0)


def test_each_term_reaches_its_own_half(device):
    output, arguments = case(2, 3, 30, torch.float32, device)
    output.requires_grad_()
    terms = diffusion_loss(output, *arguments)
    (of_mse,) = torch.autograd.grad(terms.mse.sum(), output, retain_graph=True)
    (of_bits,) = torch.autograd.grad(terms.variational.sum(), output)
    assert of_mse[:, :30].all() and not of_mse[:, 30:].any()
    assert of_bits[:, 30:].any() and not of_bits[:, :30].any()


def test_rows_do_not_depend_on_the_batch(device):
    output, (target, keys, timestep, steps) = case(3, 4, 588, torch.float32, device)
    whole = diffusion_loss(output, target, keys, timestep, steps)
    last = diffusion_loss(output[8:], target[8:], keys[2:], timestep[8:], steps)
    torch.testing.assert_close(last, LossTerms(*(term[8:] for term in whole)), rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")  # of the interpreter
@pytest.mark.parametrize("extreme", [1e4, -1e4])
def test_extreme_outputs_stay_finite_where_the_reference_does(extreme, device):
    output, arguments = case(1, 6, 8, torch.float32, device)
    output[:, :8] = extreme
    ours, expected = diffusion_loss(output, *arguments), reference(output, *arguments)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


def test_no_number_stays_no_number(device):
    output, arguments = case(1, 6, 8, torch.float32, device)
    output[1, 3] = output[2, 11] = torch.nan
    mse, bits = diffusion_loss(output, *arguments)
    assert mse[1].isnan() and bits[1].isnan() and bits[2].isnan() and not mse[2].isnan()
    assert mse[3:].isfinite().all() and bits[3:].isfinite().all()


def test_no_rows(device):
    for B, P in ((0, 0), (2, 0)):
        output, arguments = case(B, P, 8, torch.float32, device)
        assert noisy_target(*arguments, dtype=torch.bfloat16).shape == (0, 8)
        mse, bits, grad = with_gradient(diffusion_loss, output, arguments)
        assert mse.shape == bits.shape == (0,) and grad.shape == (0, 16)


def test_non_contiguous_inputs_are_read_right(device):
    output, (target, keys, timestep, steps) = case(2, 3, 30, torch.float32, device)
    expected = diffusion_loss(output, target, keys, timestep, steps)
    across = [one.T.contiguous().T for one in (output, target, keys)]
    torch.testing.assert_close(diffusion_loss(*across, timestep, steps), expected, rtol=0, atol=0)


def test_gradient_passes_gradcheck_but_for_the_means(device):
    """The bound's means are constants by definition, so only the variance half is checked."""
    output, arguments = case(1, 2, 5, torch.float64, device)
    estimate, variance = output.chunk(2, 1)
    assert torch.autograd.gradcheck(
        lambda v: diffusion_loss(torch.cat([estimate, v], 1), *arguments),
        variance.clone().requires_grad_(),
    )


def test_opcheck(device):
    output, arguments = case(2, 3, 30, torch.float32, device)
    leaf = output.requires_grad_()
    torch.library.opcheck(torch.ops.ivn.diffusion_loss.default, (leaf, *arguments, WORD))
    given = (*arguments, WORD, torch.bfloat16)
    torch.library.opcheck(torch.ops.ivn.noisy_target.default, given)


def test_compiles_into_one_graph_with_its_gradient(device):
    output, arguments = case(2, 3, 30, torch.float32, device)

    def both(output, *arguments):
        x_t = noisy_target(*arguments, dtype=torch.float32)
        mse, bits = diffusion_loss(output + x_t[:, :1], *arguments)
        return mse, bits

    compiled = torch.compile(both, fullgraph=True, backend="aot_eager")
    ours, expected = (with_gradient(f, output, arguments) for f in (compiled, both))
    torch.testing.assert_close(ours, expected)


@pytest.mark.gpu
def test_is_captured_in_a_cuda_graph():
    output, arguments = case(2, 3, 588, torch.bfloat16, "cuda")
    leaf = output.requires_grad_()
    assert_captured(lambda: noisy_target(*arguments, dtype=torch.bfloat16), arguments[:1])
    assert_captured(lambda: with_gradient(diffusion_loss, leaf, arguments), [arguments[0]])


REFUSED = {
    "samples": ({"keys": make_keys(0, 0, range(4))}, "6 rows of 4 samples"),
    "keys": ({"keys": torch.zeros(2, 3, dtype=torch.int64)}, r"keys is torch.int64 \[2, 3\]"),
    "target": ({"target": torch.zeros(6, 30).bfloat16()}, "target is torch.bfloat16"),
    "steps": ({"steps": torch.zeros(1000, 5)}, r"steps is torch.float32 \[1000, 5\]"),
    "timestep": ({"timestep": torch.zeros(6)}, "timestep is torch.float32"),
    "range": ({"timestep": torch.full((6,), 1000)}, "timestep holds 1000 to 1000"),
    "output": ({"output": torch.zeros(6, 30)}, r"output is \[6, 30\] on cpu, expected \[6, 60\]"),
    "dtype": ({"output": torch.zeros(6, 60).double()}, "output is torch.float64"),
}


@pytest.mark.parametrize(("change", "words"), REFUSED.values(), ids=REFUSED)
def test_wrong_arguments_are_refused(change, words):
    output, arguments = case(2, 3, 30, torch.float32, "cpu")
    names = ("output", "target", "keys", "timestep", "steps")
    given = dict(zip(names, (output, *arguments), strict=True)) | change
    with pytest.raises(ValueError, match=words):
        diffusion_loss(*given.values())
