"""The work of a field along a stored trajectory, for engines that do not add it up themselves.

U + K - W is conserved in any homogeneous field, periodic cells included (S3 eq. 11): i-PI's
``conserved`` minus this work, for example.
"""

import numpy as np
from ase.cell import Cell

from mace_smile.errors import UserError
from mace_smile.physics.displacements import displacements


def field_work(
    positions: np.ndarray,
    born_charges: np.ndarray,
    fields: np.ndarray,
    cell: np.ndarray,
    pbc: np.ndarray,
) -> np.ndarray:
    """Work of the field since the first frame, by the trapezoid in Z and E.

    Frames must follow each other closely: no atom may move by half a cell vector between two, and
    the error falls with the square of the time between them.

    :param positions: wrapped or not, shape ``(n_frames, n_atoms, 3)``, in A.
    :param born_charges: shape ``(n_frames, n_atoms, 3, 3)``, in e, field index first.
    :param fields: macroscopic field, ``(n_frames, 3)``, or ``(3,)`` where it is static, in V/A.
    :param cell: lattice vectors in rows, shape ``(3, 3)``, in A, the same in all frames.
    :param pbc: periodic axes, shape ``(3,)``.
    :return: shape ``(n_frames,)``, in eV.
    :raises UserError: for arrays of other shapes.
    """
    n_frames, n_atoms = positions.shape[:2]
    fields = np.broadcast_to(fields, (n_frames, 3)) if np.ndim(fields) == 1 else fields
    for name, array, shape in (
        ("positions", positions, (n_frames, n_atoms, 3)),
        ("born_charges", born_charges, (n_frames, n_atoms, 3, 3)),
        ("fields", fields, (n_frames, 3)),
    ):
        if array.shape != shape:
            raise UserError(f"`{name}` has the shape {array.shape} but must have {shape}")
    steps = zip(positions[:-1], positions[1:], strict=True)
    moved = [displacements(later, earlier, Cell(cell), pbc) for earlier, later in steps]
    mean_charges = 0.5 * (born_charges[:-1] + born_charges[1:])
    dipole_changes = np.einsum(
        "tiab,tib->ta", mean_charges, np.reshape(moved, (n_frames - 1, n_atoms, 3))
    )
    mean_fields = 0.5 * (fields[:-1] + fields[1:])
    works: np.ndarray = np.concatenate([[0.0], np.cumsum((mean_fields * dipole_changes).sum(1))])
    return works
