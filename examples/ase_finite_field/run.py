"""NVT molecular dynamics in an electric field with ASE.

``python run.py MODEL.pt FRAME.xyz --field NAME`` runs 200 steps in the field NAME, one of those
the model was exported with, and writes ``trajectory.traj``: energy and forces of each frame.
Without ``--field`` it is the same run without a field.
"""

import argparse
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms, units
from ase.constraints import FixAtoms
from ase.io.trajectory import Trajectory
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from metatomic_ase import MetatomicCalculator

TIME_STEP = 0.5  # fs
TEMPERATURE = 300.0  # K
RELAXATION_TIME = 100.0  # fs, of the thermostat


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="file that mace_smile_export wrote")
    parser.add_argument("frame", help="structure to start from (its last frame)")
    parser.add_argument("--field", metavar="NAME", help="field of the model; none without")
    parser.add_argument("--steps", type=int, default=200, help="number of steps (200)")
    parser.add_argument("--stride", type=int, default=10, help="steps between frames (10)")
    parser.add_argument("--freeze", nargs="*", default=[], help="elements that do not move")
    parser.add_argument("--output", type=Path, default=Path("output"), help="folder (output)")
    return parser.parse_args()


def starting_atoms(frame: str, frozen: list[str]) -> Atoms:
    """Return the structure without its labels, with velocities and frozen elements."""
    read = ase.io.read(frame)
    atoms = Atoms(read.symbols, read.positions, cell=read.cell, pbc=read.pbc)
    atoms.set_constraint(FixAtoms(mask=np.isin(atoms.get_chemical_symbols(), frozen)))
    MaxwellBoltzmannDistribution(atoms, temperature_K=TEMPERATURE, rng=np.random.default_rng(1))
    return atoms


def main() -> None:
    """Run NVT and store a frame every few steps."""
    arguments = parse_arguments()
    arguments.output.mkdir(parents=True, exist_ok=True)
    atoms = starting_atoms(arguments.frame, arguments.freeze)

    # The field is a variant of the energy: selecting it is all an engine has to do.
    variants = {} if arguments.field is None else {"energy": arguments.field}
    atoms.calc = MetatomicCalculator(arguments.model, variants=variants)

    dynamics = Langevin(
        atoms,
        TIME_STEP * units.fs,
        temperature_K=TEMPERATURE,
        friction=1 / (RELAXATION_TIME * units.fs),
        fixcm=False,
        rng=np.random.default_rng(2),
    )
    path = arguments.output / "trajectory.traj"
    with Trajectory(path, "w", atoms, properties=["energy", "forces"]) as trajectory:
        dynamics.attach(trajectory.write, arguments.stride)
        dynamics.run(arguments.steps)
    n_mobile = np.count_nonzero(~np.isin(atoms.get_chemical_symbols(), arguments.freeze))
    temperature = atoms.get_kinetic_energy() / (1.5 * units.kB * n_mobile)
    print(
        f"{path}: {arguments.steps} steps of {TIME_STEP} fs, last temperature {temperature:.0f} K"
    )


if __name__ == "__main__":
    main()
