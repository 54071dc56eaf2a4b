"""Forces and stress against finite differences of the energy."""

import ase
import numpy as np

from mace_smile import quantities
from mace_smile.selftest.differences import (
    by_displacement,
    by_strain,
    sample_atoms,
    unit_displacement,
)
from mace_smile.selftest.finding import Finding, compare, skipped
from mace_smile.selftest.settings import SelftestSettings
from mace_smile.selftest.subject import Subject, has_volume
from mace_smile.selftest.tolerances import DERIVATIVE, PME_JUMPS, tolerance


def check_forces(subject: Subject, atoms: ase.Atoms, settings: SelftestSettings) -> list[Finding]:
    """Forces of some atoms, and of all atoms along one random direction."""
    reference, n_atoms = subject.reference, len(atoms)
    forces = subject.evaluate(atoms)[quantities.FORCES]

    def energy(moved: ase.Atoms) -> np.ndarray:
        return reference.evaluate_energy(moved)[quantities.ENERGY]

    directions = [
        unit_displacement(n_atoms, atom, axis)
        for atom in sample_atoms(n_atoms, settings.samples, settings.seed)
        for axis in range(3)
    ]
    together = np.random.default_rng(settings.seed).normal(size=(n_atoms, 3))
    directions.append(together / np.linalg.norm(together))
    expected = np.array([-by_displacement(energy, atoms, direction) for direction in directions])
    found = np.array([(forces * direction).sum() for direction in directions])
    allowed = tolerance(DERIVATIVE, subject.dtype, quantities.FORCES)
    if subject.options.electrostatics == "pme":
        allowed = max(allowed, PME_JUMPS * subject.mesh_error() * subject.coulomb_force(atoms))
    note = f"{len(directions)} directions"
    return [compare("forces", "finite differences", "eV/A", found, expected, allowed, note)]


def check_stress(subject: Subject, atoms: ase.Atoms, settings: SelftestSettings) -> list[Finding]:
    """The stress, by strains of cell and positions.

    Of slabs without the shear that would tilt the normal, as models refuse tilted slabs.
    """
    if not has_volume(atoms):
        return [skipped("stress", "finite differences", "no periodic cell with a volume")]
    reference = subject.reference
    stress = subject.evaluate(atoms)[quantities.STRESS]

    def energy(strained: ase.Atoms) -> np.ndarray:
        return reference.evaluate_energy(strained)[quantities.ENERGY]

    axes = subject.periodic_axes(atoms) & atoms.pbc
    strains = _strains(atoms.cell.array, axes)
    expected = [by_strain(energy, atoms, strain) / atoms.get_volume() for strain in strains]
    found = [(stress * strain).sum() for strain in strains]
    allowed = tolerance(DERIVATIVE, subject.dtype, quantities.STRESS)
    return [
        compare(
            "stress",
            "finite differences",
            "eV/A^3",
            np.array(found),
            np.array(expected),
            allowed,
            f"{len(strains)} strains",
        )
    ]


def _strains(cell: np.ndarray, axes: np.ndarray) -> list[np.ndarray]:
    """Symmetric strains, shape ``(3, 3)``: six, or four of a slab.

    :param axes: that are periodic, shape ``(3,)``, bool.
    """
    frame, pairs = np.eye(3), [(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)]
    if axes.sum() == 2:
        # The columns of the orthogonal factor: two in the plane, then the normal.
        frame = np.linalg.qr(np.concatenate([cell[axes], cell[~axes]]).T)[0].T
        pairs = pairs[:4]
    outer = [np.outer(frame[first], frame[second]) for first, second in pairs]
    return [0.5 * (strain + strain.T) for strain in outer]
