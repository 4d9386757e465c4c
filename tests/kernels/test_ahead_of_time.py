"""Every Triton kernel, at every shape of the presets, fits the GPUs that we build for."""

import importlib
import json
import pkgutil

import pytest

from tests.processes import run_python

pytest.importorskip("triton")

KIB = 1024
SHARED = {80: 163 * KIB, 90: 227 * KIB}  # what a program may use on an A100, on an H100


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
        assert cost["stack"] == 0, cost
        assert cost["shared"] <= SHARED[cost["arch"]], cost


@pytest.mark.slow
def test_every_kernel_is_compiled_for_every_gpu(costs):
    from triton.runtime.jit import JITFunction

    import ivn.kernels

    modules = [
        importlib.import_module(module.name)
        for module in pkgutil.iter_modules(ivn.kernels.__path__, "ivn.kernels.")
    ]
    kernels = {
        (value.__module__, name)
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, JITFunction) and name.endswith("_kernel")
    }
    assert kernels
    for arch in SHARED:
        assert {tuple(cost["kernel"]) for cost in costs if cost["arch"] == arch} == kernels


def test_every_launcher_is_among_the_launches_of_the_presets():
    import ivn.kernels

    from .launches import launches

    assert {launcher for launcher, _ in launches()} == set(ivn.kernels.__all__)
