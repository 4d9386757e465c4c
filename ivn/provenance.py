"""The origin of measured numbers: the machine and the versions of all that computed them.

It has no name of the machine or its user.
"""

import functools
import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch


def provenance(device: torch.device) -> dict[str, str]:
    """Returns hardware, versions and commit; "" for those that are unknown."""
    cuda = (torch.version.cuda or "") if device.type == "cuda" else ""
    found = {"hardware": hardware(device), "python": platform.python_version()}
    found |= versions("torch", "triton") | {"cuda": cuda} | versions("ivn")
    return found | {"commit": commit()}


def in_words(about: dict[str, str]) -> str:
    """Returns :func:`provenance` in one line."""
    return ", ".join(f"{key} {value}" for key, value in about.items() if value)


def hardware(device: torch.device) -> str:
    """Returns the GPU's name, or the CPU's with the number of threads that compute."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{processor()}, {threads} thread{'s' if threads > 1 else ''}"


@functools.cache
def processor() -> str:
    """Returns the CPU's name."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text("utf-8", "replace").splitlines() if file.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def versions(*packages: str) -> dict[str, str]:
    """Returns the installed version of each package; "" for one that is not installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = ""
    return found


@functools.cache
def commit() -> str:
    """Returns ``IVN_COMMIT``, or the commit of a git checkout; "" where there is neither."""
    root = Path(__file__).parents[1]
    given = os.environ.get("IVN_COMMIT", "")
    # An installed package may lie inside a checkout of something else.
    if given or not (root / "setup.py").exists() or shutil.which("git") is None:
        return given
    git = ["git", "-C", str(root), "describe", "--always", "--dirty"]
    return subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
