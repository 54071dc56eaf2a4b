"""Whether a structure that a plane-wave or periodic code has put into a box is a molecule.

Such codes know periodic cells only. A molecule has empty space on all sides, a crystal or a liquid
on none; a slab has it along one axis.
"""

import ase
import numpy as np

from mace_smile.errors import UserError

#: What ``--boundary`` takes.
BOUNDARIES = ("auto", "open", "periodic")
#: Empty space in A, along the normal of two faces of the cell, that separates images.
SMALLEST_GAP = 4.0


def with_boundary(atoms: ase.Atoms, boundary: str = "auto") -> ase.Atoms:
    """A copy with the boundary its labels belong to.

    :param atoms: a structure in a cell with three vectors.
    :param boundary: ``open``, ``periodic``, or ``auto``: open where all three axes have a gap.
    :return: open structures are made whole at their gaps, centred at the origin, and have no
        cell; others are periodic along all axes, with the positions they have.
    :raises UserError: for another name, for a slab with ``auto``, and for ``open`` without gaps.
    """
    if boundary not in BOUNDARIES:
        raise UserError(f"the boundary is '{boundary}' but must be one of {', '.join(BOUNDARIES)}")
    widths, starts = _gaps(atoms)
    is_empty = widths >= SMALLEST_GAP
    shown = " x ".join(f"{width:.1f}" for width in widths)
    if boundary == "auto" and is_empty.any() and not is_empty.all():
        raise UserError(
            f"the structure has gaps of {shown} A along its cell vectors, so it is neither a "
            f"molecule (all above {SMALLEST_GAP:g} A) nor filled; give `--boundary periodic`: "
            "then the field of the tensors is its mean over the cell, vacuum included"
        )
    if boundary == "open" and not is_empty.all():
        raise UserError(
            f"the structure has gaps of {shown} A along its cell vectors but an open structure "
            f"must have at least {SMALLEST_GAP:g} A on all sides; use a wider cell, or "
            "`--boundary periodic`"
        )
    result = atoms.copy()
    if boundary == "periodic" or not is_empty.all():
        result.pbc = True
        return result
    fractional = (atoms.get_scaled_positions(wrap=False) - starts) % 1.0
    positions = fractional @ np.asarray(atoms.cell)
    result.positions = positions - positions.mean(axis=0)
    result.cell = None
    result.pbc = False
    return result


def _gaps(atoms: ase.Atoms) -> tuple[np.ndarray, np.ndarray]:
    """The widest gap along each cell vector.

    :return: widths ``(3,)`` in A, perpendicular to the faces, and the fractional coordinates
        ``(3,)`` of their middles.
    """
    cell = np.asarray(atoms.cell)
    heights = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    sorted_places = np.sort(atoms.get_scaled_positions(wrap=True), axis=0)
    following = np.vstack([sorted_places[1:], sorted_places[:1] + 1.0])
    gaps = following - sorted_places  # (n_atoms, 3)
    widest = gaps.argmax(axis=0)
    columns = np.arange(3)
    middles = (sorted_places + following)[widest, columns] / 2
    return gaps[widest, columns] * heights, middles
