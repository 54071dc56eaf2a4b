"""Molten NaCl in LAMMPS: the box, and a LAMMPS that holds the melt."""

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk

from metatensor_models.lammps import MetatomicLammps, write_lammps_data

HERE = Path(__file__).parent
ELEMENTS = ["Na", "Cl"]  # of the atom types 1 and 2
CHARGES = {"Na": 1.0, "Cl": -1.0}  # e, of the exact potential
EDGE = 12.78  # A, of the cubic cell: 64 ions at 1.49 g/cm^3
TIME_STEP = 3.0  # fs, that of in.melt
MELTING = 6000.0  # fs


def crystal() -> Atoms:
    """The ions where they start: rock salt, as wide as the melt."""
    return bulk("NaCl", "rocksalt", a=EDGE / 2, cubic=True).repeat(2)


def start_lammps(folder: Path, name: str, temperature: float, seed: int) -> MetatomicLammps:
    """Melt the crystal with the exact potential and return the LAMMPS that holds it.

    :param folder: where its files go.
    :param name: of the log.
    :param temperature: of the thermostat, in K.
    :param seed: of velocities and thermostat.
    """
    data = folder / f"{name}.data"
    write_lammps_data(data, crystal(), ELEMENTS)
    lmp = MetatomicLammps(["-log", str(folder / f"{name}.log"), "-screen", "none"])
    for variable, value in (("data", data), ("temperature", temperature), ("seed", seed)):
        lmp.command(f'variable {variable} string "{value}"')
    lmp.file(HERE / "in.melt")
    lmp.file(HERE / "in.exact")
    advance(lmp, MELTING)
    return lmp


def advance(lmp: MetatomicLammps, duration: float) -> None:
    """Run for a time in fs."""
    lmp.command(f"run {round(duration / TIME_STEP)} post no")


def per_atom(lmp: MetatomicLammps, name: str) -> np.ndarray:
    """Per-atom quantity of LAMMPS in the order of the ids, that of :func:`crystal`."""
    n_atoms = lmp.get_natoms()
    order = np.argsort(lmp.numpy.extract_atom("id")[:n_atoms].reshape(-1))
    return lmp.numpy.extract_atom(name)[order].copy()
