"""Parts of Born effective charges that are plain derivatives of a dipole.

.. math::

    \\sum_j \\frac{\\partial d_{ja}}{\\partial r_{ib}}
    \\quad\\text{and}\\quad
    (r_i - \\bar r)_a \\frac{\\partial}{\\partial r_{ib}} \\sum_j \\gamma_j q_j,

the second along axes that are not periodic. Along those Z is the derivative of the response dipole,
the shift that makes charges add up included; along periodic axes that shift has no moment.
"""

from typing import List, Optional

import torch

from mace_smile.physics.periodic_derivatives import filled_cells


def derivative_of_dipoles(
    atomic_dipoles: torch.Tensor, positions: torch.Tensor, training: bool
) -> torch.Tensor:
    """Derivative of the sum of all atomic dipoles, which needs no moments.

    :param atomic_dipoles: functions of ``positions``, shape ``(n_atoms, 3)``, in e A.
    :param positions: shape ``(n_atoms, 3)``, in A.
    :param training: keep the graph of the result.
    :return: shape ``(n_atoms, 3, 3)``, in e, field index first.
    """
    rows: List[torch.Tensor] = []
    for axis in range(3):
        # Weights go in here: sums made for the purpose lose their graph in TorchScript.
        along = torch.zeros_like(atomic_dipoles)
        along[:, axis] = 1.0
        weights: List[Optional[torch.Tensor]] = [along]
        gradient = torch.autograd.grad(
            [atomic_dipoles],
            [positions],
            grad_outputs=weights,
            retain_graph=True,
            create_graph=training,
        )[0]
        assert gradient is not None
        rows.append(gradient)
    return torch.stack(rows, dim=1)


def derivative_along_open_axes(
    derivative_of_sum: torch.Tensor,
    positions: torch.Tensor,
    cells: torch.Tensor,
    periodic: torch.Tensor,
    batch: torch.Tensor,
    shifted: torch.Tensor,
) -> torch.Tensor:
    """What Z has beside the moments about each atom, along axes that are not periodic.

    The second expression above, with :math:`\\bar r` the mean of the atoms that share the shift;
    the origin in structures in which no charge is shifted.

    :param derivative_of_sum: of the sum of the charges of each structure before any shift, by the
        positions, shape ``(n_atoms, 3)``, in e/A.
    :param positions: whole along these axes, shape ``(n_atoms, 3)``, in A.
    :param cells: shape ``(n_graphs, 3, 3)``, in A.
    :param periodic: axes that are periodic, shape ``(n_graphs, 3)``, bool.
    :param batch: structure of each atom, shape ``(n_atoms,)``.
    :param shifted: atoms whose charges are shifted, shape ``(n_atoms,)``, bool.
    :return: shape ``(n_atoms, 3, 3)``, in e, field index first.
    """
    weights = shifted.to(positions.dtype)
    counts = torch.zeros_like(cells[:, 0, 0]).index_add(0, batch, weights)
    sums = torch.zeros_like(cells[:, 0]).index_add(0, batch, weights.unsqueeze(-1) * positions)
    arms = positions - (sums / torch.clamp(counts, min=1.0).unsqueeze(-1))[batch]
    # Onto the axes that are not periodic: orthonormal, and orthogonal to all that are.
    vectors = filled_cells(cells, periodic)
    is_open = torch.logical_not(periodic).to(vectors.dtype).unsqueeze(-1)
    projectors = (is_open * vectors).transpose(-1, -2) @ (is_open * vectors)
    arms = (arms.unsqueeze(1) @ projectors[batch]).squeeze(1)
    return arms.unsqueeze(-1) * derivative_of_sum.unsqueeze(-2)
