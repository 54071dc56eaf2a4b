"""Net charges of periodic cells: what the background that neutralises them costs.

A periodic cell has a finite energy only when it is neutral. The sum therefore adds a uniform
background to a net charge Q, whose interaction with the Gaussian charges of width sigma is

.. math::

    U = -\\pi k_e \\sigma^2 Q^2 / V ,

Q being the physical charge divided by the scale s of the energy charges. It depends on the
volume and on sigma, so energies of cells of different charge are comparable only with a
correction. Slabs and open structures need no background.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mace_smile.errors import UserError
from mace_smile.model.options import SmileOptions
from mace_smile.physics.boundaries import model_axes
from mace_smile.physics.electrostatics import COULOMB_CONSTANT

CONSEQUENCE = (
    "energies of cells of different charge can be compared only with a correction for the "
    "background and for the images of the charge"
)


@dataclass(frozen=True)
class NetChargeRule:
    """What a model does about net charges, and in which structures."""

    action: str = "warn"
    """``warn`` or ``error``."""
    coefficient: float = 0.0
    """-pi k_e sigma^2 / s^2 in eV A^3 / e^2; zero where the model has no such term."""
    boundary: str = "auto"
    """Boundary of the model."""
    slab_axis: int = 2
    """Cell axis along the normal with ``boundary="slab"``."""

    @classmethod
    def of_model(cls, options: SmileOptions, r_max: float) -> "NetChargeRule":
        """The rule of a model.

        :param options: of the model. Where its charges add up to no given total charge, the net
            charge of a structure is not known beforehand, and there is no rule.
        :param r_max: cutoff of the backbone in A.
        :raises ValueError: for an accuracy of the sum that cannot be reached.
        """
        coefficient = 0.0
        if options.has_electrostatics and options.total_charge_constraint == "exact":
            smearing = options.coulomb_parameters(r_max).smearing
            coefficient = -math.pi * COULOMB_CONSTANT * (smearing / options.scale) ** 2
        return cls(options.net_charge, coefficient, options.boundary, options.slab_axis)

    def background_energy(self, total_charge: Any, cell: Any, pbc: Sequence[bool]) -> float:
        """Energy of the background in eV; 0 for a neutral structure or one that needs none.

        :param total_charge: physical charge in e; None is 0.
        :param cell: lattice vectors in rows, shape ``(3, 3)``, in A, with a volume where the
            structure is periodic along three axes.
        :param pbc: periodic axes of the structure.
        :raises UserError: for a net charge where the rule is ``error``.
        """
        charge = 0.0 if total_charge is None else float(total_charge)
        axes = model_axes(torch.tensor([bool(flag) for flag in pbc]), self.boundary, self.slab_axis)
        if charge == 0.0 or self.coefficient == 0.0 or not bool(axes.all()):
            return 0.0
        volume = abs(float(np.linalg.det(np.asarray(cell, dtype=float).reshape(3, 3))))
        energy = self.coefficient * charge**2 / volume
        if self.action == "error":
            raise UserError(
                f"the net charge is {charge:g} e in a cell that is periodic along three axes, "
                f"where a uniform background neutralises it (its term is {energy:.3g} eV); make "
                "the structure neutral (for example by counter-ions), give it a slab or open "
                "boundary by its pbc, or train the model with --net_charge warn"
            )
        return energy


class NetChargeWarning:
    """Tells once in a run that a structure has a net charge in a periodic cell.

    :param rule: of the model.
    """

    def __init__(self, rule: NetChargeRule) -> None:
        self.rule = rule
        self.is_told = False

    def check(self, total_charge: Any, cell: Any, pbc: Sequence[bool], name: str) -> None:
        """Warn of the first structure that needs a background.

        :param name: of the structure; the others as in
            :meth:`NetChargeRule.background_energy`.
        :raises UserError: for a net charge where the rule is ``error``.
        """
        energy = self.rule.background_energy(total_charge, cell, pbc)
        if energy != 0.0 and not self.is_told:
            self.is_told = True
            warnings.warn(
                f"{name} has a net charge of {float(total_charge):g} e in a cell that is periodic "
                "along three axes, where a uniform background neutralises it: its term -pi k_e "
                f"sigma^2 Q^2 / V is {energy:.3g} eV; {CONSEQUENCE} (said once)",
                stacklevel=3,
            )
