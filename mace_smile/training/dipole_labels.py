"""Dipole labels: along which axes they count, modulo what, and what their errors are divided by.

Along a periodic axis a dipole is defined only modulo the dipole quantum, e or 2e times a lattice
vector. It is a label there only when the quantum is given, and the loss then takes the nearest
branch (:func:`~mace_smile.physics.polarization.nearest_branch`).
"""

import dataclasses

import numpy as np
import torch
from ase.geometry import minkowski_reduce
from mace.data import Configuration

from mace_smile import quantities
from mace_smile.errors import UserError
from mace_smile.physics.boundaries import model_axes
from mace_smile.structures import StructureSettings

AXES = "xyz"


def periodic_axes(config: Configuration, structure: StructureSettings) -> np.ndarray:
    """Axes that the model treats as periodic, shape ``(3,)``, bool."""
    pbc = torch.tensor([bool(flag) for flag in (config.pbc or (False, False, False))])
    return model_axes(pbc, structure.boundary, structure.slab_axis).numpy()


def periodic_vectors(config: Configuration, structure: StructureSettings) -> np.ndarray:
    """A reduced basis of the lattice: shape ``(3, 3)``, in A, zero rows for other axes."""
    periodic = periodic_axes(config, structure)
    cell = np.zeros((3, 3)) if config.cell is None else np.array(config.cell, dtype=float)
    vectors = np.where(periodic[:, None], cell, 0.0)
    if periodic.sum() == 2:  # a vector off the plane, which the reduction leaves alone
        axis = int(np.argmin(periodic))
        vectors[axis] = np.cross(vectors[axis - 2], vectors[axis - 1])
    if periodic.sum() >= 2:
        vectors = np.asarray(minkowski_reduce(vectors, periodic)[0])
    return np.where(periodic[:, None], vectors, 0.0)


def free_axes(vectors: np.ndarray) -> np.ndarray:
    """Cartesian axes perpendicular to all periodic vectors, shape ``(3,)``, bool."""
    tolerance = 1e-6 * max(np.abs(vectors).max(initial=0.0), 1.0)
    return np.abs(vectors).max(axis=0, initial=0.0) < tolerance


def dipole_axes(
    config: Configuration, structure: StructureSettings, asked: str = "auto", quantum: int = 0
) -> np.ndarray:
    """Weights of the three Cartesian components of the dipole label.

    Without a dipole quantum a component counts only when its axis is perpendicular to all
    periodic cell vectors.

    :param asked: ``auto`` (those components; for a polarization label all three), or some of
        ``xyz``.
    :param quantum: charge of the dipole quantum in e, 0 where there is none.
    :return: shape ``(3,)``, 1 where the dipole is a label.
    :raises UserError: for an axis that was asked for but is periodic, and for a slab whose
        normal is no Cartesian axis.
    """
    free = free_axes(periodic_vectors(config, structure))
    if asked == "auto":
        if config.properties.get(quantities.POLARIZATION) is not None:
            return np.ones(3)
        if periodic_axes(config, structure).sum() == 2 and not free.any():
            raise UserError(
                "the slab normal is not along x, y or z, so none of the three components of the "
                "dipole is a label; rotate the structure"
            )
        return free.astype(float)
    chosen = np.array([axis in asked for axis in AXES])
    if quantum == 0 and (chosen & ~free).any():
        axes = "".join(axis for axis, wrong in zip(AXES, chosen & ~free, strict=True) if wrong)
        raise UserError(
            f"--dipole_axes {asked} asks for the dipole along the periodic axis {axes}, where it "
            "is defined only modulo the dipole quantum; say which quantum with --dipole_quantum 1 "
            "(or 2, where all electrons are paired), ask for other axes, or leave the dipole out "
            "of this structure"
        )
    return chosen.astype(float)


