"""The checks of arguments and devices that stand in front of the compiled library."""

from types import SimpleNamespace

import pytest
import torch

from ivn.ops import _device, _library, check_index, check_range
from ivn.ops._device import check_gpu, runs_on
from ivn.ops._library import call


class OnGpu:
    """An index that says it is on a GPU, and counts how often it is copied to the host."""

    device = torch.device("cuda")

    def __init__(self, index):
        self.index, self.copies = index, 0

    @property
    def shape(self):
        return self.index.shape

    def cpu(self):
        self.copies += 1
        return self.index


@pytest.mark.parametrize("index", [[[0, 3], [3, 0]], [[3, 1, 2, 0]], [[]], [], [2, 0]])
def test_a_right_index_passes(index):
    check_index("gather", torch.tensor(index, dtype=torch.int64), 4)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ([[0, 1], [1, 4]], r"^gather: keep\[1\] holds 4, expected 0 to 3$"),
        ([[2, -1]], r"^gather: keep\[0\] holds -1, expected 0 to 3$"),
        ([[2, 3, 2]], r"^gather: keep\[0\] holds 2 twice, expected each at most once$"),
        ([[1, 1]], r"^gather: keep\[0\] holds 1 twice"),
        ([[2**62, 0]], rf"^gather: keep\[0\] holds {2**62}, expected"),
    ],
)
def test_a_wrong_index_is_told_by_op_row_and_value(index, message):
    with pytest.raises(ValueError, match=message):
        check_index("gather", torch.tensor(index), 4, "keep")


def test_an_index_on_a_gpu_is_checked_under_the_debug_switch_alone(monkeypatch):
    index = OnGpu(torch.tensor([[5, 5]]))
    check_index("gather", index, 9)
    assert index.copies == 0
    monkeypatch.setenv("IVN_CHECK_INDEX", "1")
    with pytest.raises(ValueError, match=r"gather: index\[0\] holds 5 twice"):
        check_index("gather", index, 9)


def test_values_on_a_gpu_are_checked_under_the_debug_switch_alone(monkeypatch):
    values = OnGpu(torch.tensor([5, 9]))
    check_range("look_up", values, 9, "step")
    assert values.copies == 0
    monkeypatch.setenv("IVN_CHECK_INDEX", "1")
    with pytest.raises(ValueError, match="look_up: step holds 5 to 9, expected 0 to 8"):
        check_range("look_up", values, 9, "step")


def test_values_out_of_range_are_told_by_op_and_bounds():
    check_range("look_up", torch.tensor([1, 1]), 2, "step")
    with pytest.raises(ValueError, match=r"^look_up: step holds 1 to 2, expected 0 to 1$"):
        check_range("look_up", torch.tensor([1, 2]), 2, "step")


@pytest.mark.gpu
def test_the_debug_switch_finds_a_wrong_index_on_a_gpu(monkeypatch):
    monkeypatch.setenv("IVN_CHECK_INDEX", "1")
    with pytest.raises(ValueError, match=r"gather: index\[0\] holds 9, expected 0 to 3"):
        check_index("gather", torch.tensor([[9]], device="cuda"), 4)


@pytest.mark.parametrize(
    ("archs", "capability", "runs"),
    [
        ("80,90", (8, 0), True),
        ("80,90", (8, 9), True),  # machine code of the same major version
        ("80,90", (10, 0), True),  # PTX
        ("80,90", (7, 5), False),
        ("90", (8, 0), False),
        ("80-real,90-real", (8, 6), True),
        ("80-real,90-real", (10, 0), False),
        ("86-real", (8, 0), False),
        ("80-virtual", (9, 0), True),
        ("80-real,90a", (9, 0), True),
        ("90a", (10, 0), False),
        ("90a-real", (8, 0), False),
        ("100f", (10, 3), True),
        ("100f", (12, 0), False),
        ("native", (8, 0), True),
        ("120-real", (12, 0), True),
    ],
)
def test_compiled_architectures_are_known_by_what_they_run_on(archs, capability, runs):
    assert runs_on(archs, capability) == runs


@pytest.fixture
def gpu(monkeypatch):
    """Pretends that device 0 is of a compute capability."""

    def pretend(name, capability):
        monkeypatch.setattr(_device, "_gpu", lambda index: (name, capability))
        # Nothing is run, and the library may have been built without CUDA.
        monkeypatch.setattr(_library, "_function", lambda *_: SimpleNamespace(argtypes=["stream"]))

    return pretend


CUDA = torch.device("cuda", 0)


def test_a_library_without_cuda_is_told_by_the_op_that_needs_it():
    with pytest.raises(RuntimeError, match=r"^check_index: .*libivn.so was built without CUDA; se"):
        call("ivn_check_index", CUDA)  # stands for all: it is for the host alone


def test_a_gpu_before_the_a100_is_refused_by_name(gpu):
    gpu("Tesla T4", (7, 5))
    message = r"^gather_tokens: Tesla T4 is sm_75, expected sm_80 \(A100\) or newer: run on another"
    with pytest.raises(RuntimeError, match=message):
        check_gpu("gather_tokens", CUDA)
    with pytest.raises(RuntimeError, match=message):
        call("ivn_gather_tokens", CUDA)


def test_a_library_for_other_gpus_is_refused_with_the_way_out(gpu, monkeypatch):
    gpu("NVIDIA A100", (8, 0))
    check_gpu("gather_tokens", CUDA)
    monkeypatch.setattr(_library, "_cuda_archs", lambda: "90")
    message = (
        r"^gather_tokens: NVIDIA A100 is sm_80, but libivn.so was built for sm 90: "
        r"CUDAARCHS=80 pip install"
    )
    with pytest.raises(RuntimeError, match=message):
        call("ivn_gather_tokens", CUDA)


def test_names_and_capabilities_are_asked_for_once(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU {index}")
    monkeypatch.setattr(
        torch.cuda, "get_device_capability", lambda index: asked.append(index) or (9, 0)
    )
    _device._gpu.cache_clear()
    try:
        for _ in range(3):
            check_gpu("op", torch.device("cuda", 0))
        check_gpu("op", torch.device("cuda", 1))
    finally:
        _device._gpu.cache_clear()
    assert asked == [0, 1]
