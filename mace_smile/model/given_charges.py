"""Given charges and the total charge: what a model can make of both, and what contradicts."""

import numpy as np

from mace_smile.errors import UserError
from mace_smile.model.options import SmileOptions

#: Largest difference in e that counts as rounding of charges in files.
TOLERANCE = 1e-3


def fixes_total_charge(options: SmileOptions) -> bool:
    """Whether the charges of a model shall add up to the total charge of a structure."""
    return options.has_dipole and options.total_charge_constraint != "none"


def check_total_charge(
    given: np.ndarray, mask: np.ndarray, total_charge: float, has_learned_charges: bool
) -> None:
    """Refuse given charges that leave no atom to make up the total charge.

    :param given: given charges in e, any shape, one value an atom.
    :param mask: non-zero on the atoms whose charge is given, the shape of ``given``.
    :param total_charge: in e.
    :param has_learned_charges: whether the model predicts the charges of the other atoms.
    :raises UserError: when the given charges add up to something else.
    """
    is_given = np.asarray(mask) != 0
    if not is_given.any() or (has_learned_charges and not is_given.all()):
        return
    total = float(np.asarray(given, dtype=float)[is_given].sum())
    if abs(total - total_charge) > TOLERANCE:
        others = "no atom is left" if is_given.all() else "the model predicts no charges"
        raise UserError(
            f"the given charges add up to {total:g} e but the total charge is {total_charge:g} e, "
            f"and {others} to make up the difference; correct the given charges or the total "
            "charge, give fewer charges, or train with --total_charge_constraint none"
        )
