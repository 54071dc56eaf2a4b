"""Born effective charges that follow from charges and atomic dipoles.

.. math::

    Z_{iab} = \\tilde q_i \\delta_{ab} + \\sum_j (r_j - r_i)_a \\frac{\\partial \\gamma_j q_j}
    {\\partial r_{ib}} + \\sum_j \\frac{\\partial d_{ja}}{\\partial r_{ib}}

(S3 eq. 9; S1 eq. 11). The shift that makes charges add up reaches all atoms and has no moment
along a periodic axis: there it is a constant of the derivative. Along all other axes Z is the
derivative of the response dipole, the shift included.
"""

from typing import Dict, List, Optional

import torch

from mace_smile.errors import UserError
from mace_smile.model.charges import given_atoms
from mace_smile.physics.nearest_images import cell_widths, derivative_of_nearest_images
from mace_smile.physics.periodic_derivatives import (
    derivative_along_paths,
    derivative_of_moments,
    filled_cell,
    phase_moments,
)


def check_nearest_images(
    cells: torch.Tensor, periodic: torch.Tensor, receptive_field: float
) -> None:
    """Refuse cells in which an atom sees another one and its image.

    :param cells: shape ``(n_graphs, 3, 3)``, in A.
    :param periodic: axes that are periodic, shape ``(n_graphs, 3)``, bool.
    :param receptive_field: cutoff times the number of layers, in A.
    :raises UserError: with the widths of the first such cell.
    """
    for widths in cell_widths(cells, periodic):
        if bool((widths < 2.0 * receptive_field).any()):
            text = ", ".join(f"{float(width):.3g}" for width in widths if float(width) < 1e9)
            raise UserError(
                f"--born_charge_method minimum_image: the cell is {text} A wide along its periodic "
                f"axes, but must be at least {2.0 * receptive_field:.3g} A wide, twice the "
                f"receptive field (cutoff times layers, {receptive_field:.3g} A); use "
                "--born_charge_method unfolded, or larger cells"
            )


@torch.jit.unused
def nearest_image_derivative(
    charges: torch.Tensor,
    positions: torch.Tensor,
    whole: torch.Tensor,
    cells: torch.Tensor,
    periodic: torch.Tensor,
    ptr: torch.Tensor,
    receptive_field: float,
    training: bool,
) -> torch.Tensor:
    """The sum over j by nearest images, which TorchScript does not have.

    :raises UserError: for cells that are too small.
    """
    check_nearest_images(cells, periodic, receptive_field)
    return derivative_of_nearest_images(charges, positions, whole, cells, periodic, ptr, training)


def periodic_derivative(
    method: str,
    harmonics: int,
    charges: torch.Tensor,
    whole: torch.Tensor,
    cells: torch.Tensor,
    periodic: torch.Tensor,
    data: Dict[str, torch.Tensor],
    sender_features: List[torch.Tensor],
    receptive_field: float,
    training: bool,
) -> torch.Tensor:
    """The sum over j of charges before any shift, by one of the methods.

    :param method: ``unfolded``, ``phase`` or ``minimum_image``.
    :param harmonics: of ``phase``.
    :param charges: response charges before any shift, shape ``(n_atoms,)``, in e.
    :param whole: positions, whole along axes that are not periodic, ``(n_atoms, 3)``, in A.
    :param cells: shape ``(n_graphs, 3, 3)``, in A.
    :param periodic: shape ``(n_graphs, 3)``, bool.
    :param data: batch with ``positions``, ``shifts``, ``edge_index`` and ``ptr``, all of the graph
        of the charges.
    :param sender_features: for ``unfolded``.
    :param receptive_field: for ``minimum_image``, in A.
    :param training: keep the graph of the result.
    :return: shape ``(n_atoms, 3, 3)``, in e, field index first.
    """
    positions, shifts = data["positions"], data["shifts"]
    if method == "unfolded":
        edge_index = data["edge_index"]
        vectors = (positions[edge_index[1]] - positions[edge_index[0]] + shifts).detach()
        return derivative_along_paths(
            charges, positions, shifts, edge_index, vectors, sender_features, training
        )
    if method == "phase":
        weights, coefficients = phase_moments(whole, cells, periodic, data["ptr"], harmonics)
        return derivative_of_moments(charges, positions, weights, coefficients, training)
    return nearest_image_derivative(
        charges, positions, whole, cells, periodic, data["ptr"], receptive_field, training
    )


