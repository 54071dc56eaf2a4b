"""What Born effective charges and polarizabilities do: the force of a field.

In a homogeneous field the forces are those of the enthalpy

.. math::

    H = U - E \\cdot \\mu - \\tfrac12 E \\cdot \\alpha E .

Z[i, a, b] = d mu_a / d r_ib = d F_ib / d E_a: the field index a stands before the
displacement index b, everywhere.
"""

from typing import List

import torch

from mace_smile.physics.polarization import slab_normal


def field_forces(
    born_effective_charges: torch.Tensor, electric_field: torch.Tensor
) -> torch.Tensor:
    """Forces of a homogeneous field, F_ib = sum_a E_a Z[i, a, b].

    :param born_effective_charges: shape ``(n_atoms, 3, 3)``, in e, field index first.
    :param electric_field: shape ``(3,)``, in V/A.
    :return: shape ``(n_atoms, 3)``, in eV/A.
    """
    return torch.einsum("iab,a->ib", born_effective_charges, electric_field)


def second_order_forces(
    polarizability: torch.Tensor, positions: torch.Tensor, fields: torch.Tensor
) -> torch.Tensor:
    """Forces of second order in homogeneous fields, F_ib = 1/2 d(E . alpha E) / d r_ib.

    :param polarizability: with its graph, which is kept, shape ``(n_graphs, 3, 3)``, in e^2 A^2/eV.
    :param positions: what it was computed from, shape ``(n_atoms, 3)``, in A.
    :param fields: each acts on all structures, shape ``(n_fields, 3)``, in V/A.
    :return: shape ``(n_fields, n_atoms, 3)``, in eV/A.
    """
    forces: List[torch.Tensor] = []
    for number in range(fields.shape[0]):
        energy = 0.5 * (polarizability @ fields[number] @ fields[number]).sum()
        gradient = torch.autograd.grad([energy], [positions], retain_graph=True)[0]
        assert gradient is not None
        forces.append(gradient)
    return torch.stack(forces)


def force_carrier(
    positions: torch.Tensor, cell: torch.Tensor, forces: torch.Tensor
) -> torch.Tensor:
    """A term for each atom of value zero whose gradient is minus a given force.

    It lets an engine that only differentiates the energy feel a force that has no energy. The
    displacement is taken at fixed fractional coordinates, so the stress does not change.

    :param positions: shape ``(n_atoms, 3)``, in A.
    :param cell: shape ``(3, 3)``, in A; zero rows stand for axes that are not
        periodic (none, one or all three).
    :param forces: shape ``(n_atoms, 3)``, in eV/A, used as constants.
    :return: shape ``(n_atoms,)``, in eV, zero.
    """
    missing = torch.linalg.norm(cell, dim=1) == 0
    n_missing = int(missing.to(torch.int64).sum())
    if n_missing == 3:
        displacement = positions - positions.detach()
    else:
        filled = cell
        if n_missing == 1:  # a slab: any vector off its plane serves
            axis = int(torch.argmax(missing.to(torch.int64)))
            filled = torch.where(missing.unsqueeze(-1), slab_normal(cell, axis), cell)
        fractional = positions @ torch.linalg.inv(filled)
        displacement = (fractional - fractional.detach()) @ filled.detach()
    return -(displacement * forces.detach()).sum(dim=-1)
