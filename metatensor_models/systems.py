"""From a list of metatomic Systems to MACE's batch dictionary.

The neighbour lists come from the engine. MACE's edges run from the first to the second atom of
a pair, and the vector of an edge is r_second - r_first + shift, as in metatomic.
"""

from typing import Dict, List

import torch
from metatomic.torch import NeighborListOptions, System

from mace_smile.physics.boundaries import check_slab_axis
from metatensor_models.boundary import make_whole, move_shifts, periodic_axes


def read_edges(
    system: System, neighbor_list: NeighborListOptions, images: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """One neighbour list of a structure whose atoms may have been moved.

    :param images: cell vectors each atom was moved by, ``(n_atoms, 3)``; or none, ``(0, 3)``.
    :return: sender and receiver ``(2, n_edges)``, and their cell shifts ``(n_edges, 3)``.
    """
    neighbors = system.get_neighbor_list(neighbor_list).samples.values
    edge_index = neighbors[:, :2].t().to(torch.int64)
    unit_shifts = neighbors[:, 2:].to(system.positions.dtype)
    if images.shape[0] > 0:
        unit_shifts = move_shifts(unit_shifts, edge_index, images)
    return edge_index, unit_shifts


def systems_to_batch(
    systems: List[System],
    neighbor_lists: List[NeighborListOptions],
    element_index: torch.Tensor,
    n_elements: int,
    boundary: str,
    slab_axis: int,
    minimum_gap: float,
) -> Dict[str, torch.Tensor]:
    """MACE's batch dictionary of several structures, in the order given.

    :param systems: structures with their neighbour lists, in A.
    :param neighbor_lists: the requests the model has made: for MACE, and for the real-space
        Coulomb sum where it has a list of its own.
    :param element_index: index of each atomic number among the model's elements,
        shape ``(n_numbers,)``.
    :param n_elements: number of the model's elements.
    :param boundary: as in :func:`~metatensor_models.boundary.periodic_axes`.
    :param slab_axis: cell axis across the slab.
    :param minimum_gap: smallest vacuum in A of structures that an engine has cut.
    :return: ``positions``, ``cell``, ``pbc``, ``node_attrs``, ``edge_index``, ``unit_shifts``,
        ``shifts``, ``batch`` and ``ptr``; ``coulomb_edge_index`` and ``coulomb_unit_shifts``
        where there is a second list. Along axes that are not periodic for the model the
        structures are whole, and ``pbc`` says so.
    """
    positions: List[torch.Tensor] = []
    cells: List[torch.Tensor] = []
    periodic: List[torch.Tensor] = []
    types: List[torch.Tensor] = []
    edges: List[torch.Tensor] = []
    unit_shifts: List[torch.Tensor] = []
    shifts: List[torch.Tensor] = []
    pairs: List[torch.Tensor] = []
    pair_shifts: List[torch.Tensor] = []
    graphs: List[torch.Tensor] = []
    starts: List[int] = [0]
    for graph, system in enumerate(systems):
        axes = periodic_axes(system.pbc, boundary, slab_axis)
        whole = system.positions
        images = whole[:0]
        cut = system.pbc & ~axes
        if bool(cut.any()):
            whole, images = make_whole(whole, system.cell, cut, minimum_gap)
            check_slab_axis(system.cell, axes)
        edge_index, unit_shift = read_edges(system, neighbor_lists[0], images)
        positions.append(whole)
        cells.append(system.cell)
        periodic.append(axes)
        types.append(system.types.to(torch.int64))
        edges.append(edge_index + starts[-1])
        unit_shifts.append(unit_shift)
        shifts.append(unit_shift @ system.cell)
        if len(neighbor_lists) > 1:
            edge_index, unit_shift = read_edges(system, neighbor_lists[1], images)
            pairs.append(edge_index + starts[-1])
            pair_shifts.append(unit_shift)
        graphs.append(torch.full_like(system.types, graph, dtype=torch.int64))
        starts.append(starts[-1] + len(system))
    elements = element_index[torch.cat(types)]
    position = torch.cat(positions)
    batch = {
        "positions": position,
        "cell": torch.cat(cells),
        "pbc": torch.stack(periodic),
        "node_attrs": torch.nn.functional.one_hot(elements, n_elements).to(position.dtype),
        "edge_index": torch.cat(edges, dim=1),
        "unit_shifts": torch.cat(unit_shifts),
        "shifts": torch.cat(shifts),
        "batch": torch.cat(graphs),
        "ptr": torch.tensor(starts, dtype=torch.int64, device=position.device),
    }
    if len(neighbor_lists) > 1:
        batch["coulomb_edge_index"] = torch.cat(pairs, dim=1)
        batch["coulomb_unit_shifts"] = torch.cat(pair_shifts)
    return batch
