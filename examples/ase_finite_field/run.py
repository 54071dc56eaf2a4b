"""NVT molecular dynamics in an electric field with ASE, which may be killed and resumed.

``python run.py MODEL.pt FRAME.xyz --field NAME`` runs 200 steps in the field NAME, one of those
the model was exported with, and writes ``trajectory.traj``: energy and forces of each frame, and
what the field has done so far. ``--expression "0, 0, 0.05*sin(2*pi*t/100)"`` takes a field of
the time (fs, V/A) instead; with neither it is the same run without a field. The same command
goes on where a run was broken off, and with more ``--steps`` where it has ended.
"""

import argparse
import sys
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms, units
from ase.constraints import FixAtoms
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from metatomic_ase import MetatomicCalculator

from mace_smile.dynamics import FiniteField, ResumableRun, exported_calculator
from mace_smile.errors import UserError
from mace_smile.physics.driving_fields import FieldExpression

TIME_STEP = 0.5  # fs
TEMPERATURE = 300.0  # K
RELAXATION_TIME = 100.0  # fs, of the thermostat


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="file that mace_smile_export wrote")
    parser.add_argument("frame", help="structure to start from (its last frame)")
    fields = parser.add_mutually_exclusive_group()
    fields.add_argument("--field", metavar="NAME", help="field of the model; none without")
    fields.add_argument("--expression", metavar="EX,EY,EZ", help="field of the time t in fs")
    parser.add_argument("--steps", type=int, default=200, help="number of steps (200)")
    parser.add_argument("--stride", type=int, default=10, help="steps between frames (10)")
    parser.add_argument("--freeze", nargs="*", default=[], help="elements that do not move")
    parser.add_argument(
        "--output", type=Path, default=Path("output/ase"), help="folder (output/ase)"
    )
    arguments = parser.parse_args()
    for path in (arguments.model, arguments.frame):
        if not Path(path).is_file():
            parser.error(f"there is no file '{path}'")
    return arguments


def starting_atoms(frame: str, frozen: list[str]) -> Atoms:
    """Return the structure without its labels, with velocities and frozen elements."""
    read = ase.io.read(frame)
    atoms = Atoms(read.symbols, read.positions, cell=read.cell, pbc=read.pbc)
    atoms.set_constraint(FixAtoms(mask=np.isin(atoms.get_chemical_symbols(), frozen)))
    MaxwellBoltzmannDistribution(atoms, temperature_K=TEMPERATURE, rng=np.random.default_rng(1))
    return atoms


def calculator(
    model: str, field: str | None, expression: str | None
) -> MetatomicCalculator | FiniteField:
    """Return the calculator of the model, in one of its fields, a field of the time, or none."""
    if field is not None:
        # A variant of the energy has the forces of the field; FiniteField follows the enthalpy.
        return FiniteField(exported_calculator(model, variant=field))
    if expression is not None:
        return FiniteField(exported_calculator(model), FieldExpression(expression), field_order=1)
    return MetatomicCalculator(model)


def main() -> None:
    """Run NVT and store a frame every few steps."""
    arguments = parse_arguments()
    arguments.output.mkdir(parents=True, exist_ok=True)
    atoms = starting_atoms(arguments.frame, arguments.freeze)
    atoms.calc = calculator(arguments.model, arguments.field, arguments.expression)
    dynamics = Langevin(
        atoms,
        TIME_STEP * units.fs,
        temperature_K=TEMPERATURE,
        friction=1 / (RELAXATION_TIME * units.fs),
        fixcm=False,
        rng=np.random.default_rng(2),
    )
    field = atoms.calc if isinstance(atoms.calc, FiniteField) else None
    if field is not None:
        field.follow(dynamics)
    path = arguments.output / "trajectory.traj"
    run = ResumableRun(
        dynamics, arguments.output / "restart.npz", path, stride=arguments.stride, field=field
    )
    run.run(arguments.steps)

    n_mobile = np.count_nonzero(~np.isin(atoms.get_chemical_symbols(), arguments.freeze))
    temperature = atoms.get_kinetic_energy() / (1.5 * units.kB * n_mobile)
    print(
        f"{path}: {dynamics.nsteps} steps of {TIME_STEP} fs, last temperature {temperature:.0f} K"
    )
    if field is not None:
        change = ", ".join(f"{part:.3f}" for part in field.dipole_change)
        print(
            f"the dipole has changed by {change} e A, the work of the field is {field.work:.4f} eV"
        )


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
