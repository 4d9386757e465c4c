"""Tests that need a Python process of their own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run_python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python with ``arguments`` in the repository; its output is text, its failure is told.

    The process imports the ``ivn`` that is installed, and ``tests`` (see conftest.py). Kernels in
    it are compiled unless ``environment`` says otherwise.
    """
    settings = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"} | environment
    command = [sys.executable, *arguments]
    done = subprocess.run(command, env=settings, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done


def run_code(code: str, **environment: str) -> str:
    """What ``code`` prints, in a process of its own."""
    return run_python("-c", code, **environment).stdout
