"""i-PI or its driver killed with SIGKILL: the other waits, and the run goes on to its end."""

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from exported import LOCAL
from helpers import bulk_water, make_model
from ipi_runs import write_start
from mace_smile.io.restart_step import step_of_restart
from mace_smile.io.trajectory_cut import cut_trajectories, scan
from metatensor_models.export import build_atomistic_model
from metatensor_models.options import ExportOptions

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        importlib.util.find_spec("ipi") is None, reason="the package ipi is not installed"
    ),
]

N_STEPS, STRIDE, CHECKPOINTS = 80, 5, 20
PATIENCE = 240.0  # s, far more than any step here takes
INPUT = """<simulation verbosity="low" floatformat="%24.16e">
  <total_steps>{steps}</total_steps>
  <output prefix="run">
    <properties filename="table" stride="{stride}">
      [ step, conserved{{electronvolt}} ]
    </properties>
    <trajectory filename="x" stride="{stride}" format="bin"> positions </trajectory>
    <checkpoint filename="checkpoint" stride="{checkpoints}" overwrite="False"/>
  </output>
  <prng><seed>7</seed></prng>
  <ffsocket name="model" mode="unix" pbc="false">
    <address>{address}</address> <latency>1e-3</latency> <timeout>600</timeout>
  </ffsocket>
  <system>
    <initialize nbeads="1">
      <file mode="ase"> start.xyz </file>
      <velocities mode="thermal" units="kelvin"> 300 </velocities>
    </initialize>
    <forces><force forcefield="model"/></forces>
    <ensemble><temperature units="kelvin"> 300 </temperature></ensemble>
    <motion mode="dynamics"> <fixcom> False </fixcom>
      <dynamics mode="nve"> <timestep units="femtosecond"> 0.1 </timestep> </dynamics>
    </motion>
  </system>
</simulation>"""

#: A driver that is killed while it computes. (In the moment before it has read what i-PI has sent,
#: i-PI 3.3 loses the thread that talks to drivers, and hangs.)
KILLED = """
import os, signal, sys
from metatensor_models import ipi_driver
compute, calls = ipi_driver.SmileDriver.compute, []
def killed(self, cell, positions):
    calls.append(None)
    if len(calls) == 15:
        os.kill(os.getpid(), signal.SIGKILL)
    return compute(self, cell, positions)
ipi_driver.SmileDriver.compute = killed
ipi_driver.main(sys.argv[1:])
"""


@contextlib.contextmanager
def process(command: list[str], folder: Path, log: str) -> Iterator[subprocess.Popen]:
    """Start a process; it has ended when the block is left."""
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
    with (folder / log).open("w") as file:
        started = subprocess.Popen(
            command, cwd=folder, stdout=file, stderr=subprocess.STDOUT, env=environment
        )
        try:
            yield started
        finally:
            started.kill()
            started.wait()


def wait_for(condition: Callable[[], bool], *processes: subprocess.Popen) -> None:
    """Wait until something holds, as long as some processes run."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < PATIENCE
        assert all(one.poll() is None for one in processes)
        time.sleep(0.02)


def last_step(folder: Path) -> int:
    table = folder / "run.table"
    if not table.exists() or table.stat().st_size == 0:
        return -1
    frames = scan(table).frames
    return frames[-1].step if frames else -1


def last_checkpoint(folder: Path) -> Path:
    """The last that is complete."""
    paths = sorted(folder.glob("run.checkpoint_*"), key=lambda path: path.stat().st_mtime)
    for path in reversed(paths):
        with contextlib.suppress(ValueError):
            step_of_restart(path)
            return path
    raise AssertionError("there is no checkpoint")


def test_one_of_both_is_killed_and_the_run_goes_on(tmp_path):
    torch.set_default_dtype(torch.float64)
    build_atomistic_model(make_model(**LOCAL), ExportOptions()).save(tmp_path / "model.pt")
    write_start(tmp_path, bulk_water())
    address = f"smile-killed-{os.getpid()}-{time.time_ns()}"
    socket = Path(f"/tmp/ipi_{address}")
    settings = {"steps": N_STEPS, "stride": STRIDE, "checkpoints": CHECKPOINTS}
    (tmp_path / "input.xml").write_text(INPUT.format(address=address, **settings))
    i_pi = shutil.which("i-pi", path=str(Path(sys.executable).parent))
    driver = [sys.executable, "-m", "metatensor_models.ipi_driver", "model.pt", "start.xyz"]
    driver += ["--address", address, "--no_born_charges"]
    try:
        with process([i_pi, "input.xml"], tmp_path, "first.log") as server:
            wait_for(socket.exists, server)
            killed = [sys.executable, "-c", KILLED, *driver[3:]]
            with process(killed, tmp_path, "killed_driver.log") as first:
                assert first.wait(PATIENCE) == -signal.SIGKILL
            stopped_at = last_step(tmp_path)
            time.sleep(0.5)
            assert server.poll() is None
            assert last_step(tmp_path) <= stopped_at + STRIDE  # it waits for another driver
            with process(driver, tmp_path, "driver.log") as second:
                wait_for(lambda: last_step(tmp_path) >= CHECKPOINTS + 3 * STRIDE, server, second)
                server.kill()
                server.wait()
                log = tmp_path / "driver.log"
                wait_for(lambda: "has gone without a goodbye" in log.read_text(), second)
                assert last_step(tmp_path) < N_STEPS

                checkpoint = last_checkpoint(tmp_path)
                cut_trajectories(
                    [tmp_path / "run.table", tmp_path / "run.x_0.bin"], step_of_restart(checkpoint)
                )
                socket.unlink()
                with process([i_pi, checkpoint.name], tmp_path, "second.log") as resumed:
                    assert resumed.wait(PATIENCE) == 0
                assert second.wait(PATIENCE) == 0
    finally:
        socket.unlink(missing_ok=True)

    wanted = list(range(0, N_STEPS + 1, STRIDE))
    assert [frame.step for frame in scan(tmp_path / "run.x_0.bin").frames] == wanted
    steps, energies = np.loadtxt(tmp_path / "run.table").T
    assert steps.tolist() == wanted
    assert np.abs(energies - energies[0]).max() < 1e-3  # eV: no jump where it went on
