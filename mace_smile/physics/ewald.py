"""Ewald sum over many structures at once, in products of one-dimensional phases.

A phase factor of a reciprocal vector k = n_1 b_1 + n_2 b_2 + n_3 b_3 is a product of three
factors that each depend on one whole number, so all structure factors

.. math::

    S(k) = \\sum_i q_i e^{i k r_i}

of a box of whole numbers are one matrix product, and so are the potentials

.. math::

    \\phi(r) = \\frac{1}{V} \\sum_k v(k) \\, S^*(k) \\, e^{i k r} ,

real part taken, the kernel v(k) being torch-pme's. No sine is evaluated for each atom and
vector, and structures of a batch are padded to the largest, without a loop.

Dipoles d_i enter as :math:`S(k) = \\sum_i (q_i + i k d_i) \\, e^{i k r_i}`. In units of the cell
vectors k d is a sum of three whole numbers times components, so they are three more channels
of the same products, and so is the gradient of the potential.

Real and imaginary parts are kept apart: TorchScript's own derivatives of complex products, which
it takes from the second call on, lack the conjugate.
"""

import math
from typing import List, Optional

import torch
from torchpme import CoulombPotential

from mace_smile.physics.dipoles import join_dipoles


class EwaldSum(torch.nn.Module):
    """Periodic potential of Gaussian-smeared charges and dipoles, by an explicit reciprocal sum.

    :param potential: torch-pme's potential, for its kernel.
    :param lr_wavelength: shortest wavelength in A: the sum holds all \\|k\\| up to
        2 pi / lr_wavelength, and more along some directions.
    """

    def __init__(self, potential: CoulombPotential, lr_wavelength: float) -> None:
        super().__init__()
        self.potential = potential
        self.lr_wavelength = lr_wavelength

    def forward(
        self,
        charges: torch.Tensor,
        positions: torch.Tensor,
        targets: Optional[torch.Tensor],
        cells: torch.Tensor,
        volumes: torch.Tensor,
        slots: torch.Tensor,
        size: int,
        dipoles: Optional[torch.Tensor] = None,
    ) -> torch.Tensor:
        """Potential of all charges and images, an atom's own smeared charge included.

        :param charges: shape ``(n_atoms, n_channels)``, in e.
        :param positions: shape ``(n_atoms, 3)``, in A; any image serves.
        :param targets: where the potential is wanted, shape ``(n_atoms, 3)``, in A; None: at the
            positions.
        :param cells: shape ``(n_graphs, 3, 3)``, in A, lattice vectors in rows.
        :param volumes: shape ``(n_graphs,)``, in A^3, positive.
        :param slots: structure of each atom times ``size`` plus its number in the structure,
            shape ``(n_atoms,)``.
        :param size: atoms of the largest structure.
        :param dipoles: beside the charges of the first channel, shape ``(n_atoms, 3)``, in e A.
        :return: shape ``(n_atoms, n_channels)``, in V; with dipoles ``(n_atoms, n_channels + 3)``,
            the last three the gradient of the first potential, in V/A.
        """
        n_graphs = cells.shape[0]
        inverse_cells = torch.linalg.inv(cells)
        own_limits = self.limits(cells)
        limits = own_limits.max(dim=0).values
        phases = self.phases(positions, inverse_cells, limits, slots, size)
        target_phases = phases
        if targets is not None:
            target_phases = self.phases(targets, inverse_cells, limits, slots, size)

        padded = pad(charges, slots, n_graphs, size)
        if dipoles is not None:
            relative = torch.matmul(pad(dipoles, slots, n_graphs, size), inverse_cells)
            padded = torch.cat([padded, relative], dim=2)
        n_channels = padded.shape[2]
        padded = padded[:, :, None, :, None]  # (g, n, 1, c, 1)
        first = self.product(phases[0], phases[1])
        last = torch.flatten(phases[2].unsqueeze(-2) * padded, 2)  # (g, n, k_3 c 2)
        # The products of all real and imaginary parts, (g, 2, k_1 k_2, k_3, c, 2)
        parts = torch.matmul(first.transpose(1, 2), last)
        parts = parts.unflatten(2, [-1, n_channels, 2]).unflatten(1, [2, -1])

        kernel = self.kernel(inverse_cells, own_limits, limits) / volumes[:, None, None, None]
        kernel = kernel.flatten(1, 2).unsqueeze(-1)  # (g, k_1 k_2, k_3, 1)
        real = parts[:, 0, :, :, :, 0] - parts[:, 1, :, :, :, 1]
        imaginary = parts[:, 0, :, :, :, 1] + parts[:, 1, :, :, :, 0]
        if dipoles is not None:
            waves = 2.0 * math.pi * self.all_numbers(limits, charges).unsqueeze(0).flatten(1, 2)
            real, imaginary = join_dipoles(real, imaginary, waves, 3)
        real = kernel * real
        imaginary = -kernel * imaginary  # of S*
        rows = [torch.stack([real, imaginary], dim=-1), torch.stack([-imaginary, real], dim=-1)]
        filtered = torch.flatten(torch.cat(rows, dim=1), 2)  # (g, 2 k_1 k_2, k_3 c 2)

        target_first = self.product(target_phases[0], target_phases[1])
        summed = torch.matmul(target_first, filtered).unflatten(2, [-1, n_channels, 2])
        signs = torch.tensor([1.0, -1.0], dtype=charges.dtype, device=charges.device)
        potential = (summed * (target_phases[2] * signs).unsqueeze(-2)).sum(dim=[2, 4])
        if dipoles is not None:
            gradient = torch.matmul(potential[:, :, -3:], inverse_cells.transpose(1, 2))
            potential = torch.cat([potential[:, :, :-3], gradient], dim=2)
        return potential.flatten(0, 1)[slots]

    def limits(self, cells: torch.Tensor) -> torch.Tensor:
        """Largest whole numbers of the reciprocal vectors of each structure, ``(n_graphs, 3)``."""
        # |n_a| <= k_max |a_a| / 2 pi for every vector of length k_max
        lengths = torch.linalg.norm(cells.detach(), dim=-1)
        return torch.floor(lengths / self.lr_wavelength).to(torch.long)

    def phases(
        self,
        positions: torch.Tensor,
        inverse_cells: torch.Tensor,
        limits: torch.Tensor,
        slots: torch.Tensor,
        size: int,
    ) -> List[torch.Tensor]:
        """exp(2 pi i n x) for the three relative coordinates x of each atom.

        :return: three tensors of shape ``(n_graphs, n_padded, n_numbers, 2)``, with the real and
            the imaginary part last; the numbers n of the first axis run from 0, as k and -k give
            the same, the others from -limit.
        """
        padded = pad(positions, slots, inverse_cells.shape[0], size)
        relative = torch.matmul(padded, inverse_cells)
        relative = relative - torch.floor(relative).detach()  # float32 keeps its digits
        result: List[torch.Tensor] = []
        for axis in range(3):
            numbers = self.numbers(axis, limits, positions)
            angles = 2.0 * math.pi * relative[:, :, axis, None] * numbers
            result.append(torch.stack([torch.cos(angles), torch.sin(angles)], dim=-1))
        return result

    def product(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Complex products of two phases, all real and then all imaginary parts.

        :param first: shape ``(n_graphs, n_padded, k_1, 2)``.
        :param second: shape ``(n_graphs, n_padded, k_2, 2)``.
        :return: shape ``(n_graphs, n_padded, 2 k_1 k_2)``.
        """
        x, y = first.unsqueeze(-2), second.unsqueeze(-3)
        real = x[:, :, :, :, 0] * y[:, :, :, :, 0] - x[:, :, :, :, 1] * y[:, :, :, :, 1]
        imaginary = x[:, :, :, :, 0] * y[:, :, :, :, 1] + x[:, :, :, :, 1] * y[:, :, :, :, 0]
        return torch.cat([real.flatten(2), imaginary.flatten(2)], dim=2)

    def numbers(self, axis: int, limits: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """Whole numbers of the reciprocal vectors along one axis, shape ``(n_numbers,)``."""
        limit = int(limits[axis])
        first = 0 if axis == 0 else -limit
        return torch.arange(first, limit + 1, device=like.device).to(like.dtype)

    def all_numbers(self, limits: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """Whole numbers of all reciprocal vectors, shape ``(k_1, k_2, k_3, 3)``."""
        x = self.numbers(0, limits, like)[:, None, None]
        y = self.numbers(1, limits, like)[:, None]
        z = self.numbers(2, limits, like)
        return torch.stack(torch.broadcast_tensors(x, y, z), dim=-1)

    def kernel(
        self, inverse_cells: torch.Tensor, own_limits: torch.Tensor, limits: torch.Tensor
    ) -> torch.Tensor:
        """Kernel of all reciprocal vectors, shape ``(n_graphs, k_1, k_2, k_3)``, in eV A^3 / e^2.

        Vectors whose opposite is left out count twice; k = 0 is left out, and so is what a
        structure would not have if it were alone.
        """
        reciprocal = 2.0 * math.pi * inverse_cells.transpose(1, 2)[:, :, None, None, None]
        own = own_limits[:, :, None, None, None]
        x = self.numbers(0, limits, inverse_cells)[:, None, None]
        y = self.numbers(1, limits, inverse_cells)[:, None]
        z = self.numbers(2, limits, inverse_cells)
        vectors = (
            x.unsqueeze(-1) * reciprocal[:, 0]
            + y.unsqueeze(-1) * reciprocal[:, 1]
            + z.unsqueeze(-1) * reciprocal[:, 2]
        )
        kernel = self.potential.lr_from_k_sq((vectors**2).sum(dim=-1))
        is_within = (x <= own[:, 0]) & (y.abs() <= own[:, 1]) & (z.abs() <= own[:, 2])
        weight = torch.where(x == 0, 1.0, 2.0).to(kernel.dtype) * is_within
        return kernel * weight


def pad(values: torch.Tensor, slots: torch.Tensor, n_graphs: int, size: int) -> torch.Tensor:
    """Values of atoms with a row for each structure, filled up with zeros.

    :param values: shape ``(n_atoms, n)``.
    :param slots: place of each atom, structure * size + number in the structure.
    :param size: atoms of the largest structure.
    :return: shape ``(n_graphs, size, n)``.
    """
    if n_graphs == 1:
        return values.unsqueeze(0)
    rows = torch.zeros((n_graphs * size, values.shape[1]), dtype=values.dtype, device=values.device)
    return rows.index_copy(0, slots, values).unflatten(0, [n_graphs, size])
