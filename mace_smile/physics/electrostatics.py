"""Electrostatic potential of Gaussian-smeared charges: periodic, slab and open.

The energy of the charges q_i (in e) of one structure is

.. math::

    U = \\frac{1}{2} \\sum_i q_i \\phi_i

with the potential :math:`\\phi_i` (in V) of all other charges and all images, each seen
through the smooth pair interaction (``long_range``; S4 eq. 2)

.. math::

    v(r) = k_e \\, \\mathrm{erf}(r / \\sqrt{2} \\sigma) / r .

The self term is removed. The sums are torch-pme's; this file chooses the cell, the
reciprocal vectors and the correction that the boundary asks for:

- *periodic*: Ewald sum in the cell of the structure. A net charge Q is neutralised by a
  uniform background (torch-pme adds its term, :math:`-\\pi k_e \\sigma^2 Q^2 / V`).
- *slab*: Ewald sum in a cell of the model's own, as high as the atoms plus a vacuum, and the
  term that turns it into the sum over two periodic directions (Yeh and Berkowitz 1999,
  10.1063/1.479595; with the net-charge terms of Ballenegger et al. 2009, 10.1063/1.3216473)

  .. math::

      U_{2D} = \\frac{2 \\pi k_e}{V} \\Big( M^2 - Q \\sum_i q_i n_i^2 - \\frac{Q^2 L^2}{12} \\Big),
      \\quad M = \\sum_i q_i n_i

  with n_i the coordinate along the unit normal and L the height of that cell.
- *open*: direct sum over all pairs.
"""

import math

import torch
from torchpme import CoulombPotential, EwaldCalculator
from torchpme.prefactors import eV_A

#: Coulomb constant 1 / (4 pi eps0) in eV A / e^2
COULOMB_CONSTANT = eV_A


class HalfSpaceCoulombPotential(CoulombPotential):
    """Coulomb potential for sums that run over one of each pair (k, -k) only.

    Both give the same contribution to the sum over real charges, so the kernel counts
    each vector twice and the sum costs half.
    """

    def lr_from_k_sq(self, k_sq: torch.Tensor) -> torch.Tensor:
        """Twice the Fourier transform of the long-range part.

        :param k_sq: squared norms of the reciprocal vectors in 1/A^2.
        :return: kernel in eV A^3 / e^2, shape of ``k_sq``.
        """
        masked = torch.where(k_sq == 0, 1.0, k_sq)
        kernel = 4 * torch.pi * torch.exp(-0.5 * self.smearing**2 * masked) / masked
        return self.prefactor * torch.where(k_sq == 0, 0.0, 2.0 * kernel)


def half_space_kvectors(cell: torch.Tensor, k_max: float) -> torch.Tensor:
    """Reciprocal vectors 0 < \\|k\\| <= k_max, one of each pair (k, -k).

    :param cell: lattice vectors in rows, shape ``(3, 3)``, in A; any orientation and
        handedness.
    :param k_max: radius in 1/A.
    :return: vectors of shape ``(n_kvectors, 3)`` in 1/A, differentiable in ``cell``.
    """
    reciprocal = 2 * torch.pi * torch.linalg.inv(cell).T
    # |n_a| <= k_max |a_a| / 2 pi for every vector inside the sphere
    limits = torch.floor(k_max * torch.linalg.norm(cell, dim=1) / (2 * torch.pi)).to(torch.long)
    nx, ny, nz = int(limits[0]), int(limits[1]), int(limits[2])
    x = torch.arange(0, nx + 1, device=cell.device)
    y = torch.arange(-ny, ny + 1, device=cell.device)
    z = torch.arange(-nz, nz + 1, device=cell.device)
    grid = torch.stack(torch.meshgrid([x, y, z], indexing="ij"), dim=-1).reshape(-1, 3)
    is_half = (grid[:, 0] > 0) | (
        (grid[:, 0] == 0) & ((grid[:, 1] > 0) | ((grid[:, 1] == 0) & (grid[:, 2] > 0)))
    )
    numbers = grid[is_half].to(cell.dtype)
    inside = torch.sum((numbers @ reciprocal.detach()) ** 2, dim=1) <= k_max**2
    return numbers[inside] @ reciprocal


