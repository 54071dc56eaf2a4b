"""Charges from energies and forces alone, in the one case where the answer is known."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "random_charges"


@pytest.mark.slow
def test_the_charges_of_random_ions_are_found(tmp_path):
    """run.sh ends with exit code 1 when the mean absolute error exceeds 0.02 e."""
    binaries = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
    command = ["bash", str(EXAMPLE / "run.sh"), str(tmp_path / "out")]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    assert "all: MAE" in result.stdout
