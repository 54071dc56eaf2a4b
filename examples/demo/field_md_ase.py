"""Molecular dynamics of a water film with and without a field, in ASE.

The exported model offers the field as a variant of its energy, so any engine of metatomic can
select it. Before the runs this script checks what the variant promises: its forces differ
from those without the field by F(E) - F(0) = Z^T E.

Run as ``python field_md_ase.py FOLDER FIELD n_steps``; the folder holds ``demo.pt`` and
``start.xyz`` and receives ``ase_no_field.xyz`` and ``ase_FIELD.xyz`` with the dipole of each frame.
The runs are NVE, both from the same velocities, so the field is all they differ by.
"""

import json
import sys
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms, units
from ase.constraints import FixAtoms
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet
from metatomic.torch import ModelOutput, load_atomistic_model
from metatomic_ase import MetatomicCalculator

BORN_CHARGES = "mace_smile::born_effective_charges"
MACRO_DIPOLE = "mace_smile::macro_dipole"

TIME_STEP = 0.5  # fs
TEMPERATURE = 300.0  # K, of the first velocities
STRIDE = 5  # steps between stored frames
WALL = 10  # the walls are neon


def calculator(model: Path, field: str | None) -> MetatomicCalculator:
    """Return a calculator of the exported model, with a field or without."""
    return MetatomicCalculator(
        model,
        variants=None if field is None else {"energy": field},
        additional_outputs={
            BORN_CHARGES: ModelOutput(sample_kind="atom"),
            MACRO_DIPOLE: ModelOutput(sample_kind="system"),
        },
        do_gradients_with_energy=True,
    )


def additional_output(atoms: Atoms, name: str) -> np.ndarray:
    """Return an output that the calculator evaluated beside energy and forces."""
    return atoms.calc.additional_outputs[name].block().values.squeeze(-1).detach().numpy()


def check_forces(model: Path, start: Atoms, field: str) -> None:
    """Compare the forces of the field on all atoms with Z^T E; stop when they differ."""
    vector = np.array(json.loads(load_atomistic_model(model).metadata().extra["fields"])[field])
    atoms = start.copy()
    atoms.calc = calculator(model, None)
    without = atoms.get_forces(apply_constraint=False)
    born_charges = additional_output(atoms, BORN_CHARGES)
    atoms.calc = calculator(model, field)
    difference = atoms.get_forces(apply_constraint=False) - without
    expected = np.einsum("iab,a->ib", born_charges, vector)  # F_ib = sum_a E_a Z[i, a, b]
    error = np.abs(difference - expected).max()
    print(
        f"forces of the field {field} = {vector} V/A: largest {np.abs(expected).max():.4f} eV/A, "
        f"|F(E) - F(0) - Z^T E| at most {error:.1e} eV/A"
    )
    if error > 1e-8:
        sys.exit("the forces of the field are not Z^T E")


def starting_atoms(folder: Path) -> Atoms:
    """Return the start frame without its labels, with velocities and fixed walls."""
    frame = ase.io.read(folder / "start.xyz")
    atoms = Atoms(frame.symbols, frame.positions, cell=frame.cell, pbc=frame.pbc)
    atoms.set_constraint(FixAtoms(mask=atoms.numbers == WALL))
    MaxwellBoltzmannDistribution(atoms, temperature_K=TEMPERATURE, rng=np.random.default_rng(1))
    return atoms


def run(model: Path, start: Atoms, field: str | None, n_steps: int, output: Path) -> None:
    """Run NVE and store a frame and its dipole every few steps."""
    atoms = start.copy()
    atoms.calc = calculator(model, field)
    dynamics = VelocityVerlet(atoms, TIME_STEP * units.fs)
    frames = []

    def store() -> None:
        frame = atoms.copy()
        frame.info["time"] = dynamics.nsteps * TIME_STEP
        frame.info["macro_dipole"] = additional_output(atoms, MACRO_DIPOLE)[0]
        frames.append(frame)

    dynamics.attach(store, STRIDE)
    dynamics.run(n_steps)
    ase.io.write(output, frames, format="extxyz")
    n_mobile = np.count_nonzero(atoms.numbers != WALL)
    temperature = atoms.get_kinetic_energy() / (1.5 * units.kB * n_mobile)
    print(f"{output.name}: {n_steps} steps of {TIME_STEP} fs, last temperature {temperature:.0f} K")


def main() -> None:
    """Check the forces, then run without and with the field."""
    folder, field, n_steps = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    model = folder / "demo.pt"
    start = starting_atoms(folder)
    check_forces(model, start, field)
    run(model, start, None, n_steps, folder / "ase_no_field.xyz")
    run(model, start, field, n_steps, folder / f"ase_{field}.xyz")


if __name__ == "__main__":
    main()
