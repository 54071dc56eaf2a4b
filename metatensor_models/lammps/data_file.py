"""A structure of ASE as a LAMMPS data file, in LAMMPS' own frame and with nothing rotated.

ASE's writer turns a cell that does not suit LAMMPS, and a field would then point elsewhere;
here such a cell is refused.
"""

from collections.abc import Sequence
from pathlib import Path

import ase
import numpy as np
from ase.data import atomic_masses, atomic_numbers

from mace_smile.errors import UserError

#: Room around atoms along axes without a cell vector, in A.
MARGIN = 5.0


def write_lammps_data(path: str | Path, atoms: ase.Atoms, elements: Sequence[str]) -> str:
    """Write a data file (``atom_style atomic``) and return the ``boundary`` command for it.

    :param path: file to write.
    :param atoms: the structure; its order becomes the atom ids, its velocities are written.
    :param elements: chemical symbol of each LAMMPS atom type, in order.
    :return: e.g. ``boundary p p s``: shrink-wrapped along axes that are not periodic.
    :raises UserError: for elements that are not listed, numbers that are not finite, or a cell
        that LAMMPS would rotate.
    """
    missing = sorted(set(atoms.get_chemical_symbols()) - set(elements))
    if missing:
        raise UserError(f"`elements` does not name {', '.join(missing)}, which the structure has")
    positions = atoms.get_positions()
    cell = np.array(atoms.cell)
    if not (np.isfinite(positions).all() and np.isfinite(cell).all()):
        raise UserError(
            "the structure has positions or cell vectors that are not finite numbers; take "
            "another frame"
        )
    low = np.zeros(3)
    for axis in range(3):
        if not atoms.pbc[axis]:
            low[axis] = positions[:, axis].min() - MARGIN
            cell[axis] = 0.0
            cell[axis, axis] = np.ptp(positions[:, axis]) + 2 * MARGIN
    upper = np.abs(cell[np.triu_indices(3, 1)])
    if upper.max() > 1e-9 * np.abs(cell).max() or np.diag(cell).min() <= 0:
        raise UserError(
            "the cell has a not along x, or b not in the xy plane, which LAMMPS does not take; "
            "rotate the structure, and the field with it"
        )
    tilts = np.array([cell[1, 0], cell[2, 0], cell[2, 1]])
    types = [list(elements).index(symbol) + 1 for symbol in atoms.get_chemical_symbols()]
    # ASE's unit of velocity in A/ps, that of `units metal`
    velocities = atoms.get_velocities() * 1000.0 * ase.units.fs
    lines = [f"{atoms.get_chemical_formula()}", "", f"{len(atoms)} atoms"]
    lines.append(f"{len(elements)} atom types")
    for axis, name in enumerate("xyz"):
        start = float(low[axis])
        lines.append(f"{start!r} {start + float(cell[axis, axis])!r} {name}lo {name}hi")
    if np.any(tilts != 0):
        lines.append(" ".join(repr(float(tilt)) for tilt in tilts) + " xy xz yz")
    lines += ["", "Masses", ""]
    for number, symbol in enumerate(elements, start=1):
        lines.append(f"{number} {float(atomic_masses[atomic_numbers[symbol]])!r} # {symbol}")
    lines += ["", "Atoms # atomic", ""]
    for number, (kind, position) in enumerate(zip(types, positions, strict=True), start=1):
        lines.append(f"{number} {kind} " + " ".join(repr(float(value)) for value in position))
    lines += ["", "Velocities", ""]
    for number, velocity in enumerate(velocities, start=1):
        lines.append(f"{number} " + " ".join(repr(float(value)) for value in velocity))
    Path(path).write_text("\n".join(lines) + "\n")
    return "boundary " + " ".join("p" if periodic else "s" for periodic in atoms.pbc)
