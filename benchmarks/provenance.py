"""What numbers belong to: the machine, and the versions of all that computed them."""

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import ivn


def hardware(device: torch.device) -> str:
    """The GPU's name, or the CPU's with how many threads compute."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{_cpu_name()}, {threads} thread{'s' if threads > 1 else ''}"


def provenance(device: torch.device) -> dict[str, str]:
    """Hardware, versions and commit; "" for what there is not."""
    try:
        triton = version("triton")
    except PackageNotFoundError:
        triton = ""
    return {
        "hardware": hardware(device),
        "torch": torch.__version__,
        "triton": triton,
        "cuda": (torch.version.cuda or "") if device.type == "cuda" else "",
        "ivn": ivn.__version__,
        "commit": _commit(),
    }


def in_words(about: dict[str, str]) -> str:
    """The same in a line."""
    return ", ".join(f"{key} {value}" for key, value in about.items() if value)


def _commit() -> str:
    """Of the sources, where they are a git checkout, or what ``IVN_COMMIT`` says."""
    root = Path(__file__).parents[1]
    told = os.environ.get("IVN_COMMIT", "")
    # An installed package may lie inside a checkout of something else.
    if told or not (root / "setup.py").exists() or shutil.which("git") is None:
        return told
    git = ["git", "-C", str(root), "describe", "--always", "--dirty"]
    return subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()


def _cpu_name() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
