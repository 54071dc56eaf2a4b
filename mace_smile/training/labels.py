"""Labels of one structure on their way into a batch: checked, completed, masked and shaped.

A batch needs the same entries of every structure. A label that a structure lacks becomes
zeros with the weight ``<name>_weight`` zero; the weight of a present one is 1, or what the
file says under ``config_<name>_weight``. Dipoles have a weight for each Cartesian axis: along
a periodic axis a dipole is defined only modulo the dipole quantum, and is no label.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mace.data import AtomicData, Configuration, KeySpecification

from mace_smile import quantities
from mace_smile.errors import UserError
from mace_smile.physics.boundaries import model_axes
from mace_smile.structures import (
    StructureSettings,
    complete_given_charges,
    prepare_configuration,
    structure_data,
)

AXES = "xyz"


@dataclass(frozen=True)
class LabelSettings:
    """Which labels beside MACE's the structures carry, and how dipoles are read."""

    born_effective_charges: bool = False
    """Whether Born effective charges are labels."""
    given_charges: bool = False
    """Whether some atoms carry given charges."""
    macro_dipole: bool = True
    """Whether dipoles are labels: where they are not, their weight is zero."""
    dipole_axes: str = "auto"
    """Cartesian axes along which the dipole is a label: ``auto`` (the non-periodic ones) or
    some of ``xyz``."""
    structure: StructureSettings = StructureSettings()
    """What the model asks of its structures."""


def add_label_keys(keys: KeySpecification, settings: dict[str, Any]) -> KeySpecification:
    """Add our labels to MACE's key specification.

    :param keys: where MACE finds labels; changed in place.
    :param settings: arguments of the command line, or the dictionary of one head, with
        ``becs_key``, ``given_charges_key`` and ``given_mask_key`` where they are set.
    """
    for name, flag in (
        (quantities.BORN_EFFECTIVE_CHARGES, "becs_key"),
        (quantities.GIVEN_CHARGES, "given_charges_key"),
        (quantities.GIVEN_MASK, "given_mask_key"),
    ):
        if settings.get(flag) is not None:
            keys.arrays_keys[name] = settings[flag]
    return keys


def check_labels(config: Configuration) -> None:
    """Check shape and numbers of every label a structure carries.

    :raises UserError: naming the label, what it is and what is wanted.
    """
    n_atoms = len(config.atomic_numbers)
    shapes: dict[str, tuple[tuple[int, ...], ...]] = {
        quantities.ENERGY: ((),),
        quantities.FORCES: ((n_atoms, 3),),
        quantities.STRESS: ((6,), (9,), (3, 3)),
        "virials": ((6,), (9,), (3, 3)),
        quantities.DIPOLE: ((3,),),
        quantities.TOTAL_CHARGE: ((),),
        quantities.CHARGES: ((n_atoms,),),
        quantities.BORN_EFFECTIVE_CHARGES: ((n_atoms, 9), (n_atoms, 3, 3)),
    }
    for name, allowed in shapes.items():
        value = config.properties.get(name)
        if value is None:
            continue
        try:
            array = np.asarray(value, dtype=float)
        except (TypeError, ValueError) as error:
            raise UserError(f"`{name}` is {value!r} but must hold numbers") from error
        if array.shape not in allowed:
            wanted = " or ".join(str(shape) for shape in allowed)
            raise UserError(f"`{name}` has shape {array.shape} but must have {wanted}")
        if not np.isfinite(array).all():
            raise UserError(
                f"`{name}` holds {np.count_nonzero(~np.isfinite(array))} values that are NaN or "
                f"infinite; leave the label out where it is unknown, or write zeros and set "
                f"config_{name}_weight=0 there"
            )
    for name, value in config.property_weights.items():
        try:
            weight = np.asarray(value, dtype=float)
        except (TypeError, ValueError) as error:
            raise UserError(f"config_{name}_weight is {value!r} but must be a number") from error
        shapes_of_weight = ((), (3,)) if name == quantities.DIPOLE else ((),)
        if weight.shape not in shapes_of_weight or not (weight >= 0).all():
            raise UserError(
                f"config_{name}_weight is {value!r} but must be one number, zero or positive"
                + (", or three" if name == quantities.DIPOLE else "")
            )


