"""Born effective charges that follow from charges and atomic dipoles.

.. math::

    Z_{iab} = \\tilde q_i \\delta_{ab} + \\sum_j (r_j - r_i)_a \\frac{\\partial \\gamma_j q_j}
    {\\partial r_{ib}} + \\sum_j \\frac{\\partial d_{ja}}{\\partial r_{ib}}

(S3 eq. 9; S1 eq. 11). The shift that makes charges add up reaches all atoms and has no moment
along a periodic axis: there it is a constant of the derivative. Along all other axes Z is the
derivative of the response dipole, the shift included.
"""

from typing import Dict, List, Optional, Tuple

import torch

from mace_smile.errors import UserError
from mace_smile.physics.nearest_images import cell_widths, derivative_of_nearest_images
from mace_smile.physics.path_derivatives import derivative_along_paths
from mace_smile.physics.periodic_derivatives import (
    derivative_of_moments,
    filled_cells,
    phase_moments,
)

#: Atoms of a structure up to which ``minimum_image`` is trained: a graph for each one is kept.
MOST_TRAINED_ATOMS = 100


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

    :raises UserError: for cells that are too small, and in training structures that are too large.
    """
    check_nearest_images(cells, periodic, receptive_field)
    n_atoms = int((ptr[1:] - ptr[:-1]).max())
    if training and n_atoms > MOST_TRAINED_ATOMS:
        raise UserError(
            f"--born_charge_method minimum_image: a structure has {n_atoms} atoms, and training "
            f"keeps a derivative of the whole network for each; the limit is {MOST_TRAINED_ATOMS}. "
            "Use --born_charge_method unfolded, which gives the same"
        )
    return derivative_of_nearest_images(charges, positions, whole, cells, periodic, ptr, training)


def derivative_by_edges(
    method: str,
    harmonics: int,
    charges: torch.Tensor,
    cells: torch.Tensor,
    periodic: torch.Tensor,
    data: Dict[str, torch.Tensor],
    sender_features: List[torch.Tensor],
    training: bool,
) -> Tuple[torch.Tensor, torch.Tensor]:
    """The sum over j of charges before any shift, by following the edges of the backbone.

    :param method: ``unfolded`` or ``phase``.
    :param harmonics: of ``phase``.
    :param charges: response charges before any shift, shape ``(n_atoms,)``, in e.
    :param cells: strained as the positions, shape ``(n_graphs, 3, 3)``, in A.
    :param periodic: shape ``(n_graphs, 3)``, bool.
    :param data: batch with ``positions``, ``shifts``, ``edge_index`` and ``batch``, all of the
        graph of the charges.
    :param sender_features: of all layers but the first, of :mod:`mace_smile.model.recorder`.
    :param training: keep the graph of the result.
    :return: shape ``(n_atoms, 3, 3)``, in e, field index first; and the derivative of the sum of
        the charges, ``(n_atoms, 3)``, in e/A.
    """
    positions, shifts, edge_index = data["positions"], data["shifts"], data["edge_index"]
    batch = data["batch"]
    vectors = (positions[edge_index[1]] - positions[edge_index[0]] + shifts).detach()
    if method == "unfolded":
        axes = torch.eye(3, dtype=vectors.dtype, device=vectors.device).repeat(len(charges), 1, 1)
        is_wave = torch.zeros_like(vectors, dtype=torch.bool)
    else:
        filled = filled_cells(cells.detach(), periodic)
        graphs = batch[edge_index[0]]
        vectors = (vectors.unsqueeze(1) @ torch.linalg.inv(filled)[graphs]).squeeze(1)
        axes, is_wave = filled[batch], periodic[graphs]
    return derivative_along_paths(
        charges, shifts, edge_index, sender_features, vectors, axes, is_wave, harmonics, training
    )


def derivative_by_positions(
    method: str,
    harmonics: int,
    charges: torch.Tensor,
    whole: torch.Tensor,
    cells: torch.Tensor,
    periodic: torch.Tensor,
    data: Dict[str, torch.Tensor],
    receptive_field: float,
    training: bool,
) -> Tuple[torch.Tensor, torch.Tensor]:
    """The same for any backbone, from derivatives by positions alone.

    :param method: ``phase`` or ``minimum_image``.
    :param whole: positions, whole along axes that are not periodic, ``(n_atoms, 3)``, in A.
    :param data: batch with ``positions`` of the graph of the charges, and ``ptr``.
    :param receptive_field: for ``minimum_image``, in A.
    :raises UserError: by ``minimum_image`` for cells that are too small.
    """
    positions, ptr = data["positions"], data["ptr"]
    if method == "phase":
        weights, coefficients = phase_moments(whole, cells, periodic, ptr, harmonics)
        moments = derivative_of_moments(charges, positions, weights, coefficients, training)
    else:
        moments = nearest_image_derivative(
            charges, positions, whole, cells, periodic, ptr, receptive_field, training
        )
    if bool(periodic.all()):  # nothing asks for the derivative of the sum
        return moments, torch.zeros_like(positions)
    ones: List[Optional[torch.Tensor]] = [torch.ones_like(charges)]
    total = torch.autograd.grad(
        [charges],
        [positions],
        grad_outputs=ones,
        retain_graph=True,
        create_graph=training,
    )[0]
    assert total is not None
    return moments, total
