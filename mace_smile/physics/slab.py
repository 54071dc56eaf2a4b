"""Two periodic directions from three: a cell of the model's own, and the term that corrects it.

The Ewald sum runs in a cell as high as the atoms plus a vacuum; the term turns it into the sum
over two periodic directions (Yeh and Berkowitz 1999, 10.1063/1.479595; with the net-charge
terms of Ballenegger et al. 2009, 10.1063/1.3216473)

.. math::

    U_{2D} = \\frac{2 \\pi k_e}{V} \\Big( M^2 - Q \\sum_i q_i n_i^2 - \\frac{Q^2 L^2}{12} \\Big),
    \\quad M = \\sum_i q_i n_i

with n_i the coordinate along the unit normal, measured from the middle of the slab, and L the
height of that cell. Dipoles add their components along the normal to M, and
:math:`2 n_i d_i \\cdot n` to :math:`q_i n_i^2`. The result does not depend on L but for
exp(-2 pi vacuum / a), a being the larger in-plane length, so the vacuum is a multiple of a.
"""

from typing import Optional

import torch

from mace_smile.physics.cells import cell_volumes


def slab_cells(
    cells: torch.Tensor,
    periodic: torch.Tensor,
    positions: torch.Tensor,
    batch: torch.Tensor,
    vacuum: float,
    least_vacuum: float,
    step: float = 2.0,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Cells of the model's own for slabs.

    :param cells: shape ``(n_graphs, 3, 3)``, in A; the row of the axis that is not periodic is
        not used.
    :param periodic: shape ``(n_graphs, 3)``, bool, two of them true.
    :param positions: shape ``(n_atoms, 3)``, in A; whole along the normal.
    :param batch: structure of each atom, shape ``(n_atoms,)``.
    :param vacuum: in units of the larger in-plane length.
    :param least_vacuum: in A.
    :param step: the height of a cell is a multiple of it, in A.
    :return: cells ``(n_graphs, 3, 3)``, with the third vector along the normal, of a length
        that is constant but for steps, which change nothing; unit normals ``(n_graphs, 3)``;
        and the coordinate of the middle of each slab along its normal ``(n_graphs,)``, detached.
    """
    n_graphs = cells.shape[0]
    axis = torch.argmin(periodic.to(torch.int64), dim=1)
    graphs = torch.arange(n_graphs, device=cells.device)
    first, second = cells[graphs, (axis + 1) % 3], cells[graphs, (axis + 2) % 3]
    cross = torch.linalg.cross(first, second)
    normals = cross / torch.linalg.norm(cross, dim=-1, keepdim=True)
    heights = (positions * normals[batch]).sum(dim=-1).detach()
    lowest = torch.full([n_graphs], float("inf"), dtype=cells.dtype, device=cells.device)
    lowest = lowest.scatter_reduce(0, batch, heights, "amin")
    highest = torch.full([n_graphs], -float("inf"), dtype=cells.dtype, device=cells.device)
    highest = highest.scatter_reduce(0, batch, heights, "amax")
    widths = torch.maximum(torch.linalg.norm(first, dim=-1), torch.linalg.norm(second, dim=-1))
    lengths = highest - lowest + torch.clamp(vacuum * widths.detach(), min=least_vacuum)
    # In whole steps: no derivative is lost, and meshes keep their size while the atoms move.
    lengths = step * torch.ceil(lengths / step)
    own = torch.stack([first, second, lengths.unsqueeze(-1) * normals], dim=1)
    return own, normals, 0.5 * (highest + lowest)


def slab_correction(
    charges: torch.Tensor,
    targets: torch.Tensor,
    positions: torch.Tensor,
    cells: torch.Tensor,
    normals: torch.Tensor,
    middles: torch.Tensor,
    batch: torch.Tensor,
    coulomb_constant: float,
    dipoles: Optional[torch.Tensor] = None,
) -> torch.Tensor:
    """What two periodic directions have beyond three, ``(n_atoms, n_channels)`` in V.

    :param charges: shape ``(n_atoms, n_channels)``, in e.
    :param targets: where the potential is wanted, shape ``(n_atoms, 3)``, in A.
    :param positions: shape ``(n_atoms, 3)``, in A.
    :param cells: from :func:`slab_cells`, as are ``normals`` and ``middles``.
    :param batch: structure of each atom, shape ``(n_atoms,)``.
    :param coulomb_constant: in eV A / e^2.
    :param dipoles: beside the charges of the first channel, shape ``(n_atoms, 3)``, in e A.
    :return: with dipoles ``(n_atoms, n_channels + 3)``, the last three the gradient of the first
        potential, in V/A.
    """
    directions, middle = normals[batch], middles[batch]
    heights = ((positions * directions).sum(dim=-1) - middle).unsqueeze(-1)
    wanted = ((targets * directions).sum(dim=-1) - middle).unsqueeze(-1)
    lengths_squared = cells[:, 2].detach().square().sum(dim=-1)
    sums = torch.zeros(
        (cells.shape[0], 3, charges.shape[1]), dtype=charges.dtype, device=charges.device
    )
    moments = torch.stack([charges, charges * heights, charges * heights**2], dim=1)
    if dipoles is not None:
        along = (dipoles * directions).sum(dim=-1)
        none = torch.zeros_like(along)
        own = torch.stack([none, along, 2.0 * heights.squeeze(-1) * along], dim=1)
        moments = torch.cat([moments[:, :, :1] + own.unsqueeze(-1), moments[:, :, 1:]], dim=2)
    sums = sums.index_add(0, batch, moments)[batch]  # (n_atoms, 3, n_channels)
    total, dipole, quadrupole = sums[:, 0], sums[:, 1], sums[:, 2]
    volumes = cell_volumes(cells)
    prefactor = 2.0 * torch.pi * coulomb_constant / volumes[batch].unsqueeze(-1)
    potential = prefactor * (
        2.0 * wanted * dipole
        - quadrupole
        - total * wanted**2
        - total * lengths_squared[batch].unsqueeze(-1) / 6.0
    )
    if dipoles is not None:
        slope = 2.0 * prefactor * (dipole[:, :1] - wanted * total[:, :1])
        potential = torch.cat([potential, slope * directions], dim=1)
    return potential
