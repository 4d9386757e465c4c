"""Finds the device that the option or setting "device" stands for on this machine."""

import torch

from .errors import DeviceError


def resolve_device(name: str = "auto", option: str = "--device") -> torch.device:
    """Returns the device that ``name`` stands for on this machine.

    Args:
        name: "auto", "cpu" or "cuda"; "auto" is the GPU if there is one.
        option: name of the option or setting that says so, for the message.

    Raises:
        DeviceError: ``name`` is "cuda" and PyTorch sees no GPU.
    """
    is_there = torch.cuda.is_available()
    if name == "cuda" and not is_there:
        raise DeviceError(f"{option} is cuda, but PyTorch sees no GPU; ivn doctor says why")
    if name == "auto":
        name = "cuda" if is_there else "cpu"
    return torch.device(name)
