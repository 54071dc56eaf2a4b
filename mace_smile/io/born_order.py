"""The one converter of the order of the two indices of Born effective charges.

In this package the field comes first, ``Z[i, a, b] = d mu_a / d r_ib = d F_ib / d E_a``. Files
and other codes also have the transpose, the displacement first. Every reader, writer and flag goes
through the functions here, by the two names in :data:`ORDERS`.
"""

import ase
import numpy as np

from mace_smile import quantities
from mace_smile.errors import UserError

FIELD_FIRST = "field_first"
DISPLACEMENT_FIRST = "displacement_first"
#: Orders of the two indices in a file: values of ``--becs_order``.
ORDERS = (FIELD_FIRST, DISPLACEMENT_FIRST)
#: What ``--becs_order`` takes; ``auto`` asks :mod:`~mace_smile.io.born_detection`.
CHOICES = ("auto", *ORDERS)
#: Key of frames whose order is known because a command of this package wrote them.
ORDER_KEY = "becs_order"
#: Largest component of the acoustic sum in e that passes without a warning.
ACOUSTIC_SUM_THRESHOLD = 0.05
KEY = quantities.BY_NAME[quantities.BORN_EFFECTIVE_CHARGES].key


def field_first(tensors: np.ndarray, order: str) -> np.ndarray:
    """Born effective charges in the order of this package.

    :param tensors: shape ``(n_atoms, 3, 3)`` or ``(n_atoms, 9)``, in e, in the given order.
    :param order: one of :data:`ORDERS`.
    :return: ``Z[i, a, b]``, shape ``(n_atoms, 3, 3)``, in e, field index a first.
    :raises UserError: for another shape or order.
    """
    if order not in ORDERS:
        raise UserError(f"the order is '{order}' but must be one of {', '.join(ORDERS)}")
    array = np.asarray(tensors, dtype=float)
    if array.ndim not in (2, 3) or array.shape[1:] not in ((9,), (3, 3)):
        raise UserError(
            f"Born effective charges have shape {array.shape} but must have nine numbers an atom, "
            "(n_atoms, 9) or (n_atoms, 3, 3)"
        )
    array = array.reshape(-1, 3, 3)
    return array.copy() if order == FIELD_FIRST else array.transpose(0, 2, 1).copy()


def displacement_first(tensors: np.ndarray) -> np.ndarray:
    """Born effective charges for codes that want the displacement first.

    :param tensors: ``Z[i, a, b]``, shape ``(n_atoms, 3, 3)``, in e, field index a first.
    :return: ``Z[i, b, a]``, shape ``(n_atoms, 3, 3)``, in e.
    """
    return field_first(tensors, DISPLACEMENT_FIRST)


def has_born_charges(atoms: ase.Atoms, key: str = KEY) -> bool:
    """Whether a frame has Born effective charges under a key, in whatever shape."""
    return key in atoms.arrays or key in atoms.info or key in _results(atoms)


def born_charges_of(atoms: ase.Atoms, key: str = KEY) -> np.ndarray:
    """The Born effective charges of a frame, in the order of its file.

    :param atoms: a frame that has them; ASE moves columns called ``born_effective_charges``
        into the results of a calculator, where they are found too.
    :param key: of the nine columns.
    :return: shape ``(n_atoms, 3, 3)``, in e.
    :raises UserError: for another shape, and for values that are not numbers.
    """
    value = atoms.arrays.get(key, _results(atoms).get(key))
    if value is None:
        raise UserError(
            f"'{key}' is one value for the whole frame ({np.size(atoms.info.get(key))} numbers) "
            "but must be nine columns of the atoms: `atoms.arrays[key] = z.reshape(-1, 9)` in ASE"
        )
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError) as error:
        raise UserError(f"'{key}' must hold numbers: {error}") from error
    if array.shape not in ((len(atoms), 9), (len(atoms), 3, 3)):
        raise UserError(
            f"'{key}' has shape {array.shape} but must have ({len(atoms)}, 9): the nine numbers of "
            "a tensor in a row for each atom"
        )
    if not np.isfinite(array).all():
        raise UserError(
            f"'{key}' holds {np.count_nonzero(~np.isfinite(array))} values that are NaN or "
            "infinite; leave the columns out of frames where they are unknown"
        )
    return array.reshape(-1, 3, 3)


def set_born_charges(atoms: ase.Atoms, tensors: np.ndarray, old_key: str = KEY) -> None:
    """Put Born effective charges into a frame as the label training reads, in place.

    :param atoms: gets nine columns ``REF_becs``, and ``becs_order`` in its header.
    :param tensors: shape ``(n_atoms, 3, 3)``, in e, field index first.
    :param old_key: removed, so that no second set in another order stays.
    """
    atoms.arrays.pop(old_key, None)
    _results(atoms).pop(old_key, None)
    atoms.arrays[KEY] = field_first(tensors, FIELD_FIRST).reshape(-1, 9)
    atoms.info[ORDER_KEY] = FIELD_FIRST


def acoustic_sum(tensors: np.ndarray, total_charge: float = 0.0) -> np.ndarray:
    """What is left of the acoustic sum rule, ``sum_i Z_i - Q 1``.

    :param tensors: shape ``(n_atoms, 3, 3)``, in e.
    :param total_charge: Q, in e.
    :return: shape ``(3, 3)``, in e; zero in a perfect calculation, whatever the order.
    """
    return np.asarray(tensors).sum(axis=0) - total_charge * np.eye(3)


def _results(atoms: ase.Atoms) -> dict[str, np.ndarray]:
    """The results of the calculator of a frame, where ASE puts columns of certain names."""
    return {} if atoms.calc is None else atoms.calc.results
