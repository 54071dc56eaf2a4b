"""From a prepared configuration to the graph of a batch: neighbour lists, and the cell kept.

MACE replaces the cell vectors of non-periodic axes by ones that depend on the origin; the
given vectors are put back, so volume and stress refer to the cell of the user.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import ase
import numpy as np
import torch
from mace.data import AtomicData, Configuration
from mace.data.neighborhood import get_neighborhood

from mace_smile import quantities
from mace_smile.errors import UserError
from mace_smile.physics.boundaries import SMALLEST_DISTANCE
from mace_smile.physics.polarization import slab_normal


def describe(config: Configuration) -> str:
    """Formula and number of atoms of a structure, for messages."""
    formula = ase.Atoms(numbers=config.atomic_numbers).get_chemical_formula()
    return f"structure {formula} ({len(config.atomic_numbers)} atoms)"


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


def own_slab_cell(config: Configuration, cutoff: float) -> Configuration:
    """A configuration whose neighbour list is that of the slab, if it is one.

    MACE replaces the cell vector that is not periodic by a Cartesian axis, which may lie in the
    plane of the slab. Here it is along the normal, and so long that no neighbour is across it.

    :param config: prepared configuration.
    :param cutoff: of the neighbour list in A.
    :return: periodic along all axes for a slab, else ``config``.
    """
    if sum(config.pbc) != 2:
        return config
    axis = list(config.pbc).index(False)
    cell = np.array(config.cell, dtype=float)
    normal = slab_normal(torch.from_numpy(cell), axis).numpy()
    cell[axis] = (np.ptp(config.positions @ normal) + 2.0 * cutoff + 1.0) * normal
    return dataclasses.replace(config, cell=cell, pbc=(True, True, True))


def add_coulomb_edges(data: AtomicData, config: Configuration, cutoff: float | None) -> AtomicData:
    """Add the neighbour list of the real-space Coulomb sum, if it has one of its own.

    :param data: one structure; changed in place.
    :param config: the configuration it was made from.
    :param cutoff: in A; None where the list of the backbone serves.
    :return: ``data``, with ``coulomb_edge_index`` ``(2, n_edges)`` and
        ``coulomb_unit_shifts`` ``(n_edges, 3)``.
    """
    if cutoff is not None:
        whole = own_slab_cell(config, cutoff)
        edge_index, _, unit_shifts, _ = get_neighborhood(
            positions=whole.positions, cutoff=cutoff, pbc=whole.pbc, cell=np.array(whole.cell)
        )
        data[quantities.COULOMB_EDGE_INDEX] = torch.tensor(edge_index, dtype=torch.long)
        data[quantities.COULOMB_UNIT_SHIFTS] = torch.tensor(unit_shifts, dtype=data.cell.dtype)
    return data


def check_distances(data: AtomicData, config: Configuration) -> None:
    """Refuse atoms at one place, whose forces are not numbers.

    :raises UserError: naming the two atoms.
    """
    sender, receiver = data.edge_index
    vectors = data.positions[receiver] - data.positions[sender] + data.shifts
    distances = torch.linalg.norm(vectors, dim=1)
    if distances.numel() > 0 and not float(distances.min()) >= SMALLEST_DISTANCE:
        pair = int(distances.argmin())
        first, second = int(sender[pair]), int(receiver[pair])
        raise UserError(
            f"{describe(config)}: the atoms {first} and {second} are at the same place, "
            f"{float(distances[pair]):.6f} A apart; remove one"
        )


def structure_data(
    from_config: Callable[..., AtomicData],
    config: Configuration,
    cutoff: float,
    coulomb_cutoff: float | None,
    **kwargs: Any,
) -> AtomicData:
    """A prepared configuration as an entry of a batch, by whichever way it came.

    :param from_config: ``AtomicData.from_config``.
    :param config: from :func:`mace_smile.structures.prepare_configuration`.
    :param cutoff: of the backbone in A.
    :param coulomb_cutoff: of the neighbour list of the Coulomb sum in A; None if it has none.
    :param kwargs: more arguments of ``from_config``.
    :raises UserError: for two atoms at one place.
    """
    data = from_config(own_slab_cell(config, cutoff), cutoff=cutoff, **kwargs)
    data.pbc = torch.tensor([list(config.pbc)])
    check_distances(data, config)
    return add_coulomb_edges(restore_cell(data, config), config, coulomb_cutoff)
