"""Structures of charges that tests of the Coulomb sums build in code, and calls of the sums."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from matscipy.neighbours import neighbour_list

from mace_smile.physics.electrostatics import Electrostatics
from mace_smile.physics.parameters import CoulombParameters

PERIODIC, SLAB, OPEN = (True, True, True), (True, True, False), (False, False, False)
BOUNDARIES = {"periodic": PERIODIC, "slab": SLAB, "open": OPEN}


@dataclass(frozen=True)
class Charged:
    """One structure: charges ``(n_atoms, n_channels)`` in e, positions and cell in A."""

    charges: torch.Tensor
    positions: torch.Tensor
    cell: torch.Tensor
    periodic: tuple[bool, bool, bool] = PERIODIC

    def change(self, **changes) -> "Charged":
        """A copy with other values."""
        return replace(self, **changes)

    def turned(self, rotation: torch.Tensor) -> "Charged":
        """A copy turned (or mirrored) by an orthogonal matrix."""
        return self.change(positions=self.positions @ rotation, cell=self.cell @ rotation)

    def to(self, dtype: torch.dtype) -> "Charged":
        """A copy in another precision."""
        return Charged(
            self.charges.to(dtype), self.positions.to(dtype), self.cell.to(dtype), self.periodic
        )


def random_cell(
    n_atoms: int = 6,
    seed: int = 0,
    net_charge: float = 0.0,
    periodic: tuple[bool, bool, bool] = PERIODIC,
    length: float | None = None,
    n_channels: int = 1,
) -> Charged:
    """Random charges near the points of a lattice, so that none are close; triclinic cell.

    The third vector of a slab is along z, and its atoms span about ``length``, 1.9 A an atom
    when None.
    """
    rng = np.random.default_rng(seed)
    side = int(np.ceil(n_atoms ** (1 / 3)))
    length = 1.9 * side if length is None else length
    cell = np.array([[1.0, 0.02, 0.03], [0.2, 1.06, 0.05], [-0.1, 0.15, 1.1]])
    if periodic == SLAB:
        cell[:2, 2] = cell[2, :2] = 0.0
    points = rng.permutation(side**3)[:n_atoms]
    fractional = np.stack(np.unravel_index(points, (side, side, side)), axis=1) / side
    fractional = fractional + 0.15 / side * rng.uniform(-1, 1, (n_atoms, 3))
    charges = rng.normal(size=(n_atoms, n_channels))
    charges += net_charge / n_atoms - charges.mean(axis=0)
    positions = torch.as_tensor(fractional @ cell * length)
    return Charged(torch.as_tensor(charges), positions, torch.as_tensor(cell * length), periodic)


def random_rotation(seed: int = 0) -> torch.Tensor:
    """A rotation without a symmetry."""
    rng = np.random.default_rng(seed)
    matrix = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    return torch.as_tensor(matrix * np.sign(np.linalg.det(matrix)))


def neighbors(structure: Charged, cutoff: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Senders and receivers ``(2, n_edges)`` within a cutoff, and whole cell shifts."""
    positions = structure.positions.detach().double().numpy()
    cell = structure.cell.detach().double().numpy().copy()
    is_periodic = np.array(structure.periodic)
    if is_periodic.sum() == 0:
        apart = np.linalg.norm(positions[:, None] - positions, axis=-1)
        pairs = torch.as_tensor(np.stack(np.nonzero((apart < cutoff) & (apart > 0))))
        return pairs, structure.positions.new_zeros((pairs.shape[1], 3))
    if is_periodic.sum() == 2:
        extent = 4.0 * (np.ptp(positions, axis=0).max() + cutoff)
        axis = int(np.argmin(is_periodic))
        normal = np.cross(cell[(axis + 1) % 3], cell[(axis + 2) % 3])
        cell[axis] = extent * normal / np.linalg.norm(normal)
    senders, receivers, shifts = neighbour_list(
        "ijS", pbc=is_periodic, cell=cell, positions=positions, cutoff=cutoff
    )
    shifts = torch.as_tensor(shifts.astype(float)).to(structure.positions.dtype)
    return torch.as_tensor(np.stack([senders, receivers])).long(), shifts


def batch_of(structures: list[Charged], cutoff: float | None) -> dict[str, torch.Tensor]:
    """Arguments of :class:`Electrostatics`; edges within the cutoff, none when it is None."""
    indices, vectors, numbers, offset = [], [], [], 0
    for number, structure in enumerate(structures):
        n_atoms = len(structure.positions)
        numbers.append(torch.full((n_atoms,), number))
        if cutoff is not None:
            index, shifts = neighbors(structure, cutoff)
            apart = structure.positions[index[1]] - structure.positions[index[0]]
            indices.append(index + offset)
            vectors.append(apart + shifts @ structure.cell)
        offset += n_atoms
    first = structures[0].positions
    return {
        "charges": torch.cat([structure.charges for structure in structures]),
        "positions": torch.cat([structure.positions for structure in structures]),
        "cells": torch.stack([structure.cell for structure in structures]),
        "periodic": torch.tensor([structure.periodic for structure in structures]),
        "batch": torch.cat(numbers),
        "edge_index": torch.cat([torch.zeros((2, 0), dtype=torch.long), *indices], dim=1),
        "edge_vectors": torch.cat([first.new_zeros((0, 3)), *vectors]),
    }


def potential(
    module: Electrostatics,
    *structures: Charged,
    targets: torch.Tensor | None = None,
    dipoles: torch.Tensor | None = None,
) -> torch.Tensor:
    """Potential at all atoms in V, with the neighbour list the module needs."""
    cutoff = module.real_space.cutoff if module.is_full else None
    return module(**batch_of(list(structures), cutoff), targets=targets, dipoles=dipoles)


def energy(
    module: Electrostatics, structure: Charged, dipoles: torch.Tensor | None = None
) -> torch.Tensor:
    """Energy of one structure in eV, all channels together; differentiable.

    :param dipoles: beside the charges of the first channel, shape ``(n_atoms, 3)``, in e A.
    """
    if dipoles is None:
        return 0.5 * (structure.charges * potential(module, structure)).sum()
    values = potential(module, structure, dipoles=dipoles)
    moments = torch.cat([structure.charges, dipoles], dim=1)
    return 0.5 * (moments * values).sum()


def random_dipoles(structure: Charged, seed: int = 0, size: float = 0.4) -> torch.Tensor:
    """Dipoles of the atoms of a structure, shape ``(n_atoms, 3)``, in e A."""
    values = np.random.default_rng(seed).normal(size=structure.positions.shape)
    return torch.as_tensor(size * values).to(structure.positions.dtype)


def energy_of(parameters: CoulombParameters, structure: Charged) -> float:
    """Energy of one structure in eV."""
    return float(energy(Electrostatics(parameters), structure))


def energy_and_forces(
    parameters: CoulombParameters, structure: Charged
) -> tuple[float, torch.Tensor]:
    """Energy in eV and forces ``(n_atoms, 3)`` in eV/A."""
    positions = structure.positions.detach().clone().requires_grad_(True)
    value = energy(Electrostatics(parameters), structure.change(positions=positions))
    (gradient,) = torch.autograd.grad(value, positions)
    return float(value.detach()), -gradient
