"""NVT molecular dynamics in an electric field with i-PI and its stock metatomic driver.

``python run.py MODEL.pt FRAME.xyz --field NAME`` runs 200 steps in the field NAME, one of those
the model was exported with, and writes ``trajectory.traj``: energy and forces of each frame.
Without ``--field`` it is the same run without a field.

i-PI and the driver are two processes that talk through a local socket. i-PI calls every structure
periodic, so a model for slabs or molecules must be exported with ``--boundary slab`` or ``open``.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.trajectory import Trajectory
from metatomic.torch import load_atomistic_model

TIME_STEP = 0.5  # fs
TEMPERATURE = 300.0  # K
RELAXATION_TIME = 100.0  # fs, of the thermostat
SEED = 31415
VACUUM = 20.0  # A, along axes that have no cell vector, since i-PI wants one
START_LIMIT = 120.0  # s, for i-PI to open its socket

TEMPLATE = Path(__file__).with_name("input.xml")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="file that mace_smile_export wrote")
    parser.add_argument("frame", help="structure to start from (its last frame)")
    parser.add_argument("--field", metavar="NAME", help="field of the model; none without")
    parser.add_argument("--steps", type=int, default=200, help="number of steps (200)")
    parser.add_argument("--stride", type=int, default=10, help="steps between frames (10)")
    parser.add_argument("--freeze", nargs="*", default=[], help="elements that do not move")
    parser.add_argument(
        "--output", type=Path, default=Path("output/ipi"), help="folder (output/ipi)"
    )
    arguments = parser.parse_args()
    for path in (arguments.model, arguments.frame):
        if not Path(path).is_file():
            parser.error(f"there is no file '{path}'")
    if arguments.stride < 1 or arguments.steps % arguments.stride:
        parser.error("--steps must be a multiple of --stride")
    return arguments


def check_field(model: str, field: str | None, frame: Atoms) -> None:
    """Stop for a field the model does not have, or a boundary i-PI cannot tell it."""
    exported = load_atomistic_model(model)
    if field is not None and f"energy/{field}" not in exported.capabilities().outputs:
        sys.exit(f"{model} has no field '{field}'")
    boundary = exported.metadata().extra.get("boundary", "periodic")
    if boundary in ("auto", "periodic") and not frame.pbc.all():
        sys.exit(
            f"{model} has the boundary '{boundary}' and i-PI calls every structure periodic; "
            "export it with --boundary slab or --boundary open"
        )


def with_full_cell(frame: Atoms) -> Atoms:
    """Return the structure with three cell vectors, as i-PI wants them."""
    atoms = Atoms(frame.symbols, frame.positions, cell=frame.cell, pbc=frame.pbc)
    for axis in range(3):
        if not np.any(atoms.cell[axis]):
            atoms.cell[axis, axis] = np.ptp(atoms.positions[:, axis]) + VACUUM
    if np.any(np.triu(atoms.cell, 1) != 0) or np.any(np.diag(atoms.cell) <= 0):
        sys.exit(
            "i-PI wants cell vectors with a along x and b in the xy plane; rotate the structure, "
            "and the field with it"
        )
    return atoms


def write_start(path: Path, atoms: Atoms) -> None:
    """Write the structure as i-PI's own XYZ: all digits, and i-PI's own value of the angstrom."""
    cell = " ".join(repr(float(number)) for number in atoms.cell.array.T.ravel())  # in columns
    lines = [str(len(atoms)), f"# CELL(H): {cell} positions{{angstrom}} cell{{angstrom}}"]
    for symbol, position in zip(atoms.symbols, atoms.positions, strict=True):
        lines.append(f"{symbol} " + " ".join(repr(float(number)) for number in position))
    path.write_text("\n".join(lines) + "\n")


def write_input(folder: Path, address: str, atoms: Atoms, arguments: argparse.Namespace) -> None:
    """Fill in the template of the i-PI input."""
    frozen = np.flatnonzero(np.isin(atoms.get_chemical_symbols(), arguments.freeze)).tolist()
    text = TEMPLATE.read_text()
    for placeholder, value in (
        ("N_STEPS", max(arguments.steps, 1)),  # i-PI refuses to run no step
        ("STRIDE", arguments.stride),
        ("SEED", SEED),
        ("ADDRESS", address),
        ("FROZEN", frozen),
        ("TIME_STEP", TIME_STEP),
        ("TEMPERATURE", TEMPERATURE),
        ("RELAXATION_TIME", RELAXATION_TIME),
    ):
        text = text.replace(placeholder, str(value))
    (folder / "input.xml").write_text(text)


def program(name: str) -> str:
    """Return the path of a program of i-PI, which lies beside this Python."""
    path = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if path is None:
        sys.exit(f"there is no program {name}; install it with `pip install ipi`")
    return path


@contextmanager
def process(command: list[str], folder: Path, log: Path) -> Iterator[subprocess.Popen]:
    """Start a process; it has ended when the block is left, however that happens."""
    with log.open("w") as file:
        started = subprocess.Popen(command, cwd=folder, stdout=file, stderr=subprocess.STDOUT)
        try:
            yield started
        finally:
            started.terminate()
            try:
                started.wait(timeout=10)
            except subprocess.TimeoutExpired:
                started.kill()
                started.wait()


def run_ipi(folder: Path, address: str, driver_options: str) -> None:
    """Start i-PI, then the driver, and wait; stop when one of them fails."""
    socket = Path(f"/tmp/ipi_{address}")
    ipi_log, driver_log = folder / "ipi.log", folder / "driver.log"
    driver_command = [program("i-pi-driver-py"), "-u", "-a", address]
    driver_command += ["-m", "metatomic", "-o", driver_options]
    try:
        with process([program("i-pi"), "input.xml"], folder, ipi_log) as ipi:
            started = time.monotonic()
            while not socket.exists():
                if ipi.poll() is not None or time.monotonic() - started > START_LIMIT:
                    sys.exit(f"i-PI did not open its socket; see {ipi_log}")
                time.sleep(0.05)
            with process(driver_command, folder, driver_log) as driver:
                while ipi.poll() is None:
                    if driver.poll() not in (None, 0):
                        sys.exit(f"the driver has stopped; see {driver_log}")
                    time.sleep(0.05)
        if ipi.returncode != 0:
            sys.exit(f"i-PI has failed; see {ipi_log}")
    finally:
        socket.unlink(missing_ok=True)


def read_binary_trajectory(path: Path, n_frames: int, n_atoms: int) -> np.ndarray:
    """Read a trajectory in i-PI's format ``bin``, shape ``(n_frames, n_atoms, 3)``.

    A frame is the cell (9 numbers), the number of atoms, their coordinates, and then names and a
    title, which are as long in each frame.
    """
    frames = np.fromfile(path, dtype=np.uint8).reshape(n_frames, -1)
    start = (9 + 1) * 8  # bytes
    coordinates = np.ascontiguousarray(frames[:, start : start + n_atoms * 3 * 8])
    return coordinates.view(np.float64).reshape(n_frames, n_atoms, 3)


def collect(folder: Path, frame: Atoms, n_frames: int) -> Path:
    """Gather what i-PI wrote in one trajectory of ASE, with the cell of the frame."""
    energies = np.loadtxt(folder / "ipi.properties", ndmin=2)[:, 3]
    positions, forces = (
        read_binary_trajectory(folder / f"ipi.{name}_0.bin", len(energies), len(frame))
        for name in ("positions", "forces")
    )
    path = folder / "trajectory.traj"
    with Trajectory(path, "w") as trajectory:
        for number in range(n_frames):
            atoms = Atoms(frame.symbols, positions[number], cell=frame.cell, pbc=frame.pbc)
            atoms.calc = SinglePointCalculator(
                atoms, energy=energies[number], forces=forces[number]
            )
            trajectory.write(atoms)
    return path


def main() -> None:
    """Run i-PI and its driver, and gather the trajectory."""
    arguments = parse_arguments()
    folder = arguments.output
    folder.mkdir(parents=True, exist_ok=True)
    frame = ase.io.read(arguments.frame)
    check_field(arguments.model, arguments.field, frame)
    atoms = with_full_cell(frame)
    write_start(folder / "start.xyz", atoms)
    address = f"mace-smile-{os.getpid()}-{time.time_ns()}"  # no other run has it
    write_input(folder, address, atoms, arguments)
    template, model = Path(arguments.frame).absolute(), Path(arguments.model).absolute()
    options = f"template={template},model={model},device=cpu"
    if arguments.field is not None:
        options += f",energy_variant={arguments.field}"
    run_ipi(folder, address, options)
    path = collect(folder, frame, arguments.steps // arguments.stride + 1)
    temperature = np.loadtxt(folder / "ipi.properties", ndmin=2)[-1, 2]
    print(
        f"{path}: {arguments.steps} steps of {TIME_STEP} fs, last temperature {temperature:.0f} K"
    )


if __name__ == "__main__":
    main()