class Electrostatics(torch.nn.Module):
    """Potential of smeared charges at the atoms of one structure.

    :param smearing: width sigma of the Gaussian charges in A.
    :param lr_wavelength: shortest wavelength of the reciprocal sum in A; equal to the
        smearing it is converged to a relative 3e-9.
    :param slab_vacuum: vacuum of the model's own slab cell in units of the larger in-plane
        length a; the interaction of the images falls as exp(-2 pi gap / a).
    """

    def __init__(self, smearing: float, lr_wavelength: float, slab_vacuum: float) -> None:
        super().__init__()
        self.coulomb_constant = COULOMB_CONSTANT
        self.smearing = smearing
        self.k_max = 2 * math.pi / lr_wavelength
        self.slab_vacuum = slab_vacuum
        self.ewald = EwaldCalculator(
            HalfSpaceCoulombPotential(smearing=smearing, prefactor=COULOMB_CONSTANT),
            lr_wavelength=lr_wavelength,
        )
        self.pair_potential = CoulombPotential(smearing=smearing, prefactor=COULOMB_CONSTANT)
        self.to(dtype=torch.get_default_dtype())

    def forward(
        self,
        charges: torch.Tensor,
        positions: torch.Tensor,
        cell: torch.Tensor,
        periodic: torch.Tensor,
    ) -> torch.Tensor:
        """Potential at the atoms, so that the energy is half the sum of charge times potential.

        :param charges: shape ``(n_atoms,)``, in e.
        :param positions: shape ``(n_atoms, 3)``, in A. Along the normal of a slab they must
            be whole, not cut by the cell boundary; along periodic axes any image serves.
        :param cell: shape ``(3, 3)``, in A, lattice vectors in rows. Rows of axes that are
            not periodic are not used.
        :param periodic: shape ``(3,)``, bool.
        :return: potential, shape ``(n_atoms,)``, in V.
        :raises ValueError: with one periodic axis, which no method here covers.
        """
        n_periodic = int(periodic.to(torch.int64).sum())
        if n_periodic == 3:
            return self.periodic_potential(charges, positions, cell)
        if n_periodic == 2:
            return self.slab_potential(charges, positions, cell, periodic)
        if n_periodic == 1:
            raise ValueError(
                "a structure that is periodic along one axis only has no electrostatics here; "
                "make it periodic along none, two or three axes"
            )
        return self.open_potential(charges, positions)

    def periodic_potential(
        self, charges: torch.Tensor, positions: torch.Tensor, cell: torch.Tensor
    ) -> torch.Tensor:
        """Potential with three periodic axes; arguments and result as :meth:`forward`."""
        half_potential = self.ewald(
            charges.unsqueeze(-1),
            cell,
            positions,
            # The pair interaction is smooth everywhere: no real-space part is left.
            torch.zeros((0, 2), dtype=torch.long, device=positions.device),
            torch.zeros(0, dtype=positions.dtype, device=positions.device),
            kvectors=half_space_kvectors(cell, self.k_max),
        )
        return 2 * half_potential.squeeze(-1)  # torch-pme returns half the potential

    def slab_potential(
        self,
        charges: torch.Tensor,
        positions: torch.Tensor,
        cell: torch.Tensor,
        periodic: torch.Tensor,
    ) -> torch.Tensor:
        """Potential with two periodic axes; arguments and result as :meth:`forward`."""
        axis = int(torch.argmin(periodic.to(torch.int64)))
        first, second = cell[(axis + 1) % 3], cell[(axis + 2) % 3]
        cross = torch.linalg.cross(first, second)
        normal = cross / torch.linalg.norm(cross)
        heights = positions @ normal  # (n_atoms,)
        width = torch.maximum(torch.linalg.norm(first), torch.linalg.norm(second))
        vacuum = torch.clamp(self.slab_vacuum * width, min=10.0 * self.smearing)
        # Detached: the result does not depend on the height of this cell.
        length = (heights.max() - heights.min() + vacuum).detach()
        own_cell = torch.stack([first, second, length * normal])
        # Measured from the middle of the slab, so that float32 loses nothing.
        heights = heights - 0.5 * (heights.max() + heights.min()).detach()
        volume = torch.abs(torch.linalg.det(own_cell))
        total_charge = charges.sum()
        correction = (2 * torch.pi * self.coulomb_constant / volume) * (
            2 * heights * (charges * heights).sum()
            - (charges * heights**2).sum()
            - total_charge * heights**2
            - total_charge * length**2 / 6
        )
        return self.periodic_potential(charges, positions, own_cell) + correction

    def open_potential(self, charges: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Potential without periodic axes; arguments and result as :meth:`forward`."""
        n_atoms = positions.shape[0]
        pairs = torch.triu_indices(n_atoms, n_atoms, 1, device=positions.device)
        first, second = pairs[0], pairs[1]
        distances = torch.linalg.norm(positions[second] - positions[first], dim=1)
        interaction = self.pair_potential.lr_from_dist(distances)
        potential = torch.zeros_like(charges)
        potential = potential.index_add(0, first, interaction * charges[second])
        return potential.index_add(0, second, interaction * charges[first])
