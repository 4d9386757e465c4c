"""The checks of arguments and devices that stand in front of the compiled library."""

import pytest
import torch

from ivn.ops import check_index, check_range


class OnGpu:
    """An index that says it is on a GPU, and counts how often it is copied to the host."""

    device = torch.device("cuda")

    def __init__(self, index):
        self.index, self.copies = index, 0

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


def test_values_out_of_range_are_told_by_op_and_bounds():
    check_range("look_up", torch.tensor([1, 1]), 2, "step")
    with pytest.raises(ValueError, match=r"^look_up: step holds 1 to 2, expected 0 to 1$"):
        check_range("look_up", torch.tensor([1, 2]), 2, "step")


@pytest.mark.gpu
def test_the_debug_switch_finds_a_wrong_index_on_a_gpu(monkeypatch):
    monkeypatch.setenv("IVN_CHECK_INDEX", "1")
    with pytest.raises(ValueError, match=r"gather: index\[0\] holds 9, expected 0 to 3"):
        check_index("gather", torch.tensor([[9]], device="cuda"), 4)
