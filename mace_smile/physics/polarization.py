"""Dipole of charges, slabs made whole at the vacuum gap, and the macro-dipole relation.

A dipole-corrected slab shows the dipole

.. math::

    \\mu^{tot} = \\mu / (1 + \\chi), \\quad \\mu = \\sum_i \\tilde q_i r_i + \\sum_i d_i

along its normal (S0 eqs. 4 and 6); along all other axes there is no such factor. Along periodic
axes a dipole is defined only modulo the dipole quantum, e (2e where all electrons are paired)
times the lattice vectors (S1 eq. 33).
"""

from typing import List

import torch


def slab_normal(cell: torch.Tensor, axis: int) -> torch.Tensor:
    """Unit normal of the plane of the two other cell vectors.

    :param cell: shape ``(3, 3)``, in A.
    :param axis: index of the cell vector that is not periodic.
    :return: shape ``(3,)``; its sign makes (first, second, normal) right-handed.
    """
    cross = torch.linalg.cross(cell[(axis + 1) % 3], cell[(axis + 2) % 3])
    return cross / torch.linalg.norm(cross)


def wrap_at_vacuum_gap(
    positions: torch.Tensor, cell: torch.Tensor, axis: int, minimum_gap: float
) -> torch.Tensor:
    """Positions moved by whole cell vectors so that the seam lies in the largest gap.

    Atoms of a slab that were stored across the cell boundary come together again; a slab
    that was whole stays where it is, up to a common translation into the cell.

    :param positions: shape ``(n_atoms, 3)``, in A.
    :param cell: shape ``(3, 3)``, in A, all three vectors given.
    :param axis: index of the cell vector across the slab.
    :param minimum_gap: smallest vacuum along the normal in A that counts as one.
    :return: shape ``(n_atoms, 3)``, in A, differentiable in positions and cell.
    :raises ValueError: when the largest gap is not wider than ``minimum_gap``.
    """
    fractional = (positions @ torch.linalg.inv(cell))[:, axis].detach()
    inside = fractional - torch.floor(fractional)  # [0, 1)
    ordered = torch.sort(inside)[0]
    following = torch.cat([ordered[1:], ordered[:1] + 1.0])
    gaps = following - ordered
    widest = int(torch.argmax(gaps))
    height = torch.abs(cell[axis] @ slab_normal(cell, axis)).detach()
    gap = round(100 * float(gaps[widest] * height)) / 100
    if gap <= minimum_gap:
        raise ValueError(
            f"the slab has no vacuum gap along cell axis {axis}: the widest is {gap} A but must "
            f"exceed {minimum_gap} A; enlarge the cell along that axis, or treat the structure "
            "as periodic"
        )
    seam = 0.5 * (ordered[widest] + following[widest])
    seam = seam - torch.floor(seam)
    lower = torch.where(seam < 0.5, seam, seam - 1.0)  # the slab fills (lower, lower + 1)
    wrapped = inside - torch.floor(inside - lower)
    images = torch.round(wrapped - fractional)
    return positions + images.unsqueeze(-1) * cell[axis]


def whole_slabs(
    positions: torch.Tensor,
    cells: torch.Tensor,
    pbc: torch.Tensor,
    ptr: torch.Tensor,
    axis: int,
    minimum_gap: float,
) -> torch.Tensor:
    """Positions of slabs that an engine which knows none has handed over as periodic.

    :param positions: shape ``(n_atoms, 3)``, in A.
    :param cells: shape ``(n_graphs, 3, 3)``, in A.
    :param pbc: axes the structures are periodic along, shape ``(n_graphs, 3)``, bool.
    :param ptr: first atom of each structure, shape ``(n_graphs + 1,)``.
    :param axis: cell axis across the slabs; structures not periodic along it are whole.
    :param minimum_gap: as in :func:`wrap_at_vacuum_gap`.
    :return: shape ``(n_atoms, 3)``, in A.
    """
    whole: List[torch.Tensor] = []
    for graph in range(cells.shape[0]):
        atoms = positions[int(ptr[graph]) : int(ptr[graph + 1])]
        if bool(pbc[graph, axis]):
            atoms = wrap_at_vacuum_gap(atoms, cells[graph], axis, minimum_gap)
        whole.append(atoms)
    return torch.cat(whole)


