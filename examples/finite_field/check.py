"""The same structure in ASE, i-PI and LAMMPS: equal energies and forces, and F(E) - F(0) = Z^T E.

With a polarizability, unless the model was exported with ``--field_order 1``, F(E) - F(0) has the
gradient of E . alpha E / 2 too.

``python check.py MODEL.pt FRAME.xyz --field NAME`` runs the ``run.py`` of the three engines for no
step, with the field and without, and prints how far they are from each other. The exit code is 1
when that is more than 1e-8 eV/A (a model in double precision) or 1e-5 eV/A (in single).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from metatomic.torch import AtomisticModel, load_atomistic_model

from metatensor_models.trial import evaluate

ENGINES = ("ase", "ipi", "lammps")
EXAMPLES = Path(__file__).parents[1]
BORN_CHARGES = "mace_smile::born_effective_charges"
TOLERANCE = {"float64": 1e-8, "float32": 1e-5}  # eV/A
ROUND_OFF = {"float64": 1e-15, "float32": 1e-6}  # of an energy, relative


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="file that mace_smile_export wrote")
    parser.add_argument("frame", help="structure (its last frame)")
    parser.add_argument("--field", metavar="NAME", required=True, help="field of the model")
    return parser.parse_args()


def wrapped_copy(frame: str, folder: Path) -> tuple[Atoms, str]:
    """Return the structure, and a file of it, with all atoms in the cell.

    LAMMPS wraps atoms. In single precision another image of an atom is rounded differently, which
    changes forces by some 1e-5 eV/A, so all engines start from the images that LAMMPS takes.
    """
    read = ase.io.read(frame)
    atoms = Atoms(read.symbols, read.positions, cell=read.cell, pbc=read.pbc)
    atoms.wrap(eps=0)
    path = folder / "frame.xyz"
    ase.io.write(path, atoms)
    return ase.io.read(path), str(path)


def single_point(engine: str, model: str, frame: str, field: str | None) -> Atoms:
    """Return the first frame of a run, with the energy and forces of the engine."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(EXAMPLES / f"{engine}_finite_field" / "run.py")]
        command += [model, frame, "--steps", "1", "--stride", "1", "--output", folder]
        if field is not None:
            command += ["--field", field]
        environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode != 0:
            sys.exit(f"{engine} has failed: {done.stderr.strip()}")
        return ase.io.read(Path(folder) / "trajectory.traj", 0)


def forces_of(atoms: Atoms) -> np.ndarray:
    """Return the forces on all atoms, frozen or not, in eV/A."""
    return atoms.get_forces(apply_constraint=False)


def field_forces(model: AtomisticModel, atoms: Atoms, field: str) -> np.ndarray:
    """Return what a field adds, from Born charges and polarizability of the model, in eV/A."""
    extra = model.metadata().extra
    vectors = json.loads(extra["fields"])
    if field not in vectors:
        sys.exit(f"the model has no field '{field}'; it has {', '.join(vectors) or 'none'}")
    if extra["field_kind"] != "macroscopic":
        sys.exit("this check is for fields of --field_kind macroscopic")
    atoms = Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    atoms.cell[~atoms.pbc] = 0.0  # as metatomic wants it
    outputs = evaluate(model, atoms, {field: vectors[field]})
    forces = np.einsum("iab,a->ib", outputs[BORN_CHARGES], vectors[field])  # sum_a E_a Z[i, a, b]
    if extra.get("field_order") == "2":
        forces += outputs[f"second order/{field}"]
    return forces


def main() -> None:
    """Run the engines and compare them."""
    arguments = parse_arguments()
    model = load_atomistic_model(arguments.model)
    dtype = model.capabilities().dtype
    tolerance = TOLERANCE[dtype]
    with tempfile.TemporaryDirectory() as folder:
        structure, path = wrapped_copy(arguments.frame, Path(folder))
        expected = field_forces(model, structure, arguments.field)
        frames = {
            (engine, field): single_point(engine, arguments.model, path, field)
            for engine in ENGINES
            for field in (None, arguments.field)
        }
    print(f"{arguments.model} ({dtype}), {len(expected)} atoms; largest deviations:")
    print(f"{'engine':8}{'field':12}{'energy, eV':>14}{'forces, eV/A':>14}{'field, eV/A':>16}")
    is_right = True
    for (engine, field), atoms in frames.items():
        reference = frames["ase", field]
        energy = abs(atoms.get_potential_energy() - reference.get_potential_energy())
        forces = np.abs(forces_of(atoms) - forces_of(reference)).max()
        without = forces_of(frames[engine, None])
        coupling = 0.0
        if field is not None:
            coupling = np.abs(forces_of(atoms) - without - expected).max()
        print(f"{engine:8}{field or '-':12}{energy:14.1e}{forces:14.1e}{coupling:16.1e}")
        allowed = tolerance + ROUND_OFF[dtype] * abs(reference.get_potential_energy())
        is_right &= bool(energy < allowed and forces < tolerance and coupling < tolerance)
    print(
        f"forces are compared with those of ASE, and F(E) - F(0) with those of the response (up to "
        f"{np.abs(expected).max():.1e} eV/A); allowed are {tolerance:.0e} eV/A"
    )
    if not is_right:
        sys.exit(1)


if __name__ == "__main__":
    main()
