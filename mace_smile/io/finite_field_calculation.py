"""One calculation of CP2K in a field, or without one: energy, forces, dipole of its outputs.

Forces and moments are in the main output, or in the files its input names.
"""

import logging
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.units import Bohr, Debye, Hartree

from mace_smile.errors import UserError
from mace_smile.io.cp2k import (
    FORCE_SUM,
    FORCE_TABLE,
    FORCES,
    MOMENTS,
    read_cp2k_energies_and_forces,
)
from mace_smile.io.cp2k_input import FIELD_UNIT, Cp2kInput
from mace_smile.io.dipole import AXES, SMALLEST_NET_CHARGE, number, read_output

logger = logging.getLogger(__name__)

#: Endings of main outputs beside an input of the same stem.
OUTPUT_ENDINGS = (".out", ".log")


@dataclass(frozen=True)
class Calculation:
    """One calculation in a field, or without one."""

    setup: Cp2kInput
    """Its structure and field."""
    energy: float
    """In eV."""
    forces: np.ndarray
    """Shape (n_atoms, 3), in eV/A."""


def read_calculation(setup: Cp2kInput) -> Calculation:
    """Energy and forces of a calculation.

    :raises UserError: for a missing output, one that is not finished or converged or belongs to
        another input, and missing forces.
    """
    output = _main_output(setup)
    text = read_output(output)
    results = read_cp2k_energies_and_forces(output)
    if len(results) != 1:
        raise UserError(
            f"'{output}' has {len(results)} energies but must have one; it is not finished, or was "
            "run with another RUN_TYPE than ENERGY_FORCE, or holds several runs"
        )
    if re.findall(r"SCF run (NOT )?converged", text)[-1:] != [""]:
        raise UserError(
            f"the SCF cycle of '{output}' is not converged; converge it, since differences of "
            "forces in small fields need more than usual (EPS_SCF 5e-7 or below)"
        )
    _check_field(output, text, setup)
    energy, forces = results[0]
    if forces is None:
        forces = _forces_of_file(setup)
    if forces is None or forces.shape != setup.atoms.positions.shape:
        found = "none" if forces is None else f"of {len(forces)} atoms"
        raise UserError(
            f"the forces of '{setup.path}' are {found} but must be of {len(setup.atoms)} atoms; "
            "print &FORCE_EVAL / &PRINT / &FORCES"
        )
    return Calculation(setup, energy, forces)


def _check_field(output: Path, text: str, setup: Cp2kInput) -> None:
    """Compare the field an output repeats with that of its input, where it does.

    :raises UserError: where they differ.
    """
    found = re.findall(r"PERIODIC_EFIELD\| Intensity \[a\.u\.\]:?\s+(\S+)", text)
    told = abs(number(found[-1])) * FIELD_UNIT if found else None
    strength = float(np.abs(setup.electric_field).max())
    if told is not None and abs(told - strength) > 1e-4 * max(told, strength):
        raise UserError(
            f"'{output}' says a field of {told:.6f} V/A but its input {strength:.6f} V/A; they do "
            "not belong together"
        )


def _forces_of_file(setup: Cp2kInput) -> np.ndarray | None:
    """Forces in a file of their own, shape ``(n_atoms, 3)``, in eV/A: its last table."""
    if setup.forces is None:
        return None
    text = read_output(setup.forces)
    tables = list(FORCE_TABLE.finditer(text))
    if not tables:
        return None
    total = FORCE_SUM.search(text, tables[-1].end())
    end = len(text) if total is None else total.start()
    rows = FORCES.finditer(text, tables[-1].end(), end)
    return np.array([[number(value) for value in row.groups()] for row in rows]) * Hartree / Bohr


def read_open_dipole(setup: Cp2kInput) -> np.ndarray | None:
    """The dipole of an open structure in its periodic box, shape ``(3,)``, in e A.

    The Berry phase gives it modulo e times the cell vectors; the shortest one is taken, which a
    molecule in a box with empty space around it has.

    :return: None where moments were not printed, and for structures with a net charge.
    """
    path = setup.moments or _main_output(setup)
    found = [match.groupdict() for match in MOMENTS.finditer(read_output(path))]
    if not found:
        logger.warning("'%s' has no 'Dipole moment [Debye]': the frame has no dipole", path)
        return None
    if abs(setup.total_charge) > SMALLEST_NET_CHARGE:
        return None
    dipole = Debye * np.array([number(found[-1][axis]) for axis in AXES])
    cell = np.asarray(setup.atoms.cell)
    return dipole - np.round(dipole @ np.linalg.inv(cell)) @ cell


def _main_output(setup: Cp2kInput) -> Path:
    """The main output beside an input.

    :raises UserError: where there is none.
    """
    paths = [setup.path.with_suffix(ending) for ending in OUTPUT_ENDINGS]
    for path in paths:
        if path.is_file():
            return path
    raise UserError(
        f"'{setup.path}' has no output beside it; its main output must be "
        f"{' or '.join(path.name for path in paths)}"
    )
