"""One structure on its way into a batch: made whole, checked, and its cell kept.

Training, evaluation and the calculator take this one route, so that they see the same slab.
MACE replaces the cell vectors of non-periodic axes by ones that depend on the origin; the
given vectors are put back, so volume and stress refer to the cell of the user.
"""

import dataclasses

import ase
import numpy as np
import torch
from mace.data import AtomicData, Configuration, KeySpecification, config_from_atoms
from mace.tools import AtomicNumberTable

from mace_smile import quantities
from mace_smile.errors import UserError
from mace_smile.physics.polarization import wrap_at_vacuum_gap

#: Smallest vacuum in A across which atoms of a slab are taken to be stored in another image.
MINIMUM_VACUUM_GAP = 2.0


def describe(config: Configuration) -> str:
    """Formula and number of atoms of a structure, for messages."""
    formula = ase.Atoms(numbers=config.atomic_numbers).get_chemical_formula()
    return f"structure {formula} ({len(config.atomic_numbers)} atoms)"


def prepare_configuration(config: Configuration) -> Configuration:
    """A copy of the configuration whose slab, if it is one, is whole.

    :param config: MACE's configuration.
    :return: a copy; the positions of slabs with a given third cell vector are wrapped so
        that the seam lies in the largest gap.
    :raises UserError: for positions or cells that are not finite, periodic axes without a
        cell vector, one periodic axis alone, and a slab without a vacuum gap.
    """
    positions = np.asarray(config.positions, dtype=float)
    cell = np.zeros((3, 3)) if config.cell is None else np.asarray(config.cell, dtype=float)
    periodic = [bool(flag) for flag in (config.pbc or (False, False, False))]
    name = describe(config)
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
    if sum(periodic) == 2 and lengths[periodic.index(False)] > 0:
        axis = periodic.index(False)
        try:
            whole = wrap_at_vacuum_gap(
                torch.from_numpy(positions), torch.from_numpy(cell), axis, MINIMUM_VACUUM_GAP
            )
        except ValueError as error:
            raise UserError(f"{name}: {error}") from error
        positions = whole.numpy()
    return dataclasses.replace(config, positions=positions, cell=cell, pbc=tuple(periodic))


def restore_cell(data: AtomicData, config: Configuration) -> AtomicData:
    """Put the given cell back where MACE has replaced vectors of non-periodic axes.

    :param data: one structure, as ``AtomicData.from_config`` made it; changed in place.
    :param config: the configuration it was made from, with its cell.
    :return: ``data``. A cell without volume stays as MACE made it.
    """
    cell = torch.as_tensor(np.asarray(config.cell), dtype=data.cell.dtype)
    if torch.abs(torch.linalg.det(cell)) > 0:
        data.cell = cell
        data.volume = torch.linalg.det(cell)
        data.rcell = 2 * torch.pi * torch.linalg.inv(cell.mT)
    return data


def atomic_data(
    atoms: ase.Atoms,
    z_table: AtomicNumberTable,
    cutoff: float,
    key_specification: KeySpecification | None = None,
    heads: list[str] | None = None,
) -> AtomicData:
    """One ASE structure as an entry of a batch.

    :param atoms: the structure; ``pbc`` chooses the boundary.
    :param z_table: elements of the model.
    :param cutoff: of the neighbour list in A.
    :param key_specification: where total charge and given charges are read from.
    :param heads: heads of the model.
    :raises UserError: for an element the model does not know, and what
        :func:`prepare_configuration` refuses.
    """
    unknown = sorted(set(atoms.numbers.tolist()) - set(z_table.zs))
    if unknown:
        symbols = [ase.data.chemical_symbols[z] for z in unknown]
        known = [ase.data.chemical_symbols[z] for z in z_table.zs]
        raise UserError(
            f"the structure {atoms.get_chemical_formula()} has the elements "
            f"{', '.join(symbols)} but the model knows only {', '.join(known)}"
        )
    config = config_from_atoms(atoms, key_specification or KeySpecification())
    config = prepare_configuration(config)
    for name in (quantities.GIVEN_CHARGES, quantities.GIVEN_MASK):
        values = config.properties.get(name)
        if values is not None and np.shape(values) != (len(atoms),):
            raise UserError(
                f"`{name}` has shape {np.shape(values)} but must be ({len(atoms)},): one number "
                "an atom"
            )
    data = AtomicData.from_config(config, z_table=z_table, cutoff=cutoff, heads=heads)
    return restore_cell(data, config)
