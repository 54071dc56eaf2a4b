"""Born effective charges and dipoles as i-PI's driven dynamics wants them, in its extras.

i-PI applies the force :math:`F = B E`, with ``BEC`` :math:`B` of shape ``(3 n_atoms, 3)``: a row
is one displacement of one atom, a column one axis of the field. Here the field comes first
(``Z[i, a, b]``), so each tensor is transposed. Both are in atomic units: e, and e bohr.
"""

import numpy as np
from ipi.utils.units import unit_to_internal

from mace_smile.io.born_order import displacement_first

SUBTRACT = "subtract"
NONE = "none"
#: What to do with the sum of the Born charges over the atoms.
SUM_RULES = (SUBTRACT, NONE)


def born_charge_rows(born_charges: np.ndarray, sum_rule: str) -> np.ndarray:
    """Born effective charges of one structure in i-PI's order.

    :param born_charges: ``Z[i, a, b]``, shape ``(n_atoms, 3, 3)``, in e, field index first.
    :param sum_rule: ``subtract`` takes the mean over the atoms away from each; ``none`` does not.
    :return: shape ``(3 n_atoms, 3)``, in e.
    """
    if sum_rule == SUBTRACT:
        born_charges = born_charges - born_charges.mean(axis=0)
    return displacement_first(born_charges).reshape(-1, 3)


def largest_mean(born_charges: np.ndarray) -> float:
    """Largest component of the mean of Z over the atoms, in e; i-PI wants it to vanish."""
    return float(np.abs(born_charges.mean(axis=0)).max())


def dipole_in_atomic_units(dipole: np.ndarray) -> np.ndarray:
    """From e A to e bohr, with i-PI's own bohr, so that Z is its derivative there."""
    return unit_to_internal("length", "angstrom", dipole)
