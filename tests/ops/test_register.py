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


# Module of ivn.ops -> its operations.
OPERATIONS = {
    module.__name__.removeprefix("ivn.ops."): {
        name[1:] for name, value in vars(module).items() if isinstance(value, CustomOpDef)
    }
    for module in modules()
}


def test_an_operation_has_a_reference_unless_it_is_a_gradient():
    without = set().union(*OPERATIONS.values()) - {name[1:] for _, name in replaced()}
    assert [name for name in without if not name.endswith("_backward")] == []


@pytest.mark.parametrize("noun", [noun for noun, names in OPERATIONS.items() if names])
def test_a_module_of_operations_has_its_files(noun):
    files = [f"csrc/{noun}_cpu.cpp", f"tests/ops/test_{noun}.py", f"benchmarks/ops/bench_{noun}.py"]
    assert [file for file in files if not (ROOT / file).exists()] == []
    assert "opcheck(" in (ROOT / files[1]).read_text()
