"""Several drivers on one i-PI, and what i-PI says to a socket that a killed one has left."""

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        importlib.util.find_spec("ipi") is None, reason="the package ipi is not installed"
    ),
]

LIMIT = 120.0  # s, on a busy machine
N_STEPS = 10
#: Our client with springs for a potential; it tells how often it was asked.
DRIVER = """
import sys, time
import numpy as np
from metatensor_models.ipi_client import Client

calls = []
def springs(cells, positions):
    calls.append(len(positions))
    time.sleep(0.05)
    return [(0.05 * float((r**2).sum()), -0.1 * r, np.zeros((3, 3)), "") for r in positions]

Client(sys.argv[1]).run(springs, wait=100.0)
print("calls", calls)
"""
INPUT = """<simulation verbosity="low" floatformat="%24.16e">
  <total_steps>{n_steps}</total_steps>
  <output prefix="run"> <properties filename="out"> [ step, conserved ] </properties> </output>
  <prng><seed>3</seed></prng>
  <ffsocket name="model" mode="unix" pbc="false">
    <address>{address}</address> <timeout>60</timeout> <batch_size>{batch_size}</batch_size>
  </ffsocket>
  <system>
    <initialize nbeads="4">
      <file mode="xyz"> start.xyz </file>
      <velocities mode="thermal" units="kelvin"> 300 </velocities>
    </initialize>
    <forces><force forcefield="model"/></forces>
    <ensemble><temperature units="kelvin"> 300 </temperature></ensemble>
    <motion mode="dynamics">
      <fixcom> False </fixcom>
      <dynamics mode="nve"> <timestep units="femtosecond"> 0.5 </timestep> </dynamics>
    </motion>
  </system>
</simulation>"""
START = """2
# CELL(abcABC): 20 20 20 90 90 90 positions{atomic_unit} cell{atomic_unit}
H 1.0 0.0 0.0
O 0.0 1.0 0.0
"""


def run(folder: Path, batch_size: int, n_drivers: int) -> tuple[np.ndarray, list[list[int]]]:
    """Conserved energies of a run, and the structures of each call of each driver."""
    folder.mkdir()
    address = f"smile-several-{os.getpid()}-{time.time_ns()}"
    text = INPUT.format(n_steps=N_STEPS, address=address, batch_size=batch_size)
    (folder / "input.xml").write_text(text)
    (folder / "start.xyz").write_text(START)
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for command in (
            *[[sys.executable, "-c", DRIVER, address]] * n_drivers,
            [sys.executable, str(Path(sys.executable).with_name("i-pi")), "input.xml"],
        )
    ]
    try:
        outputs = [process.communicate(timeout=LIMIT)[0].decode() for process in processes]
    finally:
        for process in processes:
            process.kill()
        Path(f"/tmp/ipi_{address}").unlink(missing_ok=True)
    assert [process.returncode for process in processes] == [0] * len(processes), outputs
    calls = [
        [int(number) for number in output.split("calls [")[1].split("]")[0].split(", ") if number]
        for output in outputs[:-1]
    ]
    return np.loadtxt(folder / "run.out")[:, 1], calls


def test_two_drivers_share_the_beads_and_one_takes_them_in_a_batch(tmp_path):
    shared, calls = run(tmp_path / "shared", batch_size=1, n_drivers=2)
    assert sum(map(len, calls)) == 4 * (N_STEPS + 1)
    batched, (batches,) = run(tmp_path / "batched", batch_size=4, n_drivers=1)
    # i-PI fills a batch up with structures it has already when not all beads are ready in time.
    assert set(batches) == {4}
    assert N_STEPS + 1 <= len(batches) < 2 * (N_STEPS + 1)
    np.testing.assert_allclose(shared, batched, rtol=1e-13)


def test_i_pi_names_the_socket_that_a_killed_one_has_left(tmp_path):
    address = f"smile-stale-{os.getpid()}-{time.time_ns()}"
    text = INPUT.format(n_steps=N_STEPS, address=address, batch_size=1)
    (tmp_path / "input.xml").write_text(text)
    (tmp_path / "start.xyz").write_text(START)
    left_behind = Path(f"/tmp/ipi_{address}")
    left_behind.touch()
    try:
        done = subprocess.run(
            [sys.executable, str(Path(sys.executable).with_name("i-pi")), "input.xml"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )
    finally:
        left_behind.unlink()
    assert done.returncode != 0
    assert f"{left_behind} exists, and remove it if unused" in done.stderr
