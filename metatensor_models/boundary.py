"""Boundaries of an exported model, and structures made whole where an engine cut them.

Engines differ in what they can say about a boundary: ASE hands a slab over with two periodic
axes, i-PI and often LAMMPS hand over three. The boundary is therefore stored in the exported
model, and atoms of an engine that wraps them come together again in the largest gap.
"""

import torch

from mace_smile.physics.boundaries import model_axes
from mace_smile.physics.polarization import slab_normal, wrap_at_vacuum_gap


def periodic_axes(pbc: torch.Tensor, boundary: str, slab_axis: int) -> torch.Tensor:
    """Axes that the model treats as periodic.

    :param pbc: what the engine says, shape ``(3,)``, bool.
    :param boundary: ``auto`` believes the engine; ``periodic``, ``slab`` and ``open`` hold
        whatever the engine says.
    :param slab_axis: cell axis across the slab, used with ``slab`` only.
    :return: shape ``(3,)``, bool.
    :raises ValueError: for one periodic axis alone, or an axis that must be periodic and is not.
    """
    if int(pbc.sum()) == 1:
        raise ValueError(
            "the engine gave a structure that is periodic along one axis only, which is not "
            "supported; make it periodic along none, two or three axes"
        )
    wanted = model_axes(pbc, boundary, slab_axis)
    if boundary != "auto" and bool(torch.any(wanted & ~pbc)):
        raise ValueError(
            f"this model was exported with the boundary '{boundary}', but the engine gave a "
            "structure that is not periodic along all the axes this needs; make it periodic "
            "there, or export the model with another --boundary"
        )
    return wanted


def make_whole(
    positions: torch.Tensor, cell: torch.Tensor, cut: torch.Tensor, minimum_gap: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Move atoms by whole cell vectors so that the seam lies in the largest gap of each axis.

    :param positions: shape ``(n_atoms, 3)``, in A.
    :param cell: lattice vectors in rows, shape ``(3, 3)``, in A.
    :param cut: axes along which the engine is periodic and the model is not, ``(3,)``, bool.
    :param minimum_gap: smallest vacuum in A; with the cutoff of a neighbour list no edge is
        left that crosses it.
    :return: positions, differentiable, and the cell vectors each atom was moved by,
        ``(n_atoms, 3)``, whole numbers.
    :raises ValueError: when there is no such gap.
    """
    zero_rows = torch.linalg.norm(cell, dim=1) == 0
    filled = cell
    if bool(zero_rows.any()):  # one row: an engine's slab in a model of open structures
        normal = slab_normal(cell, int(torch.argmax(zero_rows.to(torch.int64))))
        filled = torch.where(zero_rows.unsqueeze(-1), normal, cell)
    inverse = torch.linalg.inv(filled.detach())
    whole = positions
    images = torch.zeros_like(positions)
    for axis in range(3):
        if bool(cut[axis]):
            moved = wrap_at_vacuum_gap(whole, filled, axis, minimum_gap)
            images[:, axis] = torch.round(((moved - whole).detach() @ inverse)[:, axis])
            whole = moved
    return whole, images


def move_shifts(
    unit_shifts: torch.Tensor, edge_index: torch.Tensor, images: torch.Tensor
) -> torch.Tensor:
    """Cell shifts of edges whose atoms were moved.

    :param unit_shifts: before, shape ``(n_edges, 3)``, whole numbers.
    :param edge_index: sender and receiver, shape ``(2, n_edges)``.
    :param images: from :func:`make_whole`.
    :return: shape ``(n_edges, 3)``.
    """
    return unit_shifts + images[edge_index[0]] - images[edge_index[1]]
