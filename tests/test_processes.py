"""A CPU run's memory: mapped once, not in every step."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")

FAULTS = """
import resource, sys, torch
from ivn.processes import keep_all_freed_memory
if {keep}:
    keep_all_freed_memory()
def step():
    a = torch.ones(16 << 20)  # 64 MiB
    return (a + 1).sum()
for _ in range(8):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep: bool) -> int:
    command = [sys.executable, "-c", FAULTS.format(keep=keep)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_freed_memory_is_not_mapped_again():
    assert faults(keep=True) < faults(keep=False) / 10
