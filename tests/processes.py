"""Tests that need a Python process of their own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run_python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python with ``arguments`` in the repository; its output is text, its failure is told.

    The process imports the ``ivn`` that is installed, even where a copy lies in the working
    directory, and ``tests`` from here. Kernels in it are compiled unless ``environment`` says
    otherwise.
    """
    settings = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    settings |= {"PYTHONSAFEPATH": "1"} | environment
    command = [sys.executable, *arguments]
    done = subprocess.run(command, env=settings, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done


def run_code(code: str, **environment: str) -> str:
    """What ``code`` prints, in a process of its own that can import ``tests``."""
    find_tests = f"import sys; sys.path.append({str(ROOT)!r})\n"
    return run_python("-c", find_tests + code, **environment).stdout
