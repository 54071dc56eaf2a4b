"""Charges of some atoms that an exported model stores by atom index.

Stock engines hand over positions and elements only, so the charges of an electrode travel
inside the model. The order of elements is stored with them and checked at every step.
"""

from dataclasses import dataclass
from pathlib import Path

import ase
import ase.io
import numpy as np

from mace_smile.errors import UserError


@dataclass(frozen=True)
class GivenCharges:
    """Charges of some atoms, in the order of the atoms."""

    atomic_numbers: np.ndarray
    """Elements of all atoms, in the order the engine must keep, ``(n_atoms,)``."""
    charges: np.ndarray
    """Bare charges in e, ``(n_atoms,)``; used where the mask is not zero."""
    mask: np.ndarray
    """Non-zero on the atoms whose charge is given, ``(n_atoms,)``."""

    @classmethod
    def none(cls) -> "GivenCharges":
        """No atoms."""
        return cls(np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0))

    def equals(self, other: "GivenCharges") -> bool:
        """Whether the elements and what is given are the same."""
        return (
            np.array_equal(self.atomic_numbers, other.atomic_numbers)
            and np.array_equal(self.charges, other.charges)
            and np.array_equal(self.mask != 0, other.mask != 0)
        )


def read_given_charges(path: str | Path, charges_key: str, mask_key: str) -> GivenCharges:
    """Read given charges and their mask from a frame.

    :param path: extended XYZ file; several frames must agree in elements and given charges.
    :param charges_key: column of the charges in e.
    :param mask_key: column that is non-zero on the atoms whose charge is given.
    :raises UserError: for a missing file or column, numbers that are not finite, or frames that
        differ.
    """
    if not Path(path).is_file():
        raise UserError(f"`--given_charges`: there is no file '{path}'")
    try:
        frames = ase.io.read(path, ":")
    except Exception as error:  # ASE's readers raise anything
        raise UserError(
            f"`--given_charges`: '{path}' cannot be read as a structure: {error}"
        ) from error
    given = [_given_charges(atoms, path, charges_key, mask_key) for atoms in frames]
    if not given:
        raise UserError(f"`--given_charges`: '{path}' holds no structures; give one")
    if any(not given[0].equals(other) for other in given[1:]):
        raise UserError(
            f"`--given_charges`: the {len(given)} frames of '{path}' differ in their elements or "
            "given charges; write the one that is meant into a file of its own"
        )
    return given[0]


def _given_charges(
    atoms: ase.Atoms, path: str | Path, charges_key: str, mask_key: str
) -> GivenCharges:
    """Given charges of one frame, checked."""
    missing = [key for key in (charges_key, mask_key) if key not in atoms.arrays]
    if missing:
        raise UserError(
            f"`--given_charges`: '{path}' has no column {' and no column '.join(missing)}; it has "
            f"{', '.join(sorted(atoms.arrays))}; name them with --given_charges_key and "
            "--given_mask_key"
        )
    charges = np.asarray(atoms.arrays[charges_key], dtype=float)
    mask = np.asarray(atoms.arrays[mask_key], dtype=float)
    if charges.shape != (len(atoms),) or mask.shape != (len(atoms),):
        raise UserError(
            f"`--given_charges`: '{charges_key}' and '{mask_key}' in '{path}' must hold one number "
            "an atom"
        )
    if not np.isfinite(charges[mask != 0]).all():
        raise UserError(
            f"`--given_charges`: '{charges_key}' in '{path}' has values that are not finite on "
            f"atoms that '{mask_key}' selects; correct them"
        )
    return GivenCharges(
        atomic_numbers=np.asarray(atoms.numbers, dtype=np.int64),
        charges=np.where(mask != 0, charges, 0.0),
        mask=mask,
    )
