"""What a net charge costs in a cell that is periodic along three axes.

The sum neutralises it by a uniform background. The images of the charge, together with that
background, change the energy by

.. math::

    U = -2.837297 \\frac{k_e Q^2}{2 V^{1/3}}

(Leslie and Gillan 1985, 10.1088/0022-3719/18/5/005; exact for a point charge in a cubic cell
much wider than sigma, about right for others). With ``long_range`` terms, of which the width
sigma is a part, the background term in it is :math:`-\\pi k_e \\sigma^2 Q^2 / V`; with ``full``
terms sigma is numerics, and such a term means nothing by itself.
"""

import math

from mace_smile.physics.electrostatics import COULOMB_CONSTANT

#: Madelung constant of one charge in a uniform background, in a cubic cell.
CUBIC_MADELUNG = 2.837297


def image_energy(charge: float, volume: float) -> float:
    """Energy of a charge with its images and the background, in eV, never positive.

    :param charge: as it enters the sum, in e.
    :param volume: of the cell in A^3.
    """
    return -0.5 * CUBIC_MADELUNG * COULOMB_CONSTANT * charge**2 / volume ** (1.0 / 3.0)


def background_term(charge: float, volume: float, smearing: float) -> float:
    """The part of it that is the background term of charges of width ``smearing``, in eV.

    :param charge: as it enters the sum, in e.
    :param volume: of the cell in A^3.
    :param smearing: in A.
    """
    return -math.pi * COULOMB_CONSTANT * (charge * smearing) ** 2 / volume
