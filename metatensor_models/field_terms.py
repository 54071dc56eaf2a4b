"""What a field adds to the energy of an exported model: nothing, and a gradient."""

from typing import Dict, List, Tuple

import torch
from metatomic.torch import ModelOutput, System

from mace_smile.physics.polarization import screen_along_normal, slab_normal
from mace_smile.physics.response import field_forces, force_carrier


def wanted_fields(fields: List[str], outputs: Dict[str, ModelOutput]) -> List[int]:
    """Numbers of the fields whose energies are asked for.

    :param fields: outputs of all fields, in order.
    :param outputs: what the engine asks for.
    """
    wanted: List[int] = []
    for number, name in enumerate(fields):
        if name in outputs:
            wanted.append(number)
    return wanted


#: Largest sine of the angle between the field of a voltage and the normal of the slab.
LARGEST_SINE = 1e-3


def check_along_normal(
    field: torch.Tensor, cell: torch.Tensor, periodic: torch.Tensor, largest: float = LARGEST_SINE
) -> None:
    """Refuse slabs whose normal is not along the field of a voltage.

    :param field: shape ``(3,)``, in V/A.
    :param cell: lattice vectors in rows, shape ``(3, 3)``, in A.
    :param periodic: axes the model treats as periodic, two of them, shape ``(3,)``, bool.
    :param largest: sine of the angle that counts as none.
    :raises ValueError: with the remedy.
    """
    normal = slab_normal(cell, int(torch.argmin(periodic.to(torch.int64))))
    across = torch.linalg.norm(field - (field @ normal) * normal)
    if bool(across > largest * torch.linalg.norm(field)):
        raise ValueError(
            "the field of this variant stands for a voltage across the slab (--voltage), but the "
            "normal of the slab is not along it; set it again with --frame FRAME.xyz, a structure "
            "with this cell (mace_smile_set_field, or mace_smile_export)"
        )


def field_term(
    systems: List[System],
    born_charges: torch.Tensor,
    second_order: torch.Tensor,
    periodic: torch.Tensor,
    ptr: torch.Tensor,
    field: torch.Tensor,
    is_vacuum_field: bool,
    is_along_normal: bool,
    susceptibilities: Tuple[float, float],
    given_mask: torch.Tensor,
) -> torch.Tensor:
    """Term of each atom of value zero whose gradient is minus the force of the field.

    :param born_charges: shape ``(n_atoms, 3, 3)``, in e.
    :param second_order: forces beside those of the Born charges, ``(n_atoms, 3)``, in eV/A.
    :param periodic: axes the model treats as periodic, shape ``(n_graphs, 3)``.
    :param ptr: first atom of each structure, shape ``(n_graphs + 1,)``.
    :param field: shape ``(3,)``, in V/A.
    :param is_vacuum_field: whether it is the field outside a slab.
    :param is_along_normal: whether it stands for a voltage across a slab.
    :param susceptibilities: chi of the learned and of the given charges, for a field in vacuum.
    :param given_mask: non-zero on atoms of each structure with given charges, or empty.
    :return: shape ``(n_atoms,)``, in eV.
    :raises ValueError: for a field in vacuum on a structure that is no slab, and for a voltage
        whose field is not along the normal.
    """
    terms: List[torch.Tensor] = []
    for graph, system in enumerate(systems):
        born = born_charges[int(ptr[graph]) : int(ptr[graph + 1])]
        if is_along_normal:
            check_along_normal(field, system.cell.detach(), periodic[graph])
        if not is_vacuum_field:
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
            chi, given_chi = susceptibilities
            forces = field_forces(born, screen_along_normal(field, normal, chi))
            if given_mask.numel() > 0:
                on_given = field_forces(born, screen_along_normal(field, normal, given_chi))
                forces = torch.where((given_mask != 0).unsqueeze(-1), on_given, forces)
        forces = forces + second_order[int(ptr[graph]) : int(ptr[graph + 1])]
        terms.append(force_carrier(system.positions, system.cell, forces))
    return torch.cat(terms)
