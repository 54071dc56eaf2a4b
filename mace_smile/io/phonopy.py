"""The file BORN of phonopy: dielectric tensor and Born effective charges.

First line: a comment, or a factor. Second: the nine numbers of the dielectric tensor. Then nine
numbers an atom, xx xy xz yx yy yz zx zy zz, **field index first**: phonopy's non-analytical term
takes ``q . Z``, the sum over the first index. Phonopy itself lists only the atoms of the primitive
cell that symmetry does not relate, and builds the others; that needs the symmetry of the crystal,
so here a file must have a row for every atom.
"""

import logging
from pathlib import Path

import numpy as np

from mace_smile.errors import UserError
from mace_smile.io.born_order import FIELD_FIRST, field_first
from mace_smile.io.dipole import read_output
from mace_smile.io.text_files import write_text

logger = logging.getLogger(__name__)


def read_phonopy_born(path: str | Path, n_atoms: int) -> tuple[np.ndarray, np.ndarray]:
    """Dielectric tensor and Born effective charges of a BORN file with all atoms.

    :param path: of the file.
    :param n_atoms: number of atoms of its structure.
    :return: dielectric tensor ``(3, 3)``, and ``Z[i, a, b]`` ``(n_atoms, 3, 3)`` in e, field
        index first.
    :raises UserError: for rows that are not nine numbers, and for another number of rows than
        atoms, as in a list of independent atoms.
    """
    lines = [line for line in read_output(path).splitlines()[1:] if line.strip()]
    rows = []
    for line in lines:
        try:
            rows.append([float(value) for value in line.split("#")[0].split()])
        except ValueError:
            rows.append([])
    if not rows or any(len(row) != 9 for row in rows):
        raise UserError(
            f"'{path}' is not a BORN file of phonopy: below its first line each line must have "
            "nine numbers, the dielectric tensor first, then a tensor an atom"
        )
    if len(rows) - 1 != n_atoms:
        raise UserError(
            f"'{path}' has tensors of {len(rows) - 1} atoms but the structure has {n_atoms}; "
            "phonopy writes only atoms that symmetry does not relate: give a file with a row for "
            "each atom, in the order of the structure (`phonopy.nac_params['born']` of phonopy in "
            "Python has all of the primitive cell), or read the code that calculated them"
        )
    return np.reshape(rows[0], (3, 3)), field_first(np.array(rows[1:]), FIELD_FIRST)


def write_phonopy_born(
    path: str | Path,
    tensors: np.ndarray,
    dielectric: np.ndarray | None = None,
    overwrite: bool = False,
) -> None:
    """Write Born effective charges of all atoms as a BORN file.

    Phonopy takes the first rows for the atoms that symmetry does not relate, so a structure with
    symmetry needs phonopy's ``--nosym``, or the other rows deleted.

    :param path: to write.
    :param tensors: ``Z[i, a, b]``, shape ``(n_atoms, 3, 3)``, in e, field index first.
    :param dielectric: shape ``(3, 3)``; None writes the unit tensor and says so.
    :param overwrite: whether an existing file may be replaced.
    :raises UserError: for another shape, and for a file that exists.
    """
    # Phonopy reads numbers in the first words of this line as parameters, so it begins with words.
    comment = "# epsilon and Z* of all atoms, field index first"
    if dielectric is None:
        dielectric = np.eye(3)
        comment += "; epsilon is NOT calculated: unit tensor"
        logger.warning(
            "'%s' has the unit tensor as dielectric tensor: replace its second line, or the "
            "non-analytical term of phonopy is too large by the dielectric constant",
            path,
        )
    if np.shape(dielectric) != (3, 3):
        raise UserError(
            f"the dielectric tensor has shape {np.shape(dielectric)} but must have (3, 3)"
        )
    rows = np.vstack([np.ravel(dielectric), field_first(tensors, FIELD_FIRST).reshape(-1, 9)])
    lines = [comment, *(" ".join(f"{value:14.8f}" for value in row) for row in rows)]
    write_text(path, "\n".join(lines) + "\n", overwrite)
