"""Machine code of the CUDA kernels that move most bytes, read from the library itself.

A kernel that stores less than 16 bytes at a time still gives right answers, only slower: without a
GPU nothing else would show it.
"""

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ivn.ops._library import PATH, build

# Parts of their mangled names: template arguments are the elements of a pack, and types.
KERNELS = {
    "bf16 patches": "gather_patchesIN3ivn8Bfloat16ELi8ELi0E",
    "fp32 patches": "gather_patchesIfLi4ELi0E",
    "fp32 target patches": "gather_patchesIfLi4ELi1E",
    "random words": "4drawIlLb1E",
    "normal numbers": "4drawIfLb1E",
    "gathered tokens": "gather_tokensI5uint4E",
    "scattered tokens": "scatter_tokensI5uint4E",
    "bf16 tokens with positions": "add_positionsILi8EN3ivn8Bfloat16EfS2_E",
    "bf16 tokens with positions in fp32": "add_positionsILi8EN3ivn8Bfloat16EffE",
    "fp32 tokens with positions": "add_positionsILi4EfffE",
    "bf16 tokens in place": "12place_tokensILi8EN3ivn8Bfloat16EfE",
    "fp32 tokens in place": "12place_tokensILi4EffE",
    "gradient of bf16 tokens with positions": "sum_positionsILi8EN3ivn8Bfloat16EfE",
    "gradient of fp32 tokens with positions": "sum_positionsILi4EffE",
    "gradient of bf16 tokens in place": "place_tokens_backwardILi8EN3ivn8Bfloat16EfE",
    "gradient of fp32 tokens in place": "place_tokens_backwardILi4EffE",
}
ARCHS = ("80", "90")


def read(*options: str) -> str:
    """Returns cuobjdump's output for the library; triton's wheel has the program, and CUDA, too."""
    triton = importlib.util.find_spec("triton")
    folders = [os.environ["PATH"]]
    if triton is not None and triton.origin is not None:
        folders.append(str(Path(triton.origin).parent / "backends/nvidia/bin"))
    path = os.pathsep.join(folders)
    tool = shutil.which("cuobjdump", path=path)
    assert tool is not None, "cuobjdump is needed: it comes with triton and with CUDA"
    done = subprocess.run(
        [tool, *options, str(PATH)], capture_output=True, text=True, env={"PATH": path}, check=True
    )
    return done.stdout


@pytest.fixture(scope="module", params=ARCHS)
def arch(request) -> str:
    built = build().cuda_archs.split(",")
    if built == [""]:
        assert shutil.which("nvcc") is None, "nvcc is here, but the library was built without it"
        pytest.skip("the library was built without CUDA: there is no machine code")
    assert request.param in built, f"built for {built} alone"
    return request.param


@pytest.fixture(scope="module")
def code(arch) -> dict[str, str]:
    """The machine code of each function, by its mangled name."""
    parts = re.split(r"^\s*Function : (\S+)$", read("-sass", "-arch", f"sm_{arch}"), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.fixture(scope="module")
def stack(arch) -> dict[str, int]:
    """Returns the bytes that a thread spills or keeps in arrays, by the function's mangled name."""
    said = read("-res-usage", "-arch", f"sm_{arch}")
    found = re.findall(r"Function (\S+):\n.*?STACK:(\d+)", said)
    return {name: int(size) for name, size in found}


@pytest.mark.parametrize("part", KERNELS.values(), ids=KERNELS)
def test_all_is_stored_16_bytes_at_a_time_and_nothing_spilled(part, code, stack):
    (name,) = (name for name in code if part in name)
    stores = re.findall(r"\bSTG\.\S+", code[name])
    assert stores and all(".128" in store for store in stores), stores
    assert stack[name] == 0


@pytest.mark.parametrize("part", KERNELS.values(), ids=KERNELS)
def test_sums_are_made_without_atomics(part, code):
    """Whose order would change from run to run."""
    (name,) = (name for name in code if part in name)
    assert not re.findall(r"\b(?:ATOM|ATOMG|ATOMS|RED|REDG)\.\S+", code[name])
