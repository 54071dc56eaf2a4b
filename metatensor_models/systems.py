"""From a list of metatomic Systems to MACE's batch dictionary.

The neighbour list comes from the engine. MACE's edges run from the first to the second atom of
a pair, and the vector of an edge is r_second - r_first + shift, as in metatomic.
"""

from typing import Dict, List

import torch
from metatomic.torch import NeighborListOptions, System

from metatensor_models.boundary import make_whole, periodic_axes


def check_positions(system: System) -> None:
    """Refuse positions that are not numbers: MACE would return numbers for some of them.

    :raises ValueError: for positions or cell vectors that are not finite.
    """
    if not bool(torch.isfinite(system.positions).all() & torch.isfinite(system.cell).all()):
        raise ValueError(
            "the engine gave positions or cell vectors that are not finite numbers; the "
            "simulation has blown up, look at the frames before (time step, overlapping atoms)"
        )


def systems_to_batch(
    systems: List[System],
    neighbor_list: NeighborListOptions,
    element_index: torch.Tensor,
    n_elements: int,
    boundary: str,
    slab_axis: int,
    minimum_gap: float,
) -> Dict[str, torch.Tensor]:
    """MACE's batch dictionary of several structures, in the order given.

    :param systems: structures with their neighbour lists, in A.
    :param neighbor_list: the request the model has made.
    :param element_index: index of each atomic number among the model's elements,
        shape ``(n_numbers,)``.
    :param n_elements: number of the model's elements.
    :param boundary: as in :func:`~metatensor_models.boundary.periodic_axes`.
    :param slab_axis: cell axis across the slab.
    :param minimum_gap: smallest vacuum in A of structures that an engine has cut.
    :return: ``positions``, ``cell``, ``pbc``, ``node_attrs``, ``edge_index``, ``unit_shifts``,
        ``shifts``, ``batch`` and ``ptr``. Along axes that are not periodic for the model the
        structures are whole, and ``pbc`` says so.
    """
    positions: List[torch.Tensor] = []
    cells: List[torch.Tensor] = []
    periodic: List[torch.Tensor] = []
    types: List[torch.Tensor] = []
    edges: List[torch.Tensor] = []
    unit_shifts: List[torch.Tensor] = []
    shifts: List[torch.Tensor] = []
    graphs: List[torch.Tensor] = []
    starts: List[int] = [0]
    for graph, system in enumerate(systems):
        check_positions(system)
        axes = periodic_axes(system.pbc, boundary, slab_axis)
        neighbors = system.get_neighbor_list(neighbor_list).samples.values
        edge_index = neighbors[:, :2].t().to(torch.int64)  # (2, n_edges)
        unit_shift = neighbors[:, 2:].to(system.positions.dtype)  # (n_edges, 3)
        whole = system.positions
        cut = system.pbc & ~axes
        if bool(cut.any()):
            whole, unit_shift = make_whole(
                whole, system.cell, cut, edge_index, unit_shift, minimum_gap
            )
        positions.append(whole)
        cells.append(system.cell)
        periodic.append(axes)
        types.append(system.types.to(torch.int64))
        edges.append(edge_index + starts[-1])
        unit_shifts.append(unit_shift)
        shifts.append(unit_shift @ system.cell)
        graphs.append(torch.full_like(system.types, graph, dtype=torch.int64))
        starts.append(starts[-1] + len(system))
    elements = element_index[torch.cat(types)]
    position = torch.cat(positions)
    return {
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
