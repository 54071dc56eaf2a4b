"""The path of a trajectory: what the field has moved so far.

Along a periodic axis a dipole has no value, only changes. They are added up from step to step,

.. math::

    \\Delta\\mu = \\sum_i \\tfrac12 (Z_i + Z_i') \\, \\delta r_i, \\qquad
    \\Delta W = \\tfrac12 (E + E') \\cdot \\Delta\\mu
        + \\tfrac14 (E \\cdot \\Delta\\alpha E + E' \\cdot \\Delta\\alpha E')

(S3 eq. 11), with the values before and after the step. W is the work of the field, so U + K - W is
conserved in any field that acts on nuclei by Z^T E, and by half the gradient of E . alpha E where
there is a polarizability. In a static field W = E . Delta mu + 1/2 E . Delta alpha E.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PathPoint:
    """Where a path has come to."""

    positions: np.ndarray
    """As the engine stores them, shape ``(n_atoms, 3)``, in A."""
    born_charges: np.ndarray
    """Shape ``(n_atoms, 3, 3)``, in e, field index first."""
    field: np.ndarray
    """Macroscopic field, shape ``(3,)``, in V/A."""
    polarizability: np.ndarray
    """Shape ``(3, 3)``, in e^2 A^2/eV; zero where the field acts to first order."""
    dipole_change: np.ndarray
    """Since the start, shape ``(3,)``, in e A."""
    work: float
    """Of the field since the start, in eV."""
    origin: np.ndarray
    """Dipole at the start that constant displacement counts from, shape ``(3,)``, in e A."""
    reference: np.ndarray
    """Response dipole of the model at the start, where changes are its, shape ``(3,)``, in e A."""


def dipole_change(point: PathPoint, moved: np.ndarray, born_charges: np.ndarray) -> np.ndarray:
    """Change of the dipole since the start, after one more step.

    :param point: before the step.
    :param moved: displacements of the step, shape ``(n_atoms, 3)``, in A.
    :param born_charges: after the step, shape ``(n_atoms, 3, 3)``, in e.
    :return: shape ``(3,)``, in e A.
    """
    mean = 0.5 * (point.born_charges + born_charges)
    return point.dipole_change + np.einsum("iab,ib->a", mean, moved)


def work(
    point: PathPoint, dipole: np.ndarray, field: np.ndarray, polarizability: np.ndarray
) -> float:
    """Work of the field since the start, after one more step.

    :param point: before the step.
    :param dipole: change of the dipole since the start, shape ``(3,)``, in e A.
    :param field: after the step, shape ``(3,)``, in V/A.
    :param polarizability: after the step, shape ``(3, 3)``, in e^2 A^2/eV.
    :return: in eV.
    """
    first = 0.5 * (point.field + field) @ (dipole - point.dipole_change)
    change = polarizability - point.polarizability
    second = 0.25 * (point.field @ change @ point.field + field @ change @ field)
    return float(point.work + first + second)