def derivative_along_open_axes(
    charges: torch.Tensor,
    whole: torch.Tensor,
    cells: torch.Tensor,
    periodic: torch.Tensor,
    data: Dict[str, torch.Tensor],
    exact_total_charge: bool,
    training: bool,
) -> torch.Tensor:
    """What the derivative of the dipole has along axes that are not periodic beside the moments.

    .. math::

        (r_i - \\bar r)_a \\frac{\\partial}{\\partial r_{ib}} \\sum_j \\gamma_j q_j

    with :math:`\\bar r` the mean of the atoms that share the shift; the origin where charges
    are not shifted.

    :param exact_total_charge: whether charges are shifted.
    :return: shape ``(n_atoms, 3, 3)``, in e; the others as in :func:`periodic_derivative`.
    """
    batch, whole = data["batch"], whole.detach()
    ones: List[Optional[torch.Tensor]] = [torch.ones_like(charges)]
    gradient = torch.autograd.grad(
        [charges],
        [data["positions"]],
        grad_outputs=ones,
        retain_graph=True,
        create_graph=training,
    )[0]
    assert gradient is not None
    arms = whole
    if exact_total_charge:
        shifted = torch.logical_not(given_atoms(data)).to(whole.dtype)
        n_shifted = torch.zeros_like(cells[:, 0, 0]).index_add(0, batch, shifted)
        sums = torch.zeros_like(cells[:, 0]).index_add(0, batch, shifted.unsqueeze(-1) * whole)
        arms = whole - (sums / torch.clamp(n_shifted, min=1.0).unsqueeze(-1))[batch]
    projectors: List[torch.Tensor] = []
    for graph in range(cells.shape[0]):
        # Onto the axes that are not periodic: orthogonal to all that are.
        vectors = filled_cell(cells[graph].detach(), periodic[graph])
        is_open = torch.logical_not(periodic[graph]).to(vectors.dtype).unsqueeze(-1)
        projectors.append((is_open * vectors).t() @ (is_open * vectors))
    arms = (arms.unsqueeze(1) @ torch.stack(projectors)[batch]).squeeze(1)
    return arms.unsqueeze(-1) * gradient.unsqueeze(-2)


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


def acoustic_residual(
    born_effective_charges: torch.Tensor, data: Dict[str, torch.Tensor]
) -> torch.Tensor:
    """By how much the acoustic sum rule fails, :math:`\\sum_i Z_i - Q 1`.

    :param born_effective_charges: shape ``(n_atoms, 3, 3)``, in e.
    :param data: batch with ``batch`` and ``ptr``; optionally ``total_charge`` ``(n_graphs,)``.
    :return: shape ``(n_graphs, 3, 3)``, in e.
    """
    born = born_effective_charges
    n_graphs = int(data["ptr"].numel() - 1)
    sums = torch.zeros((n_graphs, 3, 3), dtype=born.dtype, device=born.device)
    sums = sums.index_add(0, data["batch"], born)
    if "total_charge" in data:
        identity = torch.eye(3, dtype=born.dtype, device=born.device)
        total = data["total_charge"].view(-1).to(born.dtype)
        sums = sums - total[:, None, None] * identity
    return sums


def subtract_residual(
    born_effective_charges: torch.Tensor, residual: torch.Tensor, data: Dict[str, torch.Tensor]
) -> torch.Tensor:
    """Born effective charges that obey the acoustic sum rule: each atom gives the same.

    :param born_effective_charges: shape ``(n_atoms, 3, 3)``, in e.
    :param residual: of :func:`acoustic_residual`.
    :param data: batch with ``batch`` and ``ptr``.
    :return: shape ``(n_atoms, 3, 3)``, in e.
    """
    ptr = data["ptr"]
    n_atoms = torch.clamp(ptr[1:] - ptr[:-1], min=1).to(residual.dtype)
    return born_effective_charges - (residual / n_atoms[:, None, None])[data["batch"]]
