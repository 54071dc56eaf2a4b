"""The acoustic sum rule of Born effective charges, :math:`\\sum_i Z_i = Q 1`."""

import torch


def acoustic_residual(
    born_effective_charges: torch.Tensor, total_charges: torch.Tensor, batch: torch.Tensor
) -> torch.Tensor:
    """By how much the sum rule fails, :math:`\\sum_i Z_i - Q 1`.

    :param born_effective_charges: shape ``(n_atoms, 3, 3)``, in e.
    :param total_charges: Q of each structure, shape ``(n_graphs,)``, in e.
    :param batch: structure of each atom, shape ``(n_atoms,)``.
    :return: shape ``(n_graphs, 3, 3)``, in e.
    """
    identity = torch.eye(3, dtype=total_charges.dtype, device=total_charges.device)
    return (-total_charges[:, None, None] * identity).index_add(0, batch, born_effective_charges)


def subtract_residual(
    born_effective_charges: torch.Tensor,
    residual: torch.Tensor,
    batch: torch.Tensor,
    ptr: torch.Tensor,
) -> torch.Tensor:
    """Born effective charges that obey the sum rule: each atom gives the same.

    :param born_effective_charges: shape ``(n_atoms, 3, 3)``, in e.
    :param residual: of :func:`acoustic_residual`.
    :param batch: structure of each atom, shape ``(n_atoms,)``.
    :param ptr: first atom of each structure, shape ``(n_graphs + 1,)``.
    :return: shape ``(n_atoms, 3, 3)``, in e.
    """
    n_atoms = torch.clamp(ptr[1:] - ptr[:-1], min=1).to(residual.dtype)
    return born_effective_charges - (residual / n_atoms[:, None, None])[batch]
