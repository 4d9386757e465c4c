import pytest
import torch

from ivn.devices import resolve_device
from ivn.media.source import BUNDLED_CLIPS
from tests.command import SMALL, STAGE1, assert_one_line, command

NEW = ["--data", BUNDLED_CLIPS, "--out", "run", "--set", *SMALL, *STAGE1]
# Each command that computes, and the name under which it was told the device.
COMMANDS = {
    "pretrain": ["stage1-tiny", *NEW, "efficiency.device=cuda"],
    "embed": [BUNDLED_CLIPS, "--encoder", "raw", "-o", "new.npz", "--device", "cuda"],
    "evaluate": ["motion", "--encoder", "raw", "--device", "cuda"],
    "bench": ["ops", "--device", "cuda"],
}


@pytest.mark.parametrize("gpu", [True, False])
def test_auto_is_the_gpu_if_there_is_one(monkeypatch, gpu):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert resolve_device() == resolve_device("auto") == torch.device("cuda" if gpu else "cpu")
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_gpu_that_is_not_there_is_one_line_for_every_command(monkeypatch, tmp_path, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.chdir(tmp_path)
    option = "efficiency.device" if name == "pretrain" else "--device"
    words = f"{option} is cuda, but PyTorch sees no GPU; ivn doctor says why"
    assert assert_one_line(command(name, *COMMANDS[name]), words) == 1
    assert not list(tmp_path.iterdir())
