"""One structure on its way into a batch: its inputs read, made whole and checked.

Training, evaluation and the calculator take this one route, so that they see the same slab.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import ase
import ase.data
import numpy as np
import torch
from mace.data import AtomicData, Configuration, KeySpecification, config_from_atoms
from mace.tools import AtomicNumberTable

from mace_smile import quantities
from mace_smile.errors import UserError
from mace_smile.graphs import describe, structure_data
from mace_smile.model.given_charges import check_total_charge, fixes_total_charge
from mace_smile.model.net_charge import NetChargeRule
from mace_smile.model.options import SmileOptions
from mace_smile.physics.boundaries import check_slab_axis, check_volume, model_axes
from mace_smile.physics.polarization import wrap_at_vacuum_gap

#: Smallest vacuum in A across which atoms of a slab are taken to be stored in another image: wider
#: than the layers of a solid, or a film and a wall, are apart.
MINIMUM_VACUUM_GAP = 4.0


@dataclass(frozen=True)
class StructureSettings:
    """What a model asks of its structures."""

    boundary: str = "auto"
    """Boundary of the model; ``auto`` takes the periodic axes from each structure."""
    slab_axis: int = 2
    """Cell axis along the normal with ``boundary="slab"``."""
    minimum_gap: float = MINIMUM_VACUUM_GAP
    """Smallest vacuum in A of a slab that is given with three periodic axes: no neighbour list
    may reach across it."""
    coulomb_cutoff: float | None = None
    """Cutoff in A of the neighbour list of the real-space Coulomb sum, if it has its own."""
    net_charge: NetChargeRule = NetChargeRule()
    """What is done about net charges of periodic cells."""
    fixes_total_charge: bool = False
    """Whether the charges shall add up to the total charge of a structure."""
    has_learned_charges: bool = True
    """Whether the model predicts the charges that are not given."""

    @classmethod
    def of_model(
        cls, options: SmileOptions, r_max: float, scale: float | None = None
    ) -> "StructureSettings":
        """The settings of a model.

        :param options: of the model.
        :param r_max: cutoff of its backbone in A.
        :param scale: factor s of the model as it is now; None: of the options.
        :raises ValueError: for an accuracy of the Coulomb sum that cannot be reached.
        """
        return cls(
            boundary=options.boundary,
            slab_axis=options.slab_axis,
            minimum_gap=max(MINIMUM_VACUUM_GAP, r_max, options.second_cutoff or 0.0),
            coulomb_cutoff=options.second_cutoff,
            net_charge=NetChargeRule.of_model(options, r_max, scale),
            fixes_total_charge=fixes_total_charge(options),
            has_learned_charges=options.has_charges,
        )


def input_keys(options: SmileOptions) -> KeySpecification:
    """Where the inputs of a model (not its labels) are found in ASE structures.

    :param options: of the model; they name the total charge and the arrays of given charges.
    """
    arrays = {}
    if options.given_charges_key is not None and options.given_mask_key is not None:
        arrays[quantities.GIVEN_CHARGES] = options.given_charges_key
        arrays[quantities.GIVEN_MASK] = options.given_mask_key
    return KeySpecification(
        info_keys={quantities.TOTAL_CHARGE: options.total_charge_key}, arrays_keys=arrays
    )


def prepare_configuration(
    config: Configuration, settings: StructureSettings | None = None
) -> Configuration:
    """A copy of the configuration whose slab, if it is one, is whole.

    :param config: MACE's configuration; its total charge, if it has one, is a number.
    :param settings: of the model; None checks what holds for all models.
    :return: a copy; the positions of slabs with a given third cell vector are wrapped so
        that the seam lies in the largest gap.
    :raises UserError: for no atoms, positions or cells that are not finite, periodic axes without a
        cell vector, one periodic axis alone, cells without volume, a slab without a vacuum gap
        or with an axis that is not perpendicular, axes that are not periodic where the
        boundary of the model says so, and net charges where the model was trained to refuse them.
    """
    settings = settings or StructureSettings()
    positions = np.asarray(config.positions, dtype=float)
    cell = np.zeros((3, 3)) if config.cell is None else np.asarray(config.cell, dtype=float)
    periodic = [bool(flag) for flag in (config.pbc or (False, False, False))]
    name = describe(config)
    if len(positions) == 0:
        raise UserError(f"{name} has no atoms; give at least one")
    if not (np.isfinite(positions).all() and np.isfinite(cell).all()):
        raise UserError(f"{name} has positions or cell vectors that are not finite numbers")
    lengths = np.linalg.norm(cell, axis=1)
    if any(flag and length == 0 for flag, length in zip(periodic, lengths, strict=True)):
        raise UserError(
            f"{name} is periodic along an axis whose cell vector is zero; give the cell "
            "vector, or set pbc to False along that axis"
        )
    if sum(periodic) == 1:
        raise UserError(
            f"{name} is periodic along one axis only, which is not supported; set pbc along "
            "none, two or three axes"
        )
    try:
        positions = _whole_positions(positions, cell, periodic, settings)
        total_charge = config.properties.get(quantities.TOTAL_CHARGE)
        settings.net_charge.background_energy(total_charge, cell, periodic)
    except ValueError as error:
        raise UserError(f"{name}: {error}") from error
    return dataclasses.replace(config, positions=positions, cell=cell, pbc=tuple(periodic))


def _whole_positions(
    positions: np.ndarray, cell: np.ndarray, periodic: list[bool], settings: StructureSettings
) -> np.ndarray:
    """Positions of a slab made whole; others as they are.

    A slab that is given with three periodic axes stays as it is, since the backbone sees it
    periodic; the model makes it whole for its charges.

    :raises ValueError: for a cell or a slab that cannot be used.
    """
    vectors = torch.from_numpy(cell)
    pbc = torch.tensor(periodic)
    axes = model_axes(pbc, settings.boundary, settings.slab_axis)
    if settings.boundary in ("periodic", "slab") and bool((axes & ~pbc).any()):
        wanted = ", ".join(str(axis) for axis in range(3) if axes[axis])
        raise ValueError(
            f"--boundary {settings.boundary} needs a structure that is periodic along the cell "
            f"axes {wanted}, but pbc is {tuple(periodic)}; set pbc there, leave the structure out, "
            "or train with --boundary auto"
        )
    check_volume(vectors, pbc)
    whole = positions
    if sum(periodic) == 2 and cell[periodic.index(False)].any():
        axis, gap = periodic.index(False), MINIMUM_VACUUM_GAP
        whole = wrap_at_vacuum_gap(torch.from_numpy(positions), vectors, axis, gap).numpy()
        check_slab_axis(vectors, pbc)
    elif sum(periodic) == 3 and settings.boundary == "slab":
        try:
            gap = settings.minimum_gap
            wrap_at_vacuum_gap(torch.from_numpy(positions), vectors, settings.slab_axis, gap)
            check_slab_axis(vectors, axes)
        except ValueError as error:
            raise ValueError(f"--boundary slab: {error}") from error
    return whole


def check_elements(atoms: ase.Atoms, z_table: AtomicNumberTable) -> None:
    """Refuse elements the model does not know.

    :raises UserError: naming them and the known ones.
    """
    unknown = sorted(set(atoms.numbers.tolist()) - set(z_table.zs))
    if unknown:
        symbols = [ase.data.chemical_symbols[z] for z in unknown]
        known = [ase.data.chemical_symbols[z] for z in z_table.zs]
        raise UserError(
            f"the structure {atoms.get_chemical_formula()} has the elements "
            f"{', '.join(symbols)} but the model knows only {', '.join(known)}"
        )


def atomic_data(
    atoms: ase.Atoms,
    z_table: AtomicNumberTable,
    cutoff: float,
    key_specification: KeySpecification | None = None,
    heads: list[str] | None = None,
    settings: StructureSettings | None = None,
    head: str = "Default",
) -> AtomicData:
    """One ASE structure as an entry of a batch.

    :param atoms: the structure; ``pbc`` chooses the boundary.
    :param z_table: elements of the model.
    :param cutoff: of the neighbour list in A.
    :param key_specification: where total charge and given charges are read from.
    :param heads: heads of the model.
    :param settings: what the model asks of its structures.
    :param head: the one to use; the last where the model has none of this name.
    :raises UserError: for an element the model does not know, and what
        :func:`prepare_configuration` refuses.
    """
    check_elements(atoms, z_table)
    config = config_from_atoms(atoms, key_specification or KeySpecification(), head_name=head)
    total_charge = config.properties.get(quantities.TOTAL_CHARGE)
    if total_charge is not None and not _is_number(total_charge):
        raise UserError(
            f"{describe(config)}: the total charge is {total_charge!r} but must be one finite "
            "number in e"
        )
    settings = settings or StructureSettings()
    config = complete_given_charges(prepare_configuration(config, settings), settings)
    return structure_data(
        AtomicData.from_config,
        config,
        cutoff,
        settings.coulomb_cutoff,
        z_table=z_table,
        heads=heads,
    )


def _is_number(value: Any) -> bool:
    """Whether a value is one finite number."""
    try:
        return bool(np.isfinite(float(value)))
    except (TypeError, ValueError):
        return False


def complete_given_charges(
    config: Configuration, settings: StructureSettings | None = None
) -> Configuration:
    """Given charges of a configuration as columns, zero where the structure has none.

    :param config: MACE's configuration; changed only if its properties name given charges.
    :param settings: of the model; None checks what holds for all models.
    :return: the configuration with ``given_charges`` and ``given_mask`` of shape
        ``(n_atoms, 1)``, so that structures with and without can share a batch.
    :raises UserError: for one array without the other, a wrong shape, charges that are not
        finite, or such that no charges of the other atoms give the total charge.
    """
    names = (quantities.GIVEN_CHARGES, quantities.GIVEN_MASK)
    if not any(name in config.properties for name in names):
        return config
    n_atoms = len(config.atomic_numbers)
    values = [config.properties.get(name) for name in names]
    if (values[0] is None) != (values[1] is None):
        raise UserError(
            f"{describe(config)} has only one of the two arrays for given charges and their "
            "mask; give both or none"
        )
    columns = {}
    for name, value in zip(names, values, strict=True):
        column = np.zeros(n_atoms) if value is None else np.asarray(value, dtype=float)
        if column.size != n_atoms:
            raise UserError(
                f"{describe(config)}: `{name}` has shape {column.shape} but must have one "
                "number an atom"
            )
        if not np.isfinite(column).all():
            raise UserError(
                f"{describe(config)}: `{name}` has values that are not finite numbers; name "
                "the atoms without a given charge by zeros in the mask"
            )
        columns[name] = column.reshape(n_atoms, 1)
    if settings is not None and settings.fixes_total_charge:
        given, mask = (columns[name] for name in names)
        total_charge = float(config.properties.get(quantities.TOTAL_CHARGE) or 0.0)
        try:
            check_total_charge(given, mask, total_charge, settings.has_learned_charges)
        except UserError as error:
            raise UserError(f"{describe(config)}: {error}") from error
    return dataclasses.replace(config, properties={**config.properties, **columns})
