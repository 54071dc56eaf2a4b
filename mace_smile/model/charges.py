"""From raw charges to charges that are given where they are given, and add up.

Energy charges and physical charges differ by one factor s (PHYSICS, three scales of charge):
given charges Q_i and the total charge Q are physical and enter as Q_i / s and Q / s.
"""

from typing import Dict

import torch


def given_atoms(data: Dict[str, torch.Tensor]) -> torch.Tensor:
    """Atoms whose charge is given, shape ``(n_atoms,)``, bool.

    :param data: batch with ``batch``; optionally ``given_charges`` and ``given_mask``
        ``(n_atoms,)`` or ``(n_atoms, 1)``.
    """
    if "given_charges" in data and "given_mask" in data:
        return data["given_mask"].view(-1) != 0
    return torch.zeros_like(data["batch"], dtype=torch.bool)


def complete_charges(
    raw_charges: torch.Tensor, data: Dict[str, torch.Tensor], scale: torch.Tensor, exact: bool
) -> torch.Tensor:
    """Put the given charges in, and shift the others to the total charge.

    :param raw_charges: readout, shape ``(n_atoms,)``, in e, energy scale.
    :param data: batch with ``batch`` and ``ptr``; optionally ``total_charge`` ``(n_graphs,)``
        (0 where absent), ``given_charges`` and ``given_mask`` ``(n_atoms,)`` or
        ``(n_atoms, 1)``, physical scale.
    :param scale: the factor s from energy charges to response charges, shape ``()``.
    :param exact: shift the learned charges of each structure by one constant, so that all
        charges add up to the total charge.
    :return: shape ``(n_atoms,)``, in e, energy scale.
    """
    charges = raw_charges
    is_given = given_atoms(data)
    learned = torch.where(is_given, torch.zeros_like(raw_charges), torch.ones_like(raw_charges))
    if "given_charges" in data:
        given = data["given_charges"].view(-1).to(raw_charges.dtype) / scale
        charges = torch.where(is_given, given, charges)
    if not exact:
        return charges
    batch = data["batch"]
    missing = torch.zeros(data["ptr"].numel() - 1, dtype=charges.dtype, device=charges.device)
    if "total_charge" in data:
        missing = missing + data["total_charge"].view(-1).to(charges.dtype) / scale
    missing = missing.index_add(0, batch, -charges)
    n_learned = torch.zeros_like(missing).index_add(0, batch, learned)
    shift = missing / torch.clamp(n_learned, min=1.0)
    return charges + shift[batch] * learned
