"""Each Triton kernel computes the right thing in the interpreter."""

import pytest

from tests.processes import ROOT, run_python

pytest.importorskip("triton")

NOUNS = sorted(file.stem for file in (ROOT / "kernels").glob("[a-z]*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("noun", NOUNS)
def test_interpreted_kernels_pass_the_tests_of_the_operation(noun):
    environment = {"TRITON_INTERPRET": "1", "IVN_REQUIRE_GPU": "0", "CUDA_VISIBLE_DEVICES": ""}
    done = run_python("-m", "pytest", "-q", f"tests/ops/test_{noun}.py", **environment)
    assert " passed" in done.stdout
