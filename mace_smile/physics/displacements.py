"""How far atoms have moved between two steps, whatever an engine has wrapped in between."""

import numpy as np
from ase.cell import Cell
from ase.geometry import find_mic


def displacements(
    positions: np.ndarray, earlier: np.ndarray, cell: Cell, pbc: np.ndarray
) -> np.ndarray:
    """From earlier positions to the nearest image of the later ones: wrapping is no motion.

    :param positions: shape ``(n_atoms, 3)``, in A.
    :param earlier: shape ``(n_atoms, 3)``, in A.
    :param cell: of both.
    :param pbc: periodic axes, shape ``(3,)``.
    :return: shape ``(n_atoms, 3)``, in A.
    """
    moved = positions - earlier
    if not np.any(pbc):
        return moved
    # A step much shorter than any cell vector is its own nearest image.
    shortest = np.linalg.norm(np.asarray(cell)[np.asarray(pbc)], axis=1).min()
    far = np.linalg.norm(moved, axis=1) > 0.1 * shortest
    if far.any():
        moved[far] = find_mic(moved[far], cell, pbc)[0]
    return moved
