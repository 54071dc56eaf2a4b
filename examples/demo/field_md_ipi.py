"""The same molecular dynamics in a field with i-PI and its stock metatomic driver.

i-PI and the driver are two processes that talk through a local socket. i-PI calls every
structure periodic; the model knows that it is a slab, since it was exported with
``--boundary slab``. Forces are compared with those of ASE afterwards, and dipoles computed.

Run as ``python field_md_ipi.py FOLDER FIELD n_steps``; it writes ``FOLDER/ipi_FIELD.xyz``.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import ase.io
import numpy as np
from ase import units
from field_md_ase import (
    MACRO_DIPOLE,
    STRIDE,
    TIME_STEP,
    WALL,
    additional_output,
    calculator,
    starting_atoms,
)

TEMPLATE = Path(__file__).with_name("ipi_input.xml")
ATOMIC_VELOCITY = units.Bohr / (units._aut * units.s)  # the atomic unit, in ASE's


def write_input(folder: Path, address: str, n_steps: int) -> None:
    """Fill in the template of the i-PI input."""
    start = starting_atoms(folder)
    walls = np.flatnonzero(start.numbers == WALL).tolist()
    velocities = start.get_velocities().ravel() / ATOMIC_VELOCITY
    text = TEMPLATE.read_text()
    for placeholder, value in (
        ("N_STEPS", n_steps),
        ("STRIDE", STRIDE),
        ("ADDRESS", address),
        ("WALLS", walls),
        ("VELOCITIES", velocities.tolist()),
        ("TIME_STEP", TIME_STEP),
    ):
        text = text.replace(placeholder, str(value))
    (folder / "ipi_input.xml").write_text(text)


def run_ipi(folder: Path, address: str, field: str) -> None:
    """Start i-PI, then the driver; stop when one of them fails."""
    socket = Path(f"/tmp/ipi_{address}")
    driver_options = f"template=start.xyz,model=demo.pt,device=cpu,energy_variant={field}"
    with (folder / "ipi.log").open("w") as ipi_log, (folder / "driver.log").open("w") as driver_log:
        ipi = subprocess.Popen(
            ["i-pi", "ipi_input.xml"], cwd=folder, stdout=ipi_log, stderr=subprocess.STDOUT
        )
        try:
            while not socket.exists():
                if ipi.poll() is not None:
                    sys.exit(f"i-PI has stopped; see {folder / 'ipi.log'}")
                time.sleep(0.1)
            driver = subprocess.Popen(
                ["i-pi-driver-py", "-u", "-a", address, "-m", "metatomic", "-o", driver_options],
                cwd=folder,
                stdout=driver_log,
                stderr=subprocess.STDOUT,
            )
            try:
                while ipi.poll() is None:
                    if driver.poll() not in (None, 0):
                        sys.exit(f"the driver has stopped; see {folder / 'driver.log'}")
                    time.sleep(0.1)
            finally:
                driver.terminate()
                driver.wait()
        finally:
            ipi.terminate()
            ipi.wait()
    if ipi.returncode != 0:
        sys.exit(f"i-PI has failed; see {folder / 'ipi.log'}")


def check_and_add_dipoles(folder: Path, field: str) -> None:
    """Compare i-PI's forces with those ASE finds, and store the dipole of each frame."""
    start = starting_atoms(folder)
    calc = calculator(folder / "demo.pt", field)
    forces = ase.io.read(folder / "ipi.forces_0.extxyz", ":")
    error = 0.0
    frames = []
    for number, frame in enumerate(ase.io.read(folder / "ipi.positions_0.extxyz", ":")):
        atoms = start.copy()
        atoms.set_positions(frame.positions, apply_constraint=False)
        atoms.calc = calc
        difference = atoms.get_forces(apply_constraint=False) - forces[number].get_forces()
        error = max(error, np.abs(difference).max())
        atoms.info["time"] = number * STRIDE * TIME_STEP
        atoms.info["macro_dipole"] = additional_output(atoms, MACRO_DIPOLE)[0]
        frames.append(atoms.copy())
    ase.io.write(folder / f"ipi_{field}.xyz", frames, format="extxyz")
    print(f"ipi_{field}.xyz: {(len(frames) - 1) * STRIDE} steps of {TIME_STEP} fs")
    print(f"forces in i-PI and in ASE on {len(frames)} frames differ by at most {error:.1e} eV/A")
    if error > 1e-5:
        sys.exit("i-PI and ASE do not agree on the forces")


def main() -> None:
    """Run i-PI with the field, check its forces and store the trajectory with dipoles."""
    folder, field, n_steps = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    address = f"mace-smile-demo-{os.getpid()}"
    write_input(folder, address, n_steps)
    run_ipi(folder, address, field)
    check_and_add_dipoles(folder, field)


if __name__ == "__main__":
    main()
