"""Born effective charges by nearest images (S3 eq. 9), for cells that are wide enough.

.. math::

    \\sum_j (r_j - r_i)_a \\frac{\\partial q_j}{\\partial r_{ib}}

with the image of j that is nearest to i. That is exact where no charge depends on an atom and on
its image, in cells wider than twice the receptive field. It takes one derivative for each atom
of the largest structure, so it is slow: a reference for the other methods of
:mod:`mace_smile.physics.path_derivatives`.
"""

import torch

from mace_smile.physics.periodic_derivatives import filled_cell, filled_cells


def cell_widths(cells: torch.Tensor, periodic: torch.Tensor) -> torch.Tensor:
    """Distances of opposite faces of cells, infinite along axes that are not periodic.

    :param cells: shape ``(n_graphs, 3, 3)``, in A.
    :param periodic: axes that are periodic, shape ``(n_graphs, 3)``, bool.
    :return: shape ``(n_graphs, 3)``, in A.
    """
    inverse = torch.linalg.inv(filled_cells(cells, periodic))
    widths = 1.0 / torch.linalg.norm(inverse, dim=1)
    return torch.where(periodic, widths, torch.full_like(widths, float("inf")))


def nearest_vectors(
    vectors: torch.Tensor, cell: torch.Tensor, periodic: torch.Tensor
) -> torch.Tensor:
    """The images of vectors that lie within half of a cell along each of its vectors.

    They are the shortest ones where these are shorter than half the width of the cell.

    :param vectors: shape ``(n, 3)``, in A.
    :param cell: shape ``(3, 3)``, in A.
    :param periodic: axes that are periodic, shape ``(3,)``, bool.
    :return: shape ``(n, 3)``, in A.
    """
    filled = filled_cell(cell, periodic)
    steps = torch.round(vectors @ torch.linalg.inv(filled)) * periodic
    return vectors - steps @ filled


def derivative_of_nearest_images(
    charges: torch.Tensor,
    positions: torch.Tensor,
    whole: torch.Tensor,
    cells: torch.Tensor,
    periodic: torch.Tensor,
    ptr: torch.Tensor,
    training: bool,
) -> torch.Tensor:
    """The sum above, one atom j of each structure at a time: memory does not grow with atoms.

    In training the graphs of all derivatives are kept, and it does.

    :param charges: functions of ``positions``, shape ``(n_atoms,)``, in e.
    :param positions: shape ``(n_atoms, 3)``, in A, of the graph of ``charges``.
    :param whole: the same, whole along axes that are not periodic.
    :param cells: shape ``(n_graphs, 3, 3)``, in A.
    :param periodic: axes that are periodic, shape ``(n_graphs, 3)``, bool.
    :param ptr: first atom of each structure, shape ``(n_graphs + 1,)``.
    :param training: keep the graph of the result.
    :return: shape ``(n_atoms, 3, 3)``, in e, field index first.
    """
    result = torch.zeros((charges.shape[0], 3, 3), dtype=charges.dtype, device=charges.device)
    whole, cells = whole.detach(), cells.detach()
    sizes = ptr[1:] - ptr[:-1]
    for number in range(int(sizes.max())):
        present = torch.nonzero(sizes > number).flatten()
        gradient = torch.autograd.grad(
            charges[ptr[present] + number].sum(),
            positions,
            retain_graph=True,
            create_graph=training,
        )[0]
        arms = torch.zeros_like(whole)
        for graph in present.tolist():
            atoms = slice(int(ptr[graph]), int(ptr[graph + 1]))
            vectors = whole[int(ptr[graph]) + number] - whole[atoms]
            arms[atoms] = nearest_vectors(vectors, cells[graph], periodic[graph])
        result = result + arms.unsqueeze(-1) * gradient.unsqueeze(-2)
    return result
