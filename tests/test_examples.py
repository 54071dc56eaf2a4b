"""The longer examples run from their first line to their figure, shortened by SHORT=1."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mace_smile.analysis.conductivity import SIEMENS_PER_METRE

EXAMPLES = Path(__file__).parents[1] / "examples"
FIGURES = {
    "ionic_current": "ionic_current.png",
    "film_in_vacuum_field": "film.png",
    "driven_water": "driven_water.png",
}
VOLUME, TEMPERATURE, TIME_STEP = 2000.0, 1200.0, 9.0  # A^3, K, fs
MEMORY, STRENGTH = 100.0, 0.02  # fs, e A/fs
BOLTZMANN = 8.617333262e-5  # eV/K
CONDUCTIVITY = STRENGTH**2 * MEMORY / (VOLUME * BOLTZMANN * TEMPERATURE)  # e/(V A fs)


def run(command: list[str]) -> subprocess.CompletedProcess:
    binaries = str(Path(sys.executable).parent)
    environment = {
        **os.environ,
        "SHORT": "1",
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
    }
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.parametrize("name", FIGURES)
def test_example_runs_to_its_figure(name, tmp_path):
    result = run(["bash", str(EXAMPLES / name / "run.sh"), str(tmp_path / "out")])
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    assert (tmp_path / "out" / FIGURES[name]).stat().st_size > 10_000


def write_currents(folder: Path, potential: str, field: float, scale: float) -> None:
    """Currents with an exponential memory; those in a field are ``scale`` times too large."""
    rng = np.random.default_rng(round(1000 * field) + len(potential))
    kept = np.exp(-TIME_STEP / MEMORY)
    currents = np.zeros((6000, 3))
    for step in range(1, len(currents)):
        noise = STRENGTH * np.sqrt(1 - kept**2) * rng.standard_normal(3)
        currents[step] = kept * currents[step - 1] + noise
    currents[:, 0] += scale * CONDUCTIVITY * VOLUME * field
    np.savez(
        folder / f"{potential}_{field:g}.npz",
        field=field,
        currents=currents,
        oxidation_currents=currents,
        temperature=TEMPERATURE,
        time_step=TIME_STEP,
        volume=VOLUME,
    )


@pytest.mark.parametrize(("scale", "exit_code"), [(1.0, 0), (2.0, 1)])
def test_analysis_of_the_ionic_current_tells_whether_conductivities_agree(
    scale, exit_code, tmp_path
):
    for potential in ("model", "exact"):
        for field in (0.0, 0.02, 0.03, 0.04):
            write_currents(tmp_path, potential, field, scale)
    analyse = EXAMPLES / "ionic_current" / "analyse.py"
    result = run([sys.executable, str(analyse), str(tmp_path)])
    assert result.returncode == exit_code, result.stdout + result.stderr
    lines = [
        line for line in result.stdout.splitlines() if line.startswith("model     Green-Kubo ")
    ]
    value, error = (float(word) for word in lines[0].split()[2:5:2])
    assert abs(value - SIEMENS_PER_METRE * CONDUCTIVITY) < 4 * error
    assert (tmp_path / "ionic_current.png").is_file()