def compute_dipole(
    charges: torch.Tensor, positions: torch.Tensor, batch: torch.Tensor, n_graphs: int
) -> torch.Tensor:
    """Dipole of each structure, from - to +.

    :param charges: shape ``(n_atoms,)``, in e.
    :param positions: shape ``(n_atoms, 3)``, in A; the dipole of a charged structure refers
        to the coordinate origin.
    :param batch: structure of each atom, shape ``(n_atoms,)``.
    :param n_graphs: number of structures.
    :return: shape ``(n_graphs, 3)``, in e A.
    """
    dipole = torch.zeros((n_graphs, 3), dtype=positions.dtype, device=positions.device)
    return dipole.index_add(0, batch, charges.unsqueeze(-1) * positions)


def screen_along_normal(
    vector: torch.Tensor, normal: torch.Tensor, susceptibility: float
) -> torch.Tensor:
    """The vector with its part along the normal divided by 1 + chi (S0 eq. 4).

    :param vector: shape ``(3,)``: a dipole, or a field in vacuum.
    :param normal: unit normal of the slab, shape ``(3,)``.
    :param susceptibility: electronic susceptibility chi.
    :return: shape ``(3,)``, unit of ``vector``.
    """
    along = (vector @ normal) * normal
    return vector - along * (susceptibility / (1.0 + susceptibility))


def plane_normals(cells: torch.Tensor, periodic: torch.Tensor) -> torch.Tensor:
    """Cross product of the two periodic cell vectors of each slab, zero for other structures.

    :param cells: shape ``(n_graphs, 3, 3)``, in A.
    :param periodic: axes that are periodic, two of them in slabs, shape ``(n_graphs, 3)``, bool.
    :return: shape ``(n_graphs, 3)``, in A^2; its length is the area of the plane. Along the
        normal of :func:`slab_normal`.
    """
    flags = periodic.to(torch.int64)
    axes = torch.argmin(flags, dim=1)  # (n_graphs,)
    graphs = torch.arange(cells.shape[0], device=cells.device)
    cross = torch.linalg.cross(cells[graphs, (axes + 1) % 3], cells[graphs, (axes + 2) % 3])
    return torch.where((flags.sum(dim=1) == 2).unsqueeze(-1), cross, torch.zeros_like(cross))


def screen_slabs(
    dipoles: torch.Tensor,
    cells: torch.Tensor,
    periodic: torch.Tensor,
    susceptibility: torch.Tensor,
) -> torch.Tensor:
    """Dipoles as DFT reports them: those of slabs divided by 1 + chi along the normal.

    :param dipoles: shape ``(n_graphs, 3)``, in e A.
    :param cells: shape ``(n_graphs, 3, 3)``, in A.
    :param periodic: axes that are periodic, two of them in slabs, shape ``(n_graphs, 3)``, bool.
    :param susceptibility: electronic susceptibility chi, shape ``()``.
    :return: shape ``(n_graphs, 3)``, in e A.
    """
    normals = plane_normals(cells, periodic)
    squares = normals.square().sum(dim=1, keepdim=True)
    projections = (dipoles * normals).sum(dim=1, keepdim=True)
    along = projections / torch.where(squares > 0, squares, torch.ones_like(squares)) * normals
    return dipoles - along * (susceptibility / (1.0 + susceptibility))


def nearest_branch(differences: torch.Tensor, quanta: torch.Tensor) -> torch.Tensor:
    """The shortest of all vectors that differ from a dipole error by dipole quanta.

    .. math::

        \\min_n |\\Delta\\mu - \\sum_k n_k e a_k|, \\quad n_k \\in \\mathbb Z

    The integers are the rounded fractional coordinates, or one beside each; of these the shortest
    is exact for a Minkowski-reduced basis, such as :func:`ase.geometry.minkowski_reduce` gives.

    :param differences: predicted minus labelled dipoles, shape ``(n_graphs, 3)``, in e A.
    :param quanta: quantum of charge times the lattice vectors of periodic axes, reduced, in rows,
        and zeros in rows of other axes, shape ``(n_graphs, 3, 3)``, in e A.
    :return: shape ``(n_graphs, 3)``, in e A; its gradient by ``differences`` is one.
    """
    if not bool(quanta.any()):
        return differences
    steps = torch.tensor([-1.0, 0.0, 1.0], dtype=quanta.dtype, device=quanta.device)
    offsets = torch.cartesian_prod(steps, steps, steps)  # (27, 3)
    fractional = torch.einsum("ga,gak->gk", differences.detach(), torch.linalg.pinv(quanta))
    integers = torch.round(fractional).unsqueeze(1) + offsets  # (n_graphs, 27, 3)
    candidates = differences.unsqueeze(1) - torch.einsum("gnk,gka->gna", integers, quanta)
    shortest = candidates.detach().square().sum(dim=-1).argmin(dim=1)
    return candidates[torch.arange(len(candidates), device=quanta.device), shortest]
