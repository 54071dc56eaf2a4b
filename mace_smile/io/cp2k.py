"""Dipoles, energies and forces in the main output of CP2K.

Two quantities, and two signs. The surface dipole correction prints the dipole of the slab in
``electrons-Angstroem``, electrons positive; its sign is turned here. ``&MOMENTS`` prints Debye
with the physical sign. Its Berry-phase operator (``PERIODIC T``) belongs to cells that are
periodic along all axes and its traditional one to open structures; in a periodic cell the
traditional one misses the pairs of orbitals across the cell boundary and is refused.
"""

import re
from pathlib import Path

import numpy as np
from ase.units import Bohr, Debye, Hartree

from mace_smile.errors import UserError
from mace_smile.io.dipole import (
    AXES,
    NUMBER,
    SMALLEST_NET_CHARGE,
    Dipole,
    along,
    ionic_steps,
    number,
    read_output,
)

STEP_END = "ENERGY| Total FORCE_EVAL"
SURFACE = re.compile(rf"the slab \[electrons-Angstroem\]:\s+{NUMBER}")
SURFACE_CHARGE = re.compile(rf"Total charge density g-space grids:\s+{NUMBER}")
MOMENTS = re.compile(
    rf"Charges\s+Electronic=\s*{NUMBER}\s+Core=\s*{NUMBER}\s+Total=\s*(?P<charge>{NUMBER})"
    r"(?P<operator>.*?)Dipole moment \[Debye\]"
    rf"\s+X=\s*(?P<x>{NUMBER})\s+Y=\s*(?P<y>{NUMBER})\s+Z=\s*(?P<z>{NUMBER})",
    re.DOTALL,
)
ENERGY = re.compile(rf"{re.escape(STEP_END)}.*?energy \[(?P<unit>\S+)\]:?\s+(?P<value>{NUMBER})")
#: A row of the table of forces, up to CP2K 2024 and from 2025 on.
FORCES = re.compile(
    rf"^\s+(?:\d+\s+\d+\s+[A-Z][a-z]?|FORCES\|\s+\d+)\s+{NUMBER}\s+{NUMBER}\s+{NUMBER}", re.M
)
FORCE_TABLE = re.compile(r"ATOMIC FORCES in \[a\.u\.\]|Atomic forces \[hartree/bohr\]")
FORCE_SUM = re.compile(r"SUM OF ATOMIC FORCES|FORCES\| Sum")


def read_cp2k_dipoles(path: str | Path, axis: str = "z") -> list[Dipole]:
    """Dipoles of an output of CP2K, one an ionic step, of whichever of the two kinds it has.

    :param path: of the main output.
    :param axis: SURF_DIP_DIR of a slab, which the output does not repeat.
    :raises UserError: where it has neither, and what the readers of the two refuse.
    """
    text = read_output(path)
    if SURFACE.search(text):
        return read_cp2k_surface_dipoles(path, axis)
    if MOMENTS.search(text):
        return read_cp2k_moments(path)
    raise UserError(
        f"'{path}' has neither the dipole of the surface dipole correction nor 'Dipole moment "
        "[Debye]'; run CP2K again with SURFACE_DIPOLE_CORRECTION T in &DFT for a slab, or with "
        "&MOMENTS in &DFT/&PRINT, without FILENAME, for a periodic cell or a molecule"
    )


def read_cp2k_surface_dipoles(path: str | Path, axis: str = "z") -> list[Dipole]:
    """Dipoles of the surface dipole correction: the last of each ionic step.

    :param path: of the main output, with SURFACE_DIPOLE_CORRECTION T.
    :param axis: SURF_DIP_DIR, which the output does not repeat.
    :raises UserError: for a missing line or a net charge.
    """
    dipoles = []
    for index, step in enumerate(ionic_steps(path, read_output(path), STEP_END, "CP2K")):
        found = SURFACE.findall(step)
        if not found:
            raise UserError(
                f"ionic step {index} of '{path}' has no line 'the slab [electrons-Angstroem]'; run "
                "CP2K with SURFACE_DIPOLE_CORRECTION T and without SURF_DIP_SWITCH"
            )
        charges = SURFACE_CHARGE.findall(step)
        if charges:
            _check_net_charge(path, number(charges[-1]))
        vector = along(axis, -number(found[-1]))
        source = "CP2K surface dipole correction"
        dipoles.append(Dipole(vector, axis, source, converged=_is_converged(step)))
    return dipoles


