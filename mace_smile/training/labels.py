"""Labels of one structure on their way into a batch: checked, completed, masked and shaped.

A batch needs the same entries of every structure. A label that a structure lacks becomes
zeros with the weight ``<name>_weight`` zero; the weight of a present one is 1, or what the
file says under ``config_<name>_weight``. Dipoles have a weight for each Cartesian axis
(:mod:`~mace_smile.training.dipole_labels`).
"""

import dataclasses
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from mace.data import AtomicData, Configuration, KeySpecification

from mace_smile import quantities
from mace_smile.errors import UserError
from mace_smile.graphs import structure_data
from mace_smile.io.born_order import DISPLACEMENT_FIRST, FIELD_FIRST, field_first
from mace_smile.structures import (
    StructureSettings,
    complete_given_charges,
    prepare_configuration,
)
from mace_smile.training.databases import from_database
from mace_smile.training.dipole_labels import (
    dipole_axes,
    dipole_divisor,
    dipole_of_polarization,
    dipole_quantum,
)
from mace_smile.training.polarizability_labels import symmetric_tensor


@dataclass(frozen=True)
class LabelSettings:
    """Which labels beside MACE's the structures carry, and how dipoles are read."""

    born_effective_charges: bool = False
    """Whether Born effective charges are labels."""
    ignores_born_effective_charges: bool = False
    """Whether their weights are zero all the same, where the loss has no use for them: charges
    are then not differentiated a second time."""
    displacement_first_heads: frozenset[str] = frozenset()
    """Heads whose files have Born effective charges with the displacement index first."""
    given_charges: bool = False
    """Whether some atoms carry given charges."""
    ignored: frozenset[str] = frozenset()
    """Labels that databases may hold and that were not asked for."""
    macro_dipole: bool = True
    """Whether dipoles are labels: where they are not, their weight is zero."""
    dipole_axes: str = "auto"
    """Cartesian axes along which the dipole is a label: ``auto`` (the non-periodic ones; all of
    a polarization label) or some of ``xyz``."""
    dipole_quantum: int = 0
    """Charge in e of the dipole quantum, modulo which dipoles along periodic axes are labels; 0:
    they are none."""
    macro_dipole_norm: str = "per_atom"
    """What squared dipole errors are divided by: ``per_atom``, ``per_area`` or ``total``."""
    structure: StructureSettings = StructureSettings()
    """What the model asks of its structures."""


def add_label_keys(keys: KeySpecification, settings: dict[str, Any]) -> KeySpecification:
    """Add our labels to MACE's key specification.

    :param keys: where MACE finds labels; changed in place.
    :param settings: arguments of the command line, or the dictionary of one head, with
        ``becs_key``, ``given_charges_key``, ``given_mask_key`` and ``polarization_key`` where
        they are set.
    """
    if settings.get("polarization_key") is not None:
        keys.info_keys[quantities.POLARIZATION] = settings["polarization_key"]
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
        quantities.POLARIZATION: ((3,),),
        quantities.TOTAL_CHARGE: ((),),
        quantities.CHARGES: ((n_atoms,),),
        quantities.POLARIZABILITY: ((6,), (9,), (3, 3)),
        quantities.BORN_EFFECTIVE_CHARGES: ((n_atoms, 9), (n_atoms, 3, 3)),
    }
    for name, allowed in shapes.items():
        value = config.properties.get(name)
        if value is None:
            continue
        try:
            array = np.asarray(value, dtype=float)
        except (TypeError, ValueError) as error:
            text = f"{np.ravel(value)[0]!r}, ..." if np.size(value) > 1 else repr(value)
            raise UserError(f"`{name}` is {text} but must hold numbers") from error
        if array.shape not in allowed:
            wanted = " or ".join(str(shape) for shape in allowed)
            raise UserError(f"`{name}` has shape {array.shape} but must have {wanted}")
        if not np.isfinite(array).all():
            raise UserError(
                f"`{name}` holds {np.count_nonzero(~np.isfinite(array))} values that are NaN or "
                f"infinite; leave the label out where it is unknown, or write zeros and set "
                f"config_{name}_weight=0 there"
            )
        if name == quantities.POLARIZABILITY:
            symmetric_tensor(array)
    for name, value in config.property_weights.items():
        try:
            weight = np.asarray(value, dtype=float)
        except (TypeError, ValueError) as error:
            raise UserError(f"config_{name}_weight is {value!r} but must be a number") from error
        has_axes = name in (quantities.DIPOLE, quantities.POLARIZATION)
        shapes_of_weight = ((), (3,)) if has_axes else ((),)
        if weight.shape not in shapes_of_weight or not is_weight(weight):
            raise UserError(
                f"config_{name}_weight is {value!r} but must be one number, zero or positive"
                + (", or three" if has_axes else "")
            )


