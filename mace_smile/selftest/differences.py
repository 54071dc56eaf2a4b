"""Finite differences of fourth order."""

from collections.abc import Callable

import ase
import numpy as np

#: Displacement in A, and strain, of which one and two are taken to both sides.
STEP = 2e-3
STRAIN = 2e-4


def derivative(function: Callable[[float], np.ndarray], step: float) -> np.ndarray:
    """Derivative at zero by five points, wrong by ``step**4 / 30`` times the fifth derivative.

    :param function: of one number; any shape.
    :param step: distance of the points.
    """
    values = {sign: function(sign * step) for sign in (-2, -1, 1, 2)}
    return (values[-2] - 8.0 * values[-1] + 8.0 * values[1] - values[2]) / (12.0 * step)


def by_displacement(
    function: Callable[[ase.Atoms], np.ndarray], atoms: ase.Atoms, direction: np.ndarray
) -> np.ndarray:
    """Derivative of what depends on a structure, along a displacement.

    :param direction: of all atoms, shape ``(n_atoms, 3)``, without unit.
    """
    moved = atoms.copy()

    def at(distance: float) -> np.ndarray:
        moved.positions = atoms.positions + distance * direction
        return function(moved)

    return derivative(at, STEP)


def by_strain(
    function: Callable[[ase.Atoms], np.ndarray], atoms: ase.Atoms, direction: np.ndarray
) -> np.ndarray:
    """Derivative of what depends on a structure, along a strain of cell and positions.

    :param direction: shape ``(3, 3)``, symmetric, without unit.
    """

    def at(size: float) -> np.ndarray:
        strained = atoms.copy()
        strained.set_cell(atoms.cell.array @ (np.eye(3) + size * direction), scale_atoms=False)
        strained.positions = atoms.positions @ (np.eye(3) + size * direction)
        return function(strained)

    return derivative(at, STRAIN)


def unit_displacement(n_atoms: int, atom: int, axis: int) -> np.ndarray:
    """The displacement of one atom along one axis, shape ``(n_atoms, 3)``."""
    direction = np.zeros((n_atoms, 3))
    direction[atom, axis] = 1.0
    return direction


def sample_atoms(n_atoms: int, samples: int, seed: int) -> np.ndarray:
    """Numbers of some atoms, drawn at random, in order."""
    chosen = np.random.default_rng(seed).permutation(n_atoms)[:samples]
    return np.sort(chosen)