def dipole_axes(config: Configuration, settings: LabelSettings) -> np.ndarray:
    """Weights of the three Cartesian components of the dipole label.

    A component counts when its axis is perpendicular to all periodic cell vectors.

    :return: shape ``(3,)``, 1 where the dipole is a label.
    :raises UserError: for an axis that was asked for but is periodic, and for a slab whose
        normal is no Cartesian axis.
    """
    pbc = torch.tensor([bool(flag) for flag in (config.pbc or (False, False, False))])
    structure = settings.structure
    periodic = model_axes(pbc, structure.boundary, structure.slab_axis).tolist()
    cell = np.zeros((3, 3)) if config.cell is None else np.asarray(config.cell, dtype=float)
    vectors = cell[periodic]
    tolerance = 1e-6 * max(np.abs(vectors).max(initial=0.0), 1.0)
    free = np.abs(vectors).max(axis=0, initial=0.0) < tolerance  # (3,)
    if settings.dipole_axes == "auto":
        if sum(periodic) == 2 and not free.any():
            raise UserError(
                "the slab normal is not along x, y or z, so none of the three components of the "
                "dipole is a label; rotate the structure"
            )
        return free.astype(float)
    asked = np.array([axis in settings.dipole_axes for axis in AXES])
    if (asked & ~free).any():
        axes = "".join(axis for axis, wrong in zip(AXES, asked & ~free, strict=True) if wrong)
        raise UserError(
            f"--dipole_axes {settings.dipole_axes} asks for the dipole along the periodic axis "
            f"{axes}, where it is defined only modulo the dipole quantum and a loss is not "
            "available; ask for other axes, or leave the dipole out of this structure"
        )
    return asked.astype(float)


def complete_labels(config: Configuration, settings: LabelSettings) -> Configuration:
    """A copy whose labels have the shapes and weights every structure of a batch needs.

    :param config: a configuration that passed :func:`check_labels`.
    :return: ``dipole`` weights for each axis; with ``settings.born_effective_charges`` the
        properties ``born_effective_charges`` ``(n_atoms, 3, 3)`` in e, field index first, and
        its weight; with ``settings.given_charges`` ``given_charges`` and ``given_mask``
        ``(n_atoms, 1)``.
    """
    n_atoms = len(config.atomic_numbers)
    properties = dict(config.properties)
    weights = dict(config.property_weights)
    if properties.get(quantities.DIPOLE) is not None:
        weight = np.asarray(weights.get(quantities.DIPOLE, 1.0), dtype=float)
        axes = dipole_axes(config, settings) if settings.macro_dipole else np.zeros(3)
        weights[quantities.DIPOLE] = weight * axes

    name = quantities.BORN_EFFECTIVE_CHARGES
    label = properties.pop(name, None)
    if settings.born_effective_charges:
        shape = (n_atoms, 3, 3)
        properties[name] = np.zeros(shape) if label is None else np.reshape(label, shape)
        properties[f"{name}_weight"] = 0.0 if label is None else float(weights.get(name, 1.0))
    completed = dataclasses.replace(config, properties=properties, property_weights=weights)
    return complete_given_charges(completed) if settings.given_charges else completed


def with_complete_labels(
    from_config: Callable[..., AtomicData], settings: LabelSettings
) -> Callable[..., AtomicData]:
    """``AtomicData.from_config`` for structures whose labels are completed on the way."""

    def from_config_with_labels(
        config: Configuration,
        z_table: Any,
        cutoff: float,
        heads: list[str] | None = None,
        **kwargs: Any,
    ) -> AtomicData:
        prepared = complete_labels(prepare_configuration(config, settings.structure), settings)
        return structure_data(
            from_config,
            prepared,
            cutoff,
            settings.structure.coulomb_cutoff,
            z_table=z_table,
            heads=heads,
            **kwargs,
        )

    return from_config_with_labels