def read_cp2k_moments(path: str | Path) -> list[Dipole]:
    """Dipoles of ``&MOMENTS``: Berry phase in periodic cells, traditional in open structures.

    :param path: of the main output.
    :return: one an ionic step; in periodic cells known up to e times the cell vectors.
    :raises UserError: for a missing line, an operator that does not fit the boundary, or a net
        charge.
    """
    text = read_output(path)
    boundary = re.findall(r"CELL\| Periodicity\s+([XYZNOE]+)", text)[:1] or ["unknown"]
    dipoles = []
    for index, step in enumerate(ionic_steps(path, text, STEP_END, "CP2K")):
        found = [match.groupdict() for match in MOMENTS.finditer(step)]
        if not found:
            raise UserError(
                f"ionic step {index} of '{path}' has no 'Dipole moment [Debye]'; print &MOMENTS at "
                "each step, into the main output (no FILENAME)"
            )
        moments = found[-1]
        operator = "Berry phase" if "Berry phase" in moments["operator"] else "traditional"
        if (operator, *boundary) not in (("Berry phase", "XYZ"), ("traditional", "NONE")):
            raise UserError(
                f"'{path}' has a dipole of the {operator} operator in a cell whose periodicity is "
                f"{boundary[0]}; use PERIODIC T in &MOMENTS with a cell periodic along XYZ, "
                "PERIODIC F with PERIODIC NONE, and the surface dipole correction for slabs"
            )
        _check_net_charge(path, number(moments["charge"]))
        vector = Debye * np.array([number(moments[axis]) for axis in AXES])
        quantum = 1.0 if operator == "Berry phase" else None
        dipoles.append(Dipole(vector, AXES, "CP2K moments", quantum, _is_converged(step)))
    return dipoles


def read_cp2k_energies_and_forces(path: str | Path) -> list[tuple[float, np.ndarray | None]]:
    """Energies and forces of each ionic step, which ASE does not read from CP2K.

    :param path: of the main output.
    :return: energy in eV, and forces ``(n_atoms, 3)`` in eV/A; None where they were not printed.
    :raises UserError: for energies that are not in Hartree.
    """
    text = read_output(path)
    ends = [match.start() for match in re.finditer(re.escape(STEP_END), text)]
    results: list[tuple[float, np.ndarray | None]] = []
    for start, end in zip(ends, [*ends, len(text)][1:], strict=True):
        energy = ENERGY.match(text, start)
        if energy is None or energy["unit"] not in ("a.u.", "hartree"):
            raise UserError(
                f"'{path}' has an energy that is not in Hartree ('{text[start : start + 70]}'); "
                "leave the units of CP2K's output as they are"
            )
        table = FORCE_TABLE.search(text, start, end)
        forces = None
        if table is not None:
            total = FORCE_SUM.search(text, table.end(), end)
            rows = FORCES.finditer(text, table.end(), end if total is None else total.start())
            components = [[number(value) for value in row.groups()] for row in rows]
            forces = np.array(components) * Hartree / Bohr
        results.append((number(energy["value"]) * Hartree, forces))
    return results


def _check_net_charge(path: str | Path, charge: float) -> None:
    """Refuse the dipole of a cell with a net charge.

    :param charge: in e.
    :raises UserError: with the remedy.
    """
    if abs(charge) > SMALLEST_NET_CHARGE:
        raise UserError(
            f"the cell of '{path}' has a net charge of {charge:g} e, so its dipole depends on the "
            "origin; make it neutral, e.g. by counter charges on a wall"
        )


def _is_converged(step: str) -> bool:
    """Whether the last cycle of an ionic step was converged."""
    return re.findall(r"SCF run (NOT )?converged", step)[-1:] == [""]
