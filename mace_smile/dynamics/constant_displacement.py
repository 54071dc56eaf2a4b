"""Constant electric displacement along one axis, as in a capacitor whose plates are not connected.

The displacement D along the normal of two cell vectors is held, so the macroscopic field follows
the polarization,

.. math::

    E = \\frac{D/\\epsilon_0 - P/\\epsilon_0}{\\epsilon_\\infty}, \\qquad
    P = (\\mu_0 + \\Delta\\mu) / V ,

with P at fixed electrons (that of Z), and the electrons answering by eps_inf. Along the other two
axes the field is zero. The forces Z^T E are those of the internal energy (M. Stengel,
N. A. Spaldin, D. Vanderbilt, Nat. Phys. 5, 304 (2009), doi:10.1038/nphys1185)

.. math::

    G = U + \\tfrac12 V \\epsilon_0 \\epsilon_\\infty E^2 ,

which differs from U - W, with the work W of the field, by a constant. A harmonic ion of
charge Z moves at sqrt((k + Z^2 / (eps0 eps_inf V)) / m), the longitudinal frequency, instead of
sqrt(k / m).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import ase
import numpy as np

from mace_smile.errors import UserError
from mace_smile.physics.electrostatics import COULOMB_CONSTANT

#: 1 / eps0 in V A / e
INVERSE_EPS0 = 4.0 * np.pi * COULOMB_CONSTANT


@dataclass(frozen=True)
class ConstantDisplacement:
    """What is held, and for which volume.

    It is a drive (:class:`mace_smile.dynamics.drives.Drive`). The energy U must be that at zero
    macroscopic field, that of a periodic model. Models with slab electrostatics contain the
    depolarization already and are refused by ``FiniteField``.
    """

    changes: ClassVar[bool] = True
    has_second_order: ClassVar[bool] = False

    external_field: float | Callable[[float], float] = 0.0
    """D / eps0 in V/A: the field in vacuum beside the system. Zero is open circuit. A function
    of the time in fs changes D as it goes."""
    permittivity: float = 1.0
    """eps_inf, the electronic permittivity along the normal; of the film where ``thickness``
    is given, else of the whole cell, vacuum included."""
    axis: int = 2
    """Cell vector across; the normal is that of the plane of the other two."""
    thickness: float | None = None
    """Of the film along the normal, in A; None takes the height of the cell."""
    initial_dipole: float | None = 0.0
    """mu_0 along the normal at the start, in e A; None asks the model for its response
    dipole, which has a value along an axis that is not periodic."""

    def __post_init__(self) -> None:
        if not callable(self.external_field) and not np.isfinite(self.external_field):
            raise UserError(
                f"`external_field` is {self.external_field} but must be a number in V/A"
            )
        if not (np.isfinite(self.permittivity) and self.permittivity >= 1.0):
            raise UserError(f"`permittivity` is {self.permittivity} but must be at least 1")
        if self.axis not in (0, 1, 2):
            raise UserError(f"`axis` is {self.axis} but must be 0, 1 or 2, a cell vector")
        if self.thickness is not None and not self.thickness > 0.0:
            raise UserError(f"`thickness` is {self.thickness} but must be positive, in A")

    def normal(self, atoms: ase.Atoms) -> np.ndarray:
        """Unit normal of the plane of the two other cell vectors, shape ``(3,)``."""
        cross = self._plane(atoms)
        return cross / np.linalg.norm(cross)

    def volume(self, atoms: ase.Atoms) -> float:
        """Volume that P refers to, in A^3: the film's, or the cell's.

        :raises UserError: without a thickness, where the cell has no height.
        """
        if self.thickness is not None:
            return float(np.linalg.norm(self._plane(atoms))) * self.thickness
        if not atoms.pbc[self.axis]:
            raise UserError(
                f"the cell is not periodic along axis {self.axis}, so it has no volume of its own; "
                "give ConstantDisplacement the `thickness` of the film"
            )
        return float(abs(np.linalg.det(atoms.cell[:])))

    def _plane(self, atoms: ase.Atoms) -> np.ndarray:
        """Cross product of the two other cell vectors, shape ``(3,)``, in A^2."""
        first, second = atoms.cell[(self.axis + 1) % 3], atoms.cell[(self.axis + 2) % 3]
        cross = np.cross(first, second)
        if not np.linalg.norm(cross) > 0.0:
            raise UserError(
                f"constant displacement along axis {self.axis} needs the two other cell vectors, "
                "but the cell has not; give the structure a cell"
            )
        return np.asarray(cross)

    def known_field(self, atoms: ase.Atoms, time: float) -> np.ndarray | None:
        """Nothing: the field depends on the dipole."""
        return None

    def first_dipole(self, atoms: ase.Atoms, response_dipole: np.ndarray | None) -> np.ndarray:
        """mu_0 at the start, along the normal, shape ``(3,)``, in e A.

        :param response_dipole: of the model, shape ``(3,)``, in e A, or None.
        :raises UserError: where it is wanted and has no value.
        """
        normal = self.normal(atoms)
        if self.initial_dipole is not None:
            return self.initial_dipole * normal
        if response_dipole is None or atoms.pbc[self.axis]:
            raise UserError(
                "`initial_dipole` is None, but "
                + ("the model has no dipole" if response_dipole is None else "the dipole has no ")
                + ("" if response_dipole is None else f"value along the periodic axis {self.axis}")
                + "; give the dipole at the start in e A, 0 for a start without polarization"
            )
        return (response_dipole @ normal) * normal

    def field(self, atoms: ase.Atoms, time: float, dipole: np.ndarray) -> np.ndarray:
        """The macroscopic field.

        :param atoms: whose cell gives normal and volume.
        :param time: in fs.
        :param dipole: mu_0 and its change since the start, shape ``(3,)``, in e A.
        :return: shape ``(3,)``, in V/A, along the normal.
        """
        normal = self.normal(atoms)
        external = self.external_field
        held = external(time) if callable(external) else external
        polarization = float(dipole @ normal) / self.volume(atoms)  # e/A^2
        return (held - polarization * INVERSE_EPS0) / self.permittivity * normal

    def stored_energy(self, atoms: ase.Atoms, field: np.ndarray) -> float:
        """1/2 V eps0 eps_inf E^2 in eV, which U lacks to the internal energy G.

        :param field: shape ``(3,)``, in V/A.
        """
        return float(0.5 * self.volume(atoms) * self.permittivity * (field @ field) / INVERSE_EPS0)
