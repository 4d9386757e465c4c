"""Declares an operation ``ivn::*`` once: its versions, its results' shapes and its gradients."""

import functools
import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.library import CustomOpDef

from ._device import INTERPRETED, KERNEL_DEVICE, check_gpu

Function = Callable[..., Any]


def operation(
    *,
    fake: str | Function,
    check: Function | None = None,
    triton: str | None = None,
    results: str = "",
    saves: str | Function = "",
    gradients: Mapping[str, Function] | None = None,
) -> Callable[[Function], CustomOpDef]:
    """Returns a decorator that makes the operation ``ivn::name`` of a function ``_name``.

    The function is the version for the CPU, and without ``triton`` for GPUs too. Another device is
    an error of PyTorch's dispatcher. ``fake``, ``check`` and ``saves`` are given those of the
    operation's arguments that they name. ``ivn/ops/distance.py`` is a short example.

    Args:
        fake: names of the arguments that the results are like in shape and dtype, one for each; or
            a function that returns empty tensors like the results. Programs are traced with it.
        check: function that raises a ValueError for values that no version of the operation takes.
        triton: name of the function that is the version for GPUs, in the module of ``ivn.kernels``
            that is called like the operation's own. Triton is not imported until it runs.
        results: names of the results, if ``saves`` has any of them.
        saves: names of the arguments and results that are kept for the gradients, such as
            ``"x, weight"``; or a function of some of the arguments that returns what is kept.
        gradients: names of arguments, such as ``"x, weight"`` -> function that returns their
            gradients, given the gradients of the results and all that is kept. It runs only if one
            of them is needed. Autograd casts each gradient to the dtype of its argument.
    """

    def declare(function: Function) -> CustomOpDef:
        name = function.__name__.removeprefix("_")
        arguments = tuple(inspect.signature(function).parameters)
        checked = _by_name(check, arguments) if check else None
        op = torch.library.custom_op(
            f"ivn::{name}",
            _after(checked, function),
            mutates_args=(),
            device_types="cpu" if triton else ("cpu", "cuda"),
        )
        op.register_fake(
            _like(fake, arguments) if isinstance(fake, str) else _by_name(fake, arguments)
        )
        if triton:
            noun = function.__module__.rpartition(".")[2]
            launch = _launched(name, f"ivn.kernels.{noun}", triton)
            op.register_kernel(KERNEL_DEVICE, _after(checked, launch))
        if gradients:
            names = arguments + _split(results)
            keep = _named(saves, names) if isinstance(saves, str) else _by_name(saves, names)
            _differentiate(op, arguments, keep, gradients)
        return op

    return declare


def _by_name(function: Function, names: tuple[str, ...]) -> Function:
    """Returns ``function``, of some of the arguments ``names``, as a function of all of them."""
    places = [names.index(name) for name in inspect.signature(function).parameters]
    return lambda *given: function(*(given[place] for place in places))


def _named(chosen: str, names: tuple[str, ...]) -> Function:
    """Returns a function of all the arguments ``names`` that returns the ``chosen`` ones."""
    places = [names.index(name) for name in _split(chosen)]
    return lambda *given: [given[place] for place in places]


def _like(chosen: str, names: tuple[str, ...]) -> Function:
    """Returns a function of all the arguments ``names`` that returns tensors like ``chosen``."""
    select = _named(chosen, names)

    def fake(*given):
        made = tuple(torch.empty_like(one) for one in select(*given))
        return made if len(made) > 1 else made[0]

    return fake


def _after(check: Function | None, function: Function) -> Function:
    if check is None:
        return function

    @functools.wraps(function)  # PyTorch reads the schema from the signature
    def run(*arguments):
        check(*arguments)
        return function(*arguments)

    return run


def _launched(op: str, module: str, launcher: str) -> Function:
    def run(*arguments):
        launch = getattr(importlib.import_module(module), launcher)
        if INTERPRETED:
            return launch(*arguments)
        device = next(x.device for x in arguments if isinstance(x, Tensor))
        check_gpu(op, device)
        with torch.cuda.device(device):  # Triton launches on the current one
            return launch(*arguments)

    return run


def _differentiate(
    op: CustomOpDef, arguments: tuple[str, ...], keep: Function, gradients: Mapping[str, Function]
) -> None:
    """Registers ``gradients``, given what ``keep`` returns for the arguments and results."""
    functions = {
        tuple(arguments.index(name) for name in _split(names)): function
        for names, function in gradients.items()
    }

    def setup_context(ctx, inputs, output) -> None:
        kept = keep(*inputs, *(output if isinstance(output, tuple) else (output,)))
        ctx.save_for_backward(*(one for one in kept if isinstance(one, Tensor)))
        ctx.others = [None if isinstance(one, Tensor) else one for one in kept]

    def backward(ctx, *grads: Tensor):
        tensors = iter(ctx.saved_tensors)
        kept = [next(tensors) if one is None else one for one in ctx.others]
        given = [grad.contiguous() for grad in grads]
        found: list[Tensor | None] = [None] * len(arguments)
        for places, function in functions.items():
            if any(ctx.needs_input_grad[place] for place in places):
                made = function(*given, *kept)
                for place, one in zip(places, made if len(places) > 1 else (made,), strict=True):
                    found[place] = one
        return tuple(found)

    op.register_autograd(backward, setup_context=setup_context)


def _split(names: str) -> tuple[str, ...]:
    return tuple(names.split(", ")) if names else ()
