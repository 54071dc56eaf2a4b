"""Ions on springs, whose motion in a field is known."""

from typing import ClassVar

import ase
import numpy as np
from ase.calculators.calculator import Calculator, all_changes

from mace_smile.physics.electrostatics import COULOMB_CONSTANT

SPRING = 2.0  # eV/A^2
CHARGE = 1.5  # e
INVERSE_EPS0 = 4.0 * np.pi * COULOMB_CONSTANT


class Springs(Calculator):
    """Each ion on a spring, with Born charges that may grow with its displacement.

    :param places: where the springs end, shape ``(n_atoms, 3)``, in A.
    :param slope: dZ/dr, in e/A: Z_zz = charge + slope z.
    """

    implemented_properties: ClassVar[list[str]] = [
        "energy",
        "free_energy",
        "forces",
        "born_effective_charges",
    ]

    def __init__(self, places, charge: float = CHARGE, slope: float = 0.0) -> None:
        super().__init__()
        self.places, self.charge, self.slope = np.array(places, dtype=float), charge, slope
        self.calls = 0

    def calculate(self, atoms=None, properties=None, system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        moved = self.atoms.positions - self.places
        if self.atoms.pbc.any():
            lengths = self.atoms.cell.lengths()
            moved -= np.round(moved / lengths) * lengths * self.atoms.pbc
        born = np.zeros((len(moved), 3, 3)) + self.charge * np.eye(3)
        born[:, 2, 2] += self.slope * moved[:, 2]
        energy = 0.5 * SPRING * float((moved**2).sum())
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "forces": -SPRING * moved,
            "born_effective_charges": born,
        }


def ion(cell: float | None = None, **options) -> ase.Atoms:
    """One ion of 20 u at rest, in a periodic cubic cell where asked for."""
    atoms = ase.Atoms("Ne", [[1.0, 1.0, 1.0]], masses=[20.0])
    if cell is not None:
        atoms.set_cell([cell] * 3)
        atoms.pbc = True
    atoms.calc = Springs(atoms.positions, **options)
    return atoms


def frequency(times: np.ndarray, values: np.ndarray) -> float:
    """Angular frequency of an oscillation around its mean, from its zeros."""
    values = values - 0.5 * (values.max() + values.min())
    before = np.flatnonzero((values[:-1] < 0) & (values[1:] >= 0))
    share = values[before] / (values[before] - values[before + 1])
    zeros = times[before] + share * (times[before + 1] - times[before])
    return 2 * np.pi * (len(zeros) - 1) / (zeros[-1] - zeros[0])
