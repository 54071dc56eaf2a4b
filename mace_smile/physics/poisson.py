"""Planar averages of Gaussian charges and dipoles across a slab, and the potential they make.

With the charge density averaged over planes parallel to the slab, Poisson's equation is one
of the height z along the normal,

.. math::

    \\frac{d^2 \\phi}{dz^2} = -\\frac{\\rho(z)}{\\epsilon_0}, \\quad
    \\rho(z) = \\frac{1}{A} \\sum_i \\big( q_i - d_i \\tfrac{d}{dz} \\big) g_w(z - z_i)

with Gaussians g of width w, charges q_i and the parts d_i of atomic dipoles along the normal. A
dipole-corrected slab has no field outside (D = 0), so that the potential of neutral charges is

.. math::

    \\phi(z) = -\\frac{1}{\\epsilon_0 A} \\sum_i \\big( q_i R_w(z - z_i) - d_i H_w(z - z_i) \\big) ,

with the smooth step H (the integral of g) and the smooth ramp R (that of H): zero below the
slab, and mu / (eps0 A) above it, so mu > 0 means a higher potential on the side the normal
points to. All is analytic: nothing depends on the points z or on the height of the cell. The
potential of Gaussian charges is also that of point charges, smoothed by the same Gaussian.
"""

import math

import torch

from mace_smile.physics.electrostatics import COULOMB_CONSTANT

#: 1 / eps0 in V A / e.
INVERSE_VACUUM_PERMITTIVITY = 4.0 * math.pi * COULOMB_CONSTANT
#: Atoms whose Gaussians are summed at once, so that memory stays small.
ATOMS_AT_ONCE = 4096


def smooth_density(distance: torch.Tensor, width: float) -> torch.Tensor:
    """The normalised Gaussian g, in 1/A; ``distance`` and ``width`` in A."""
    return torch.exp(-0.5 * (distance / width) ** 2) / (math.sqrt(2.0 * math.pi) * width)


def smooth_step(distance: torch.Tensor, width: float) -> torch.Tensor:
    """The integral H of the Gaussian, from 0 to 1; ``distance`` and ``width`` in A."""
    return 0.5 * torch.special.erfc(-distance / (math.sqrt(2.0) * width))


def smooth_ramp(distance: torch.Tensor, width: float) -> torch.Tensor:
    """The integral R of the smooth step, in A: 0 far below, ``distance`` far above."""
    return distance * smooth_step(distance, width) + width**2 * smooth_density(distance, width)


def planar_charge_density(
    points: torch.Tensor,
    heights: torch.Tensor,
    charges: torch.Tensor,
    dipoles: torch.Tensor,
    width: float,
    area: float,
) -> torch.Tensor:
    """Charge density averaged over planes.

    :param points: heights z at which it is wanted, shape ``(n_points,)``, in A.
    :param heights: of the atoms along the normal, shape ``(n_atoms,)``, in A; the slab is whole.
    :param charges: shape ``(n_atoms,)``, in e.
    :param dipoles: along the normal, from - to +, shape ``(n_atoms,)``, in e A.
    :param width: standard deviation w of the Gaussians in A, positive.
    :param area: of the cell in the plane in A^2.
    :return: shape ``(n_points,)``, in e/A^3.
    """
    density = torch.zeros_like(points)
    for part in torch.arange(len(heights)).split(ATOMS_AT_ONCE):
        distance = points.unsqueeze(-1) - heights[part]  # (n_points, n_atoms)
        # -d g' = d (z / w^2) g
        weight = charges[part] + dipoles[part] * distance / width**2
        density = density + (weight * smooth_density(distance, width)).sum(dim=-1)
    return density / area


def slab_potential(
    points: torch.Tensor,
    heights: torch.Tensor,
    charges: torch.Tensor,
    dipoles: torch.Tensor,
    width: float,
    area: float,
) -> torch.Tensor:
    """Potential of a neutral slab without a field outside, zero below it.

    :param points: heights z at which it is wanted, shape ``(n_points,)``, in A.
    :param heights: of the atoms along the normal, shape ``(n_atoms,)``, in A; the slab is whole.
    :param charges: shape ``(n_atoms,)``, in e; they add up to zero, else the field above the
        slab is not zero.
    :param dipoles: along the normal, from - to +, shape ``(n_atoms,)``, in e A.
    :param width: standard deviation w of the Gaussians in A, positive.
    :param area: of the cell in the plane in A^2.
    :return: shape ``(n_points,)``, in V.
    """
    integral = torch.zeros_like(points)
    for part in torch.arange(len(heights)).split(ATOMS_AT_ONCE):
        distance = points.unsqueeze(-1) - heights[part]  # (n_points, n_atoms)
        of_charges = charges[part] * smooth_ramp(distance, width)
        of_dipoles = dipoles[part] * smooth_step(distance, width)
        integral = integral + (of_charges - of_dipoles).sum(dim=-1)
    return -INVERSE_VACUUM_PERMITTIVITY / area * integral


def potential_step(dipole: float, area: float) -> float:
    """Potential above a slab minus that below it, mu / (eps0 A).

    :param dipole: of the cell along the normal, screened, in e A.
    :param area: of the cell in the plane in A^2.
    :return: in V.
    """
    return INVERSE_VACUUM_PERMITTIVITY * dipole / area
