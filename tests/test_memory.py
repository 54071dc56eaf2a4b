"""Keeping freed memory spares the system from clearing it again at each step."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import torch
from mace_smile.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
torch.set_num_threads(1)
def step():
    return float((torch.ones(20_000_000) * 2.0).sum())
for _ in range(10):  # the heap takes a few steps to find its size
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(mode: str) -> int:
    """Pages of memory that five equal steps ask the system for."""
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, mode]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(result.stdout.splitlines()[-1])


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_steps_reuse_freed_memory():
    assert page_faults("keep") < 0.5 * page_faults("return")
