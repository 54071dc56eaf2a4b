"""Dipoles in the output of pw.x of Quantum ESPRESSO.

Both quantities have the physical sign. With ``tefield`` and ``dipfield`` pw.x prints the dipole of
the slab along ``edir`` in Debye at each electronic step (and in e bohr, which it calls Ry au). With
``lberry`` a non-self-consistent run prints the Berry-phase polarization along one lattice vector,
times the volume in e bohr, so a whole dipole needs three runs, ``gdir`` 1, 2 and 3.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase.units import Bohr, Debye

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

STEP_END = "!    total energy"
CORRECTION = re.compile(
    r"Computed dipole along edir\((\d)\)(?:.*\n){1,5}?"
    rf"\s+Dipole\s+{NUMBER} Ry au,\s+{NUMBER} Debye"
)
FIELD = re.compile(rf"E field amplitude \[Ha a\.u\.\]:\s+{NUMBER}")
GDIR = re.compile(r"along the direction of vector\s+(\d)")
BERRY = re.compile(rf"P =\s+{NUMBER}\s+\(mod\s+{NUMBER}\)\s+\(e/Omega\)\.bohr")
DIRECTION = re.compile(
    rf"polarization direction is:\s+\(\s*{NUMBER}\s*,\s*{NUMBER}\s*,\s*{NUMBER}\s*\)"
)
MODULUS = re.compile(r"TOTAL PHASE:\s+\S+\s+MOD_TOT:\s*(\d)")


def read_espresso_dipoles(path: str | Path) -> list[Dipole]:
    """Dipoles of the dipole correction: the last of each ionic step.

    :param path: of an output of pw.x with tefield, dipfield and edir.
    :return: one an ionic step, along ``edir``; steps without convergence have no total energy
        and are none.
    :raises UserError: for a missing line, a net charge or an external field.
    """
    text = read_output(path)
    _check_net_charge(path, text)
    dipoles = []
    for index, step in enumerate(ionic_steps(path, text, STEP_END, "pw.x")):
        found = CORRECTION.findall(step)
        if not found:
            raise UserError(
                f"ionic step {index} of '{path}' has no line 'Computed dipole along edir'; run "
                "pw.x with tefield = .true., dipfield = .true., edir = 3 for a slab along z, "
                "and emaxpos in the vacuum"
            )
        field = FIELD.findall(step)
        if field and number(field[-1]) != 0.0:
            raise UserError(
                f"'{path}' was run in an external field (eamp = {field[-1]}), which no charge of "
                "the cell explains; set eamp = 0"
            )
        direction, _, debye = found[-1]
        axis = AXES[int(direction) - 1]
        vector = along(axis, number(debye) * Debye)
        dipoles.append(Dipole(vector, axis, "Quantum ESPRESSO dipfield"))
    return dipoles


def read_espresso_berry_dipole(paths: Sequence[str | Path]) -> Dipole:
    """The dipole of a periodic cell from the Berry phases along its three lattice vectors.

    :param paths: of the three outputs of pw.x with lberry, for ``gdir`` 1, 2 and 3.
    :return: the dipole, known up to its quantum times the cell vectors.
    :raises UserError: for missing lines or directions.
    """
    vector, moduli, directions = np.zeros(3), [], []
    for path in paths:
        text = read_output(path)
        _check_net_charge(path, text)
        gdir, value = GDIR.search(text), BERRY.search(text)
        direction, modulus = DIRECTION.search(text), MODULUS.search(text)
        if gdir is None or value is None or direction is None or modulus is None:
            raise UserError(
                f"'{path}' has no 'VALUES OF POLARIZATION'; run pw.x with calculation = 'nscf', "
                "lberry = .true., gdir and nppstr after a self-consistent run"
            )
        unit = np.array([number(component) for component in direction.groups()])
        vector = vector + number(value[1]) * Bohr * unit / np.linalg.norm(unit)
        moduli.append(float(modulus[1]))
        directions.append(int(gdir[1]))
    if sorted(directions) != [1, 2, 3]:
        raise UserError(
            f"the outputs have gdir {', '.join(map(str, sorted(directions)))} but must have 1, 2 "
            "and 3, once each; each run gives the part of the dipole along one lattice vector"
        )
    return Dipole(vector, AXES, "Quantum ESPRESSO lberry", min(moduli))


def _check_net_charge(path: str | Path, text: str) -> None:
    """Refuse a cell whose electrons and ions do not add up to zero.

    :raises UserError: with the remedy.
    """
    electrons = re.search(rf"number of electrons\s+=\s+{NUMBER}", text)
    table = re.search(r"atomic species\s+valence.*\n((?:\s+\S+\s+\d+\.\d+\s+\d+\.\d+ .*\n)+)", text)
    if electrons is None or table is None:
        return
    valences = {row.split()[0]: float(row.split()[1]) for row in table[1].splitlines()}
    n_atoms = re.search(r"number of atoms/cell\s+=\s+(\d+)", text)
    sites = re.findall(r"^\s+\d+\s+(\S+)\s+tau\(\s*\d+\)", text, re.M)
    sites = sites[: int(n_atoms[1])] if n_atoms else []
    charge = sum(valences.get(species, 0.0) for species in sites) - number(electrons[1])
    if sites and abs(charge) > SMALLEST_NET_CHARGE:
        raise UserError(
            f"the cell of '{path}' has a net charge of {charge:g} e, so its dipole depends on the "
            "origin; set tot_charge = 0"
        )
