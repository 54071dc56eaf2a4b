"""Born effective charges of charges that depend on their environment, under periodic boundaries.

For charges q_j that are functions of positions,

.. math::

    Z_{iab} = q_i \\delta_{ab} + \\sum_j (r_j - r_i)_a \\frac{\\partial q_j}{\\partial r_{ib}},

the sum over all atoms and periodic images whose charges really depend on atom i (S3 eq. 9). Under
periodic boundaries :math:`\\sum_j q_j r_j` has no such derivative: which image of j is meant
depends on the path by which q_j depends on r_i. :mod:`mace_smile.physics.path_derivatives` follows
these paths. Here is the form of the sum that knows none, and needs no more than derivatives of
weighted sums of charges,

.. math::

    \\sum_j (r_j - r_i)_a \\frac{\\partial q_j}{\\partial r_{ib}} \\approx
    \\sum_k C_{kia} \\frac{\\partial}{\\partial r_{ib}} \\sum_j W_{kj} q_j,

with weights W and coefficients C that are constants of the derivative: exact along axes that are
not periodic, and by phases (S4 eqs. 9 and 10) along those that are.
"""

import math
from typing import List, Optional, Tuple

import torch

from mace_smile.physics.polarization import slab_normal


def harmonic_weights(harmonics: int) -> List[float]:
    """Weights of sin(n x) / n, n = 1, 2, ..., in the best expansion of x with that many.

    :param harmonics: 1, 2 or 3.
    """
    if harmonics == 1:
        return [1.0]
    if harmonics == 2:
        return [4.0 / 3.0, -1.0 / 3.0]
    return [3.0 / 2.0, -3.0 / 5.0, 1.0 / 10.0]


def filled_cell(cell: torch.Tensor, periodic: torch.Tensor) -> torch.Tensor:
    """The cell with unit vectors in place of the vectors that are not periodic.

    :param cell: shape ``(3, 3)``, in A.
    :param periodic: axes that are periodic (none, two or three), shape ``(3,)``, bool.
    :return: shape ``(3, 3)``, in A: Cartesian axes for open structures, the normal for slabs.
    """
    n_periodic = int(periodic.to(torch.int64).sum())
    if n_periodic == 0:
        return torch.eye(3, dtype=cell.dtype, device=cell.device)
    if n_periodic == 2:
        axis = int(torch.argmin(periodic.to(torch.int64)))
        return torch.where(periodic.unsqueeze(-1), cell, slab_normal(cell, axis))
    return cell


def filled_cells(cells: torch.Tensor, periodic: torch.Tensor) -> torch.Tensor:
    """:func:`filled_cell` of each structure.

    :param cells: shape ``(n_graphs, 3, 3)``, in A.
    :param periodic: shape ``(n_graphs, 3)``, bool.
    :return: shape ``(n_graphs, 3, 3)``, in A.
    """
    filled: List[torch.Tensor] = []
    for graph in range(cells.shape[0]):
        filled.append(filled_cell(cells[graph], periodic[graph]))
    return torch.stack(filled)


def phase_moments(
    positions: torch.Tensor,
    cells: torch.Tensor,
    periodic: torch.Tensor,
    ptr: torch.Tensor,
    harmonics: int,
) -> Tuple[torch.Tensor, torch.Tensor]:
    """Weights W and coefficients C of the sum above, with phases along periodic axes.

    The component of :math:`D = r_j - r_i` along a periodic cell vector, in units of that vector,
    becomes its expansion in sines of the reciprocal vector, wrong by :math:`O(D^3)` with one
    harmonic, :math:`O(D^5)` with two and :math:`O(D^7)` with three; along other axes it stays.

    :param positions: shape ``(n_atoms, 3)``, in A.
    :param cells: shape ``(n_graphs, 3, 3)``, in A.
    :param periodic: axes that are periodic, shape ``(n_graphs, 3)``, bool.
    :param ptr: first atom of each structure, shape ``(n_graphs + 1,)``.
    :param harmonics: 1, 2 or 3.
    :return: W ``(n_moments, n_atoms)`` and C ``(n_moments, n_atoms, 3)``, their product in A.
    """
    positions, cells = positions.detach(), cells.detach()
    n_moments, n_atoms = 6 * harmonics, positions.shape[0]
    weights = torch.zeros((n_moments, n_atoms), dtype=positions.dtype, device=positions.device)
    coefficients = torch.zeros(
        (n_moments, n_atoms, 3), dtype=positions.dtype, device=positions.device
    )
    for graph in range(cells.shape[0]):
        first, last = int(ptr[graph]), int(ptr[graph + 1])
        cell = filled_cell(cells[graph], periodic[graph])
        relative = positions[first:last] @ torch.linalg.inv(cell)  # (n, 3)
        for axis in range(3):
            place = 2 * harmonics * axis
            if not bool(periodic[graph, axis]):
                relative_here = relative[:, axis]
                weights[place, first:last] = relative_here
                coefficients[place, first:last] = cell[axis]
                weights[place + 1, first:last] = 1.0
                coefficients[place + 1, first:last] = -relative_here.unsqueeze(-1) * cell[axis]
                continue
            for number, factor in enumerate(harmonic_weights(harmonics)):
                wave_number = 2.0 * math.pi * (number + 1)  # in units of the cell vector
                phase = wave_number * relative[:, axis]
                vector = factor / wave_number * cell[axis]
                weights[place, first:last] = torch.sin(phase)
                coefficients[place, first:last] = torch.cos(phase).unsqueeze(-1) * vector
                weights[place + 1, first:last] = torch.cos(phase)
                coefficients[place + 1, first:last] = -torch.sin(phase).unsqueeze(-1) * vector
                place += 2
    return weights, coefficients


def derivative_of_moments(
    charges: torch.Tensor,
    positions: torch.Tensor,
    weights: torch.Tensor,
    coefficients: torch.Tensor,
    training: bool,
) -> torch.Tensor:
    """The sum above, from one derivative for each weight.

    :param charges: functions of ``positions``, shape ``(n_atoms,)``, in e.
    :param positions: shape ``(n_atoms, 3)``, in A, of the graph of ``charges``.
    :param weights: shape ``(n_moments, n_atoms)``.
    :param coefficients: shape ``(n_moments, n_atoms, 3)``.
    :param training: keep the graph of the result.
    :return: shape ``(n_atoms, 3, 3)``, in e, field index first.
    """
    result = torch.zeros((charges.shape[0], 3, 3), dtype=charges.dtype, device=charges.device)
    for moment in range(weights.shape[0]):
        # Weights go in here: sums made for the purpose lose their graph in TorchScript.
        along: List[Optional[torch.Tensor]] = [weights[moment]]
        gradient = torch.autograd.grad(
            [charges],
            [positions],
            grad_outputs=along,
            retain_graph=True,
            create_graph=training,
        )[0]
        assert gradient is not None
        result = result + coefficients[moment].unsqueeze(-1) * gradient.unsqueeze(-2)
    return result
