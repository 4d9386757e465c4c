"""Every Triton kernel, at every shape of the presets, fits the GPUs that we build for."""

import importlib
import inspect
import json

import pytest

from tests.processes import run_python

pytest.importorskip("triton")

import triton

from ivn.kernels._rows import WARPS

from .launches import NOUNS, launches

MODULES = {noun: importlib.import_module(f"ivn.kernels.{noun}") for noun in NOUNS}
KIB = 1024
# Triton 3.6 keeps 8 bytes of one kernel of 144 there, for an A100.
STACK = 8 if triton.__version__.startswith("3.6.") else 0
SHARED = {80: 163 * KIB, 90: 227 * KIB}  # of a multiprocessor of an A100, of an H100


@pytest.fixture(scope="module")
def costs():
    # A process of its own: nothing can be launched after it, and in this one the kernels may be
    # bound to the interpreter. Its warning is about fused multiply-adds in a Triton to come.
    quiet = ("-W", "ignore::UserWarning")
    done = run_python(*quiet, "-m", "tests.kernels.ahead_of_time", *map(str, SHARED))
    return json.loads(done.stdout)


@pytest.mark.slow
def test_no_kernel_spills_and_all_fit_the_shared_memory(costs):
    for cost in costs:
        assert cost["stack"] <= STACK, cost
        assert cost["shared"] <= SHARED[cost["arch"]], cost


@pytest.mark.slow
def test_backward_passes_fill_a_multiprocessor_in_one_wave(costs):
    """A multiprocessor has room for all programs that are launched for it."""
    rows = [cost for cost in costs if "'STAGES'" in cost["arguments"]]
    assert rows
    for cost in rows:
        programs = WARPS // cost["warps"]
        assert programs * cost["warps"] * 32 * cost["registers"] <= 64 * KIB, cost
        assert programs * (cost["shared"] + KIB) <= SHARED[cost["arch"]] + KIB, cost


@pytest.mark.slow
def test_rows_are_loaded_and_stored_16_bytes_at_a_time(costs):
    """But for the single numbers that a row may have: its factor, its distance, their gradients."""
    rows = [cost for cost in costs if "'BLOCK'" in cost["arguments"]]
    assert rows
    for cost in rows:
        # Loads ahead of the loop are there more than once.
        assert cost["narrow"] <= (3 if "'STAGES'" in cost["arguments"] else 1), cost


@pytest.mark.slow
def test_every_kernel_is_compiled_for_every_gpu(costs):
    from triton.runtime.jit import JITFunction

    kernels = {
        (value.__module__, name)
        for module in MODULES.values()
        for name, value in vars(module).items()
        if isinstance(value, JITFunction) and name.endswith("_kernel")
    }
    assert kernels
    for arch in SHARED:
        assert {tuple(cost["kernel"]) for cost in costs if cost["arch"] == arch} == kernels


def test_every_function_that_launches_is_among_the_launches_of_the_presets():
    public = {
        (noun, name)
        for noun, module in MODULES.items()
        for name, value in vars(module).items()
        if inspect.isfunction(value)
        and value.__module__ == module.__name__
        and not name.startswith("_")
    }
    assert len(public) >= 15
    assert {(noun, launcher) for noun, launcher, _ in launches()} == public
