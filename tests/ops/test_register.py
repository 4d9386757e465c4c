"""An operation does what its one declaration says."""

import pytest
import torch
from torch import Tensor
from torch.library import CustomOpDef

from ivn.benchmarks.steps.reference_ops import modules, replaced
from ivn.ops._register import operation
from tests.processes import ROOT

CALLS = []


@operation(
    check=lambda scale: CALLS.append(("check", scale)),
    fake="a, b",
    results="total, product",
    saves="product, a, scale",
    gradients={
        "b, a": lambda grad, grad_product, product, a, scale: (grad_product * a, grad * scale),
        "c": lambda grad, *_: CALLS.append("c") or grad,
    },
)
def _declared_in_a_test(a: Tensor, scale: float, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    return a * scale + c, a * b


def given(*trained: str) -> list:
    tensors = {
        name: torch.full((2,), value, requires_grad=name in trained)
        for name, value in {"a": 2.0, "b": 3.0, "c": 5.0}.items()
    }
    return [tensors["a"], 10.0, tensors["b"], tensors["c"]]


def test_gradients_go_to_the_arguments_they_are_named_for():
    CALLS.clear()
    a, scale, b, c = given("a", "b", "c")
    total, product = _declared_in_a_test(a, scale, b, c)
    (total + 7 * product).sum().backward()
    assert (a.grad[0], b.grad[0], c.grad[0]) == (10, 14, 1)
    assert CALLS == [("check", 10.0), "c"]


def test_a_gradient_that_no_argument_needs_is_not_computed():
    CALLS.clear()
    a, *others = given("a")
    _declared_in_a_test(a, *others)[0].sum().backward()
    assert a.grad.tolist() == [10, 10]
    assert "c" not in CALLS


def test_a_gradient_has_the_dtype_of_its_argument():
    a, scale, b, c = given("a")
    c = c.bfloat16().requires_grad_()
    _declared_in_a_test(a, scale, b, c)[0].sum().backward()
    assert c.grad.dtype == torch.bfloat16


def test_operators_that_are_declared_pass_pytorch_s_checks():
    torch.library.opcheck(torch.ops.ivn.declared_in_a_test.default, tuple(given("a", "b")))


@pytest.mark.parametrize(
    "mistake",
    [
        {"fake": "d"},
        {"fake": lambda a, d: a},
        {"check": lambda d: None},
        {"saves": "a, d"},
        {"saves": lambda d: (d,)},
        {"gradients": {"a, d": lambda grad, a: (grad, grad)}},
    ],
)
def test_a_name_that_is_no_argument_is_refused_where_it_is_declared(mistake):
    with pytest.raises(ValueError, match="not in tuple"):

        @operation(**{"fake": lambda a: a, "gradients": {"a": lambda grad: grad}} | mistake)
        def _declared_wrongly(a: Tensor) -> Tensor:
            return a.clone()


def test_gradients_are_operations_and_have_no_gradient_themselves():
    x = torch.randn(3, 4, requires_grad=True)
    kept = torch.randn(3, 4), torch.randn(2, 4), 1e-5, 1e-6
    distances = torch.ops.ivn.cosine_distance(x, *kept)
    (grad,) = torch.autograd.grad(distances.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match=r"cosine_distance_backward.*no autograd formula"):
        grad.sum().backward()


def narrow(*shape: int) -> Tensor:
    return torch.randn(shape).bfloat16()


INDEX = torch.tensor([[0, 2], [1, 3]])
GRADIENTS = {
    "add_norm_backward": lambda: (
        *(torch.randn(3, 4), narrow(3, 4), torch.randn(3, 4), narrow(3, 4)),
        *(narrow(4), torch.rand(3), narrow(4), 1e-6),
    ),
    "add_positions_backward": lambda: (narrow(2, 3, 5), INDEX, 4, 1, 1),
    "cosine_distance_backward": lambda: (
        *(torch.randn(3), narrow(3, 4), narrow(3, 4), torch.randn(2, 4), 1e-5, 1e-6),
    ),
    "diffusion_loss_backward": lambda: (
        *(torch.randn(3), torch.randn(3), narrow(3, 8), torch.randn(3, 4)),
        *(torch.zeros(3, 4, dtype=torch.int64), torch.arange(3), torch.rand(3, 6), 9 << 24),
    ),
    "gated_modulate_backward": lambda: (*(narrow(3, 4) for _ in range(6)), torch.randn(2, 4), 1e-6),
    "modulate_backward": lambda: (*(narrow(3, 4) for _ in range(3)), torch.randn(2, 4), 1e-6),
    "place_tokens_backward": lambda: (narrow(2, 4, 5), INDEX, 4, 1),
    "qk_norm_backward": lambda: (narrow(3, 3, 4), narrow(3, 3, 4), torch.randn(2, 4), 1e-6),
    "rms_norm_backward": lambda: (narrow(3, 4), torch.randn(3, 4), torch.randn(4), 1e-6),
}
# Module of ivn.ops -> its operations.
OPERATIONS = {
    module.__name__.removeprefix("ivn.ops."): {
        name[1:] for name, value in vars(module).items() if isinstance(value, CustomOpDef)
    }
    for module in modules()
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_fakes_of_gradients_have_the_dtypes_of_their_results(name):
    op = getattr(torch.ops.ivn, name).default
    torch.library.opcheck(op, GRADIENTS[name](), test_utils="test_faketensor")


def test_an_operation_has_a_reference_or_is_a_gradient_in_the_list():
    with_reference = {name[1:] for _, name in replaced()}
    assert set().union(*OPERATIONS.values()) - with_reference == GRADIENTS.keys()


@pytest.mark.parametrize("noun", [noun for noun, names in OPERATIONS.items() if names])
def test_a_module_of_operations_has_its_files(noun):
    files = [f"csrc/{noun}_cpu.cpp", f"tests/ops/test_{noun}.py", f"benchmarks/ops/bench_{noun}.py"]
    assert [file for file in files if not (ROOT / file).exists()] == []
    assert "opcheck(" in (ROOT / files[1]).read_text()
