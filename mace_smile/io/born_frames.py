"""From outputs of another code to frames with Born effective charges.

VASP's output holds its structure; ph.x and phonopy get theirs from a file, one structure for each
output, in the order of the outputs. Energies, forces and stresses come along where ASE finds them.
"""

from collections.abc import Sequence
from pathlib import Path

import ase
import numpy as np

from mace_smile.errors import UserError
from mace_smile.io.born_order import set_born_charges
from mace_smile.io.boundary import with_boundary
from mace_smile.io.espresso_born import read_espresso_born_charges
from mace_smile.io.phonopy import read_phonopy_born
from mace_smile.io.structure_files import (
    add_results,
    read_structures,
    read_structures_with_cells,
)
from mace_smile.io.vasp_born import read_vasp_born_charges

CODES = ("vasp", "qe", "phonopy")


def read_born_frames(
    code: str,
    outputs: Sequence[str | Path],
    structures: Sequence[str | Path] = (),
    boundary: str = "auto",
) -> list[ase.Atoms]:
    """Frames with Born effective charges from the outputs of one code.

    :param code: ``vasp``, ``qe`` or ``phonopy``.
    :param outputs: OUTCAR files, outputs of ph.x (or its ``.dyn`` files), or BORN files with a
        row for each atom; one structure each.
    :param structures: for ``qe`` and ``phonopy``: files that hold one structure for each output,
        e.g. the outputs of pw.x, or the POSCAR of the primitive cell.
    :param boundary: ``open`` or ``periodic``; ``auto``: by the empty space in the cell.
    :return: with ``REF_becs`` (nine columns, field first), ``REF_energy`` and ``REF_forces``
        where they are known, and ``REF_stress`` in periodic cells.
    :raises UserError: for files that cannot be read, numbers that do not fit, and what the
        readers refuse.
    """
    if code not in CODES:
        raise UserError(f"the code is '{code}' but must be one of {', '.join(CODES)}")
    if bool(structures) == (code == "vasp"):
        raise UserError(
            "`--structures` gives the structures of ph.x and phonopy, whose files do not hold "
            "them to all digits; give it with qe and phonopy, and not with vasp"
        )
    if code == "vasp":
        frames = [_structure_of_outcar(path) for path in outputs]
    else:
        frames = [atoms for path in structures for atoms in read_structures_with_cells(path)]
    if len(frames) != len(outputs):
        raise UserError(
            f"there are {len(frames)} structures but {len(outputs)} outputs; give one structure "
            "for each, in the same order"
        )
    return [
        _labelled(atoms, _tensors(code, path, len(atoms)), boundary, path)
        for atoms, path in zip(frames, outputs, strict=True)
    ]


def _tensors(code: str, path: str | Path, n_atoms: int) -> np.ndarray:
    """Born effective charges of an output, shape ``(n_atoms, 3, 3)``, field first."""
    if code == "phonopy":
        return read_phonopy_born(path, n_atoms)[1]
    return read_vasp_born_charges(path) if code == "vasp" else read_espresso_born_charges(path)


def _labelled(atoms: ase.Atoms, tensors: np.ndarray, boundary: str, path: str | Path) -> ase.Atoms:
    """A structure with its labels and its boundary.

    :raises UserError: for tensors of another number of atoms.
    """
    if len(tensors) != len(atoms):
        raise UserError(
            f"'{path}' has Born effective charges of {len(tensors)} atoms but its structure has "
            f"{len(atoms)}; give the structure of the same run"
        )
    frame = with_boundary(atoms, boundary)
    frame.calc = None
    add_results(frame, atoms, with_stress=all(frame.pbc))
    set_born_charges(frame, tensors)
    return frame


def _structure_of_outcar(path: str | Path) -> ase.Atoms:
    """The one structure of an OUTCAR, with the results of its first step.

    :raises UserError: for ions that move.
    """
    frames = read_structures(path, "vasp-out")
    first = frames[0]
    if any(not np.allclose(atoms.positions, first.positions, atol=1e-6) for atoms in frames):
        raise UserError(
            f"the ions of '{path}' move through {len(frames)} steps; run LEPSILON or LCALCEPS on "
            "each structure by itself (NSW = 0)"
        )
    return first