def is_weight(values: np.ndarray) -> bool:
    """Whether numbers can be weights."""
    return bool(np.isfinite(values).all() and (values >= 0).all())


def check_config_weight(value: Any) -> None:
    """Check the weight of a whole structure, as a file has it.

    :raises UserError: when it is no number, or negative.
    """
    try:
        weight = np.asarray(value, dtype=float)
        fits = not weight.shape and is_weight(weight)
    except (TypeError, ValueError):
        fits = False
    if not fits:
        text = np.asarray(value).tolist()
        raise UserError(f"config_weight is {text!r} but must be one number, zero or positive")


def complete_labels(config: Configuration, settings: LabelSettings) -> Configuration:
    """A copy whose labels have the shapes and weights every structure of a batch needs.

    :param config: a configuration that passed :func:`check_labels`.
    :return: ``dipole`` weights for each axis, with ``dipole_quantum`` ``(3, 3)`` and
        ``dipole_divisor``; ``polarizability`` ``(3, 3)`` in e^2 A^2/eV where it is known;
        with ``settings.born_effective_charges`` the properties
        ``born_effective_charges`` ``(n_atoms, 3, 3)`` in e, field index first, and its weight;
        with ``settings.given_charges`` ``given_charges`` and ``given_mask`` ``(n_atoms, 1)``.
    :raises UserError: for dipole labels and given charges that cannot be used.
    """
    structure = settings.structure
    config = without_labels(config, settings.ignored)
    config = dipole_of_polarization(config, structure)
    n_atoms = len(config.atomic_numbers)
    properties = dict(config.properties)
    weights = dict(config.property_weights)
    counted = np.zeros(3, dtype=bool)
    if properties.get(quantities.DIPOLE) is not None:
        weight = np.asarray(weights.get(quantities.DIPOLE, 1.0), dtype=float)
        axes = np.zeros(3)
        if settings.macro_dipole:
            axes = dipole_axes(config, structure, settings.dipole_axes, settings.dipole_quantum)
        weights[quantities.DIPOLE] = weight * axes
        counted = weight * axes > 0
    modulo = dipole_quantum(config, structure, counted, settings.dipole_quantum)
    divisor = dipole_divisor(config, structure, counted, settings.macro_dipole_norm)
    properties.pop(quantities.POLARIZATION, None)
    properties[quantities.DIPOLE_QUANTUM] = modulo
    properties[quantities.DIPOLE_DIVISOR] = divisor

    if properties.get(quantities.POLARIZABILITY) is None:
        weights[quantities.POLARIZABILITY] = 0.0
    else:
        label = properties[quantities.POLARIZABILITY]
        properties[quantities.POLARIZABILITY] = symmetric_tensor(label)

    name = quantities.BORN_EFFECTIVE_CHARGES
    label = properties.pop(name, None)
    if settings.ignores_born_effective_charges:
        label = None
    if settings.born_effective_charges:
        shape = (n_atoms, 3, 3)
        exchanged = config.head in settings.displacement_first_heads
        order = DISPLACEMENT_FIRST if exchanged else FIELD_FIRST
        properties[name] = np.zeros(shape) if label is None else field_first(label, order)
        properties[f"{name}_weight"] = 0.0 if label is None else float(weights.get(name, 1.0))
    completed = dataclasses.replace(config, properties=properties, property_weights=weights)
    return complete_given_charges(completed, structure) if settings.given_charges else completed


def without_labels(config: Configuration, names: Collection[str]) -> Configuration:
    """A copy without some properties."""
    kept = {name: value for name, value in config.properties.items() if name not in names}
    return dataclasses.replace(config, properties=kept)


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
        config = from_database(config, kwargs.pop("head", None))
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
