"""Each Triton kernel computes the right thing in the interpreter."""

import re

import numpy as np
import pytest

from tests.processes import run_python

from .launches import NOUNS

triton = pytest.importorskip("triton")

# Its loops over program_id ask NumPy for the number in an array of one element.
old = tuple(map(int, triton.__version__.split(".")[:2])) < (3, 7)
if old and np.lib.NumpyVersion(np.__version__) >= "2.4.0":
    pytest.skip(
        f"Triton {triton.__version__} does not interpret with NumPy {np.__version__}: "
        "pip install 'numpy<2.4'",
        allow_module_level=True,
    )


def interpreted(*arguments):
    """Returns the number of tests that pass in a process that interprets Triton's kernels."""
    environment = {"TRITON_INTERPRET": "1", "IVN_REQUIRE_GPU": "0", "CUDA_VISIBLE_DEVICES": ""}
    done = run_python("-m", "pytest", "-q", *arguments, **environment)
    return int(re.search(r"(\d+) passed", done.stdout)[1])


@pytest.mark.slow
def test_interpreted_kernels_are_right_at_an_odd_size():
    """Values and gradients of every kernel in every dtype, at one size that divides nothing."""
    files = [f"tests/ops/test_{noun}.py" for noun in NOUNS]
    assert interpreted("-k", "odd", *files) > 5 * len(NOUNS)


@pytest.mark.soak
@pytest.mark.parametrize("noun", NOUNS)
def test_interpreted_kernels_pass_the_tests_of_the_operation(noun):
    assert interpreted(f"tests/ops/test_{noun}.py") > 20
