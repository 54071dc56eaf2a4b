"""Dipoles beside charges: how they enter a reciprocal sum, and pairs of them in real space.

The density of Gaussian charges q_i and dipoles d_i of one width, the potential at atom i, and the
energy are

.. math::

    \\rho(r) = \\sum_j (q_j - d_j \\cdot \\nabla) \\, g(r - r_j), \\quad
    \\phi_i = \\sum_j (q_j - d_j \\cdot \\nabla) \\, v(r_i - r_j), \\quad
    U = \\frac{1}{2} \\sum_i (q_i \\phi_i + d_i \\cdot \\nabla \\phi_i)

with the pair interaction v of the charges. An atom's own charge and dipole are left out of its
potential: for a dipole that is :math:`\\frac{1}{2} d_i^2 \\, v(0) / 3 \\sigma^2` of energy, v(0)
being that of the smooth interaction. A dipole and the charge of the same atom do not interact.
"""

import torch


def join_dipoles(
    real: torch.Tensor, imaginary: torch.Tensor, waves: torch.Tensor, dim: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Put the structure factors of dipoles into that of the first charges.

    .. math::

        S = S_q + i \\sum_a k_a S_{d_a}, \\quad S'_a = -i k_a S

    where the conjugate of S'_a gives the gradient of the potential of S.

    :param real: real parts; along ``dim`` n_channels of charges, and the three of the dipoles.
    :param imaginary: imaginary parts.
    :param waves: the components k_a of all vectors, three along ``dim``.
    :param dim: axis of the channels, as all others in one order in the three tensors.
    :return: real and imaginary parts of S, of the other channels as they were, and of S'.
    """
    n_channels = real.shape[dim] - 3
    dipole_real = real.narrow(dim, n_channels, 3)
    dipole_imaginary = imaginary.narrow(dim, n_channels, 3)
    first = real.narrow(dim, 0, 1) - (waves * dipole_imaginary).sum(dim=dim, keepdim=True)
    second = imaginary.narrow(dim, 0, 1) + (waves * dipole_real).sum(dim=dim, keepdim=True)
    others = real.narrow(dim, 1, n_channels - 1)
    other_imaginary = imaginary.narrow(dim, 1, n_channels - 1)
    return (
        torch.cat([first, others, waves * second], dim=dim),
        torch.cat([second, other_imaginary, -waves * first], dim=dim),
    )


def radial_derivatives(
    interaction: torch.Tensor,
    distances: torch.Tensor,
    gaussian: torch.Tensor,
    smearing: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Derivatives of a pair interaction v for dipoles (Smith 1982, CCP5 Newsletter 46, 18).

    .. math::

        B_1 = -\\frac{1}{r} \\frac{dv}{dr}, \\quad B_2 = -\\frac{1}{r} \\frac{dB_1}{dr}

    so that :math:`\\partial_a v = -B_1 r_a` and
    :math:`\\partial_a \\partial_b v = -B_1 \\delta_{ab} + B_2 r_a r_b`.

    :param interaction: v at the distances, in V / e.
    :param distances: positive, in A, of any shape.
    :param gaussian: torch-pme's self contribution for k_e erfc(r / sqrt(2) sigma) / r, minus it for
        the same with erf, 0 for k_e / r; shape ``()``, in V / e.
    :param smearing: sigma, shape ``()``, in A.
    :return: B_1 and B_2, of the shape of the distances.
    """
    squares, variance = distances.square(), smearing.square()
    bell = gaussian * torch.exp(-0.5 * squares / variance)
    first = (interaction + bell) / squares
    return first, (3.0 * first + bell / variance) / squares


def pair_terms(
    dipoles: torch.Tensor,
    charges: torch.Tensor,
    vectors: torch.Tensor,
    first: torch.Tensor,
    second: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What pairs give to potentials of dipoles, and to gradients of charges and dipoles.

    :param dipoles: of the sources, shape ``(..., 3)``, in e A.
    :param charges: of the sources, shape ``(...)``, in e.
    :param vectors: from source to target, shape ``(..., 3)``, in A.
    :param first: B_1 of :func:`radial_derivatives`, shape ``(...)``.
    :param second: B_2.
    :return: potential of the dipoles, shape ``(...)``, in V, and gradient of the whole potential,
        shape ``(..., 3)``, in V/A.
    """
    along = (dipoles * vectors).sum(dim=-1)
    gradient = dipoles * first.unsqueeze(-1)
    gradient = gradient - vectors * (charges * first + along * second).unsqueeze(-1)
    return along * first, gradient
