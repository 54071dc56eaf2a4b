"""Born effective charges by finite differences, without any of the model's own derivatives.

Along axes that are not periodic they are differences of the response dipole. Along periodic axes
no dipole of the cell serves: it jumps where an atom crosses a face of the cell, and with
fractional charges not by a known quantum. There the differences are those of each charge, taken
along the displacement from the atom that moves,

.. math::

    Z_{iab} = \\tilde q_i \\delta_{ab}
    + \\sum_j D_{ija} \\frac{\\Delta(\\gamma_j q_j)}{\\Delta r_{ib}}
    + \\sum_j \\frac{\\Delta d_{ja}}{\\Delta r_{ib}}

with the nearest image :math:`D_{ij}` of r_j - r_i in a supercell wider than twice the receptive
field, which is exact (S3 eq. 9). With ``born_charge_method="phase"`` D is the model's own sum of
phases in the cell itself, so that the derivative is checked and not the approximation.
"""

import ase
import numpy as np
import torch

from mace_smile import quantities
from mace_smile.physics.nearest_images import cell_widths, nearest_vectors
from mace_smile.physics.periodic_derivatives import filled_cell, phase_moments
from mace_smile.selftest.differences import by_displacement, unit_displacement
from mace_smile.selftest.subject import Subject


def wide_counts(subject: Subject, atoms: ase.Atoms) -> tuple[int, int, int]:
    """How often the cell is to be repeated to be wider than twice the receptive field."""
    axes = subject.periodic_axes(atoms)
    if subject.options.born_charge_method == "phase" or not subject.options.has_charges:
        return (1, 1, 1)
    cells, periodic = torch.tensor(atoms.cell.array[None]), torch.tensor(axes[None])
    counts = [
        int(np.floor(2.0 * subject.receptive_field / width)) + 1 if flag else 1
        for width, flag in zip(cell_widths(cells, periodic)[0].tolist(), axes, strict=True)
    ]
    return (counts[0], counts[1], counts[2])


def dipole_derivative(subject: Subject, atoms: ase.Atoms, atom: int, axis: int) -> np.ndarray:
    """Derivative of the dipole by the position of one atom, before any acoustic sum rule.

    :param subject: the model under test.
    :param atom: number of the atom.
    :param axis: Cartesian axis it moves along.
    :return: shape ``(3,)``, in e.
    """
    periodic = subject.periodic_axes(atoms)
    open_part, periodic_part = np.zeros(3), np.zeros(3)
    if not periodic.all():
        direction = unit_displacement(len(atoms), atom, axis)
        open_part = by_displacement(
            lambda moved: subject.reference.evaluate_energy(moved)[quantities.RESPONSE_DIPOLE],
            atoms,
            direction,
        )
    if periodic.any():
        periodic_part = _along_periodic_axes(subject, atoms, atom, axis)
    filled = filled_cell(torch.tensor(atoms.cell.array), torch.tensor(periodic)).numpy()
    # The filled vectors of axes that are not periodic are orthonormal, and orthogonal to all
    # periodic ones.
    onto_open = filled[~periodic].T @ filled[~periodic]
    return onto_open @ open_part + (np.eye(3) - onto_open) @ periodic_part


def _along_periodic_axes(subject: Subject, atoms: ase.Atoms, atom: int, axis: int) -> np.ndarray:
    """The sum above, shape ``(3,)``, in e."""
    supercell = subject.repeated(atoms, wide_counts(subject, atoms))
    periodic = subject.periodic_axes(atoms)
    displacements = _displacements(subject, supercell, atom, periodic)

    def charges_and_dipole(moved: ase.Atoms) -> np.ndarray:
        output = subject.raw.evaluate_energy(moved)
        total = np.zeros((1, 3))
        if quantities.ATOMIC_DIPOLES in output:
            total = output[quantities.ATOMIC_DIPOLES].sum(axis=0, keepdims=True)
        return np.concatenate([output["response_charges"][:, None] * displacements, total])

    direction = unit_displacement(len(supercell), atom, axis)
    change = by_displacement(charges_and_dipole, supercell, direction).sum(axis=0)
    own = subject.reference.evaluate_energy(atoms)["response_charges"][atom]
    return change + own * np.eye(3)[axis]


def _displacements(
    subject: Subject, atoms: ase.Atoms, atom: int, periodic: np.ndarray
) -> np.ndarray:
    """Vectors from one atom to all others, shape ``(n_atoms, 3)``, in A."""
    positions, cell = torch.tensor(atoms.positions), torch.tensor(atoms.cell.array)
    axes = torch.tensor(periodic)
    if subject.options.born_charge_method != "phase":
        return nearest_vectors(positions - positions[atom], cell, axes).numpy()
    weights, coefficients = phase_moments(
        positions,
        cell.unsqueeze(0),
        axes.unsqueeze(0),
        torch.tensor([0, len(atoms)]),
        subject.options.phase_harmonics,
    )
    return (weights.T @ coefficients[:, atom]).numpy()
