"""Forces of second order in a field against finite differences of the polarizability."""

import ase
import numpy as np

from mace_smile import quantities
from mace_smile.selftest.differences import by_displacement, sample_atoms, unit_displacement
from mace_smile.selftest.finding import Finding, compare, skipped
from mace_smile.selftest.settings import SelftestSettings
from mace_smile.selftest.subject import Subject
from mace_smile.selftest.tolerances import DERIVATIVE, tolerance


def check_second_order(
    subject: Subject, atoms: ase.Atoms, settings: SelftestSettings
) -> list[Finding]:
    """What the polarizability adds to the calculator's forces, and half the gradient of E.alpha.E.

    By the square of the field, in the unit of a polarizability by a length.
    """
    name, quantity = "second_order", "finite differences"
    if not subject.options.has_polarizability or not subject.options.has_born_charges:
        return [skipped(name, quantity, "the model has no polarizability, or no Born charges")]
    reference, n_atoms = subject.reference, len(atoms)
    direction = np.array(settings.field) / np.linalg.norm(settings.field)

    def half(moved: ase.Atoms) -> np.ndarray:
        alpha = reference.evaluate_energy(moved)[quantities.POLARIZABILITY]
        return 0.5 * np.asarray(direction @ alpha @ direction)

    forces = []
    for order in (1, 2):
        calculator = subject.calculator((direction[0], direction[1], direction[2]), order)
        calculator.calculate(atoms.copy())
        forces.append(calculator.results["forces"])
    moves = [
        unit_displacement(n_atoms, atom, axis)
        for atom in sample_atoms(n_atoms, settings.samples, settings.seed)
        for axis in range(3)
    ]
    found = np.array([((forces[1] - forces[0]) * move).sum() for move in moves])
    expected = np.array([by_displacement(half, atoms, move) for move in moves])
    allowed = tolerance(DERIVATIVE, subject.dtype, quantities.POLARIZABILITY)
    note = f"{len(moves)} directions, of 1 V/A"
    return [compare(name, quantity, "eV/A", found, expected, allowed, note)]
