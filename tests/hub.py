"""The model hub without a network: a cache that holds what was to be fetched."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
_REVISION = "0" * 40


def store(folder: Path, repo: str, cache: Path) -> None:
    """Put the files of ``folder`` into ``cache`` as the hub's client keeps ``repo`` there."""
    kept = cache / f"models--{repo.replace('/', '--')}"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text(_REVISION)
    shutil.copytree(folder, kept / "snapshots" / _REVISION)


def run(code: str, cache: Path) -> str:
    """Run Python ``code`` in a process that has ``cache`` and no network; gives what it printed."""
    environment = os.environ | {"HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
