"""Geometry of cells."""

import torch


def cell_volumes(cells: torch.Tensor) -> torch.Tensor:
    """Volumes of cells of either handedness.

    As a triple product: the backward of torch's determinant fails in float32 where the
    default is float64.

    :param cells: lattice vectors in rows, shape ``(n_graphs, 3, 3)``, in A.
    :return: shape ``(n_graphs,)``, in A^3, not negative.
    """
    cross = torch.linalg.cross(cells[:, 0], cells[:, 1])
    return torch.abs((cross * cells[:, 2]).sum(dim=-1))