def dipole_of_polarization(config: Configuration, structure: StructureSettings) -> Configuration:
    """A copy whose dipole label is its polarization label times the volume, if it has one.

    :raises UserError: for a structure that is not periodic along three axes, and for one that
        has labels of both.
    """
    polarization = config.properties.get(quantities.POLARIZATION)
    if polarization is None:
        return config
    if config.properties.get(quantities.DIPOLE) is not None:
        raise UserError(
            "the structure has labels of both `dipole` and `polarization`; leave one of them out"
        )
    if not periodic_axes(config, structure).all():
        raise UserError(
            "the structure has a label of `polarization` but is not periodic along three axes, so "
            "it has no volume to belong to; give its `dipole` instead"
        )
    volume = abs(float(np.linalg.det(np.asarray(config.cell, dtype=float))))
    dipole = volume * np.asarray(polarization, dtype=float)
    weight = config.property_weights.get(quantities.POLARIZATION, 1.0)
    return dataclasses.replace(
        config,
        properties={**config.properties, quantities.DIPOLE: dipole},
        property_weights={**config.property_weights, quantities.DIPOLE: weight},
    )


def dipole_quantum(
    config: Configuration, structure: StructureSettings, counted: np.ndarray, quantum: int
) -> np.ndarray:
    """What the dipole label of a structure is defined modulo.

    :param counted: components that are labels, shape ``(3,)``, bool.
    :param quantum: charge of the dipole quantum in e, 0 where there is none.
    :return: lattice vectors of periodic axes times the quantum, a reduced basis in rows, zero
        where no counted component is along a periodic axis, shape ``(3, 3)``, in e A.
    :raises UserError: where lattice vectors mix components that are labels with others, so that
        the nearest branch is not known.
    """
    vectors = periodic_vectors(config, structure)
    if quantum == 0 or not (counted & ~free_axes(vectors)).any():
        return np.zeros((3, 3))
    large = np.abs(vectors) > 1e-6 * np.abs(vectors).max()
    if (large[:, counted].any(axis=1) & large[:, ~counted].any(axis=1)).any():
        axes = "".join(axis for axis, counts in zip(AXES, counted, strict=True) if counts)
        raise UserError(
            f"the dipole is a label along {axes} only, but a lattice vector has parts along these "
            "and other axes, so the label is known modulo nothing of use; label all components, "
            "or set config_dipole_weight to zero along the periodic axes"
        )
    return quantum * vectors


def dipole_divisor(
    config: Configuration, structure: StructureSettings, counted: np.ndarray, norm: str
) -> float:
    """What the squared dipole error of a structure is divided by.

    :param counted: components that are labels, shape ``(3,)``, bool.
    :param norm: ``per_atom`` (the number of atoms), ``per_area`` (the square of the area of a
        slab in A^4) or ``total`` (1).
    :raises UserError: for an area of what is no slab.
    """
    if norm == "total":
        return 1.0
    if norm == "per_atom" or not counted.any():
        return float(len(config.atomic_numbers))
    periodic = periodic_axes(config, structure)
    if periodic.sum() != 2:
        kind = "open" if periodic.sum() == 0 else "periodic along three axes"
        raise UserError(
            "--macro_dipole_norm per_area divides dipoles by the area of a slab, but the structure "
            f"is {kind}; use per_atom or total, or set config_dipole_weight=0 in this structure"
        )
    first, second = np.asarray(config.cell, dtype=float)[periodic]
    return float(np.square(np.cross(first, second)).sum())


def is_screened(config: Configuration, structure: StructureSettings, counted: np.ndarray) -> bool:
    """Whether a dipole label tells of the susceptibility: a slab, labelled along its normal."""
    if periodic_axes(config, structure).sum() != 2:
        return False
    return bool((free_axes(periodic_vectors(config, structure)) & counted).any())


def is_unscreened(config: Configuration, structure: StructureSettings, counted: np.ndarray) -> bool:
    """Whether a dipole label counts along an axis that knows no susceptibility."""
    if periodic_axes(config, structure).sum() != 2:
        return bool(counted.any())
    return bool((~free_axes(periodic_vectors(config, structure)) & counted).any())
