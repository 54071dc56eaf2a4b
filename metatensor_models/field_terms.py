"""What a field adds to the energy of an exported model: nothing, and a gradient."""

from typing import List, Optional, Tuple

import torch
from metatomic.torch import System

from mace_smile.physics.polarization import screen_along_normal, slab_normal
from mace_smile.physics.response import field_forces, force_carrier


def field_term(
    systems: List[System],
    born_charges: torch.Tensor,
    second_order: torch.Tensor,
    periodic: torch.Tensor,
    ptr: torch.Tensor,
    field: torch.Tensor,
    vacuum_susceptibilities: Optional[Tuple[float, float]],
    given_mask: torch.Tensor,
) -> torch.Tensor:
    """Term of each atom of value zero whose gradient is minus the force of the field.

    :param born_charges: shape ``(n_atoms, 3, 3)``, in e.
    :param second_order: forces beside those of the Born charges, ``(n_atoms, 3)``, in eV/A.
    :param periodic: axes the model treats as periodic, shape ``(n_graphs, 3)``.
    :param ptr: first atom of each structure, shape ``(n_graphs + 1,)``.
    :param field: shape ``(3,)``, in V/A.
    :param vacuum_susceptibilities: chi of the learned and of the given charges, for a field in
        vacuum; None for a macroscopic field.
    :param given_mask: non-zero on atoms of each structure with given charges, or empty.
    :return: shape ``(n_atoms,)``, in eV.
    :raises ValueError: for a field in vacuum on a structure that is no slab.
    """
    terms: List[torch.Tensor] = []
    for graph, system in enumerate(systems):
        born = born_charges[int(ptr[graph]) : int(ptr[graph + 1])]
        if vacuum_susceptibilities is None:
            forces = field_forces(born, field)
        else:
            axes = periodic[graph].to(torch.int64)
            if int(axes.sum()) != 2:
                raise ValueError(
                    "this model was exported with a field in vacuum (--field_kind vacuum), which "
                    "only a slab has; give a structure with two periodic axes, or export with "
                    "--boundary slab"
                )
            normal = slab_normal(system.cell.detach(), int(torch.argmin(axes)))
            chi, given_chi = vacuum_susceptibilities
            forces = field_forces(born, screen_along_normal(field, normal, chi))
            if given_mask.numel() > 0:
                on_given = field_forces(born, screen_along_normal(field, normal, given_chi))
                forces = torch.where((given_mask != 0).unsqueeze(-1), on_given, forces)
        forces = forces + second_order[int(ptr[graph]) : int(ptr[graph + 1])]
        terms.append(force_carrier(system.positions, system.cell, forces))
    return torch.cat(terms)
