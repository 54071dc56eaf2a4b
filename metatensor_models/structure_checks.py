"""Structures that an exported model refuses, each with one sentence, in every engine.

Engines hand over what a simulation has come to: positions that are no numbers, cells without a
volume, atoms on top of each other. For some of these a network returns numbers all the same. The
checks run at every step, so they use what is at hand: the vectors of the neighbour list.
"""

from typing import List

import torch
from metatomic.torch import NeighborListOptions, System

from mace_smile.physics.boundaries import SMALLEST_DISTANCE, check_volume, length_text


def has_neighbor_list(system: System, wanted: NeighborListOptions) -> bool:
    """Whether the engine has computed a neighbour list."""
    found = False
    for known in system.known_neighbor_lists():
        found = found or known == wanted
    return found


def check_system(
    system: System,
    neighbor_lists: List[NeighborListOptions],
    dtype: torch.dtype,
    smallest_distance: float = SMALLEST_DISTANCE,
) -> None:
    """Refuse a structure that no simulation should be in.

    :param system: positions and cell in A.
    :param neighbor_lists: the requests the model has made.
    :param dtype: precision of the model.
    :param smallest_distance: below which two atoms count as at one place, in A.
    :raises ValueError: for no atoms, another precision, positions or cell vectors that are not
        finite, cells without volume, a neighbour list that is missing, and two atoms at one place.
    """
    if len(system) == 0:
        raise ValueError("the engine gave a structure without atoms; give at least one")
    if system.positions.dtype != dtype:
        name = "float64" if dtype == torch.float64 else "float32"
        raise ValueError(
            f"the engine gave positions in another precision than that of the model, {name}; give "
            f"{name}, or export the model with another --dtype"
        )
    if not bool(torch.isfinite(system.positions).all() & torch.isfinite(system.cell).all()):
        raise ValueError(
            "the engine gave positions or cell vectors that are not finite numbers; the "
            "simulation has blown up, look at the frames before (time step, overlapping atoms)"
        )
    if bool((system.pbc & (system.cell == 0).all(dim=1)).any()):
        raise ValueError(
            "the engine gave a structure that is periodic along a cell vector of zero; give the "
            "cell vector, or make the structure not periodic along it"
        )
    check_volume(system.cell, system.pbc)
    for wanted in neighbor_lists:
        if not has_neighbor_list(system, wanted):
            cutoff = length_text(wanted.cutoff)
            raise ValueError(
                f"the engine gave no full neighbour list with the cutoff {cutoff} A that the model "
                "has requested; compute all of `requested_neighbor_lists()` (in Python with "
                "vesin.metatomic), or use another engine"
            )
    check_distances(system, neighbor_lists[0], smallest_distance)


def check_distances(
    system: System, neighbor_list: NeighborListOptions, smallest_distance: float
) -> None:
    """Refuse two atoms at one place, whose forces are not numbers or without limit.

    :param neighbor_list: of which to take the distances.
    :param smallest_distance: in A.
    :raises ValueError: naming the two atoms and their distance.
    """
    block = system.get_neighbor_list(neighbor_list)
    squares = block.values.detach().squeeze(-1).square().sum(dim=1)
    if squares.numel() == 0:
        return
    closest = int(torch.argmin(squares))
    distance = float(torch.sqrt(squares[closest]))
    if not distance >= smallest_distance:
        pair = block.samples.values[closest]
        first, second = int(pair[0]), int(pair[1])
        raise ValueError(
            f"the atoms {first} and {second} are at one place, {length_text(distance)} A apart "
            "(counted from 0, images of the cell included); move or remove one, or look at the "
            "frames before if a simulation has led there"
        )
