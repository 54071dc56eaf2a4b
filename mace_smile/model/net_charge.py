"""Net charges of periodic cells: what a model says and does about them.

A periodic cell has a finite energy only when it is neutral, so the sum adds a uniform
background to a net charge Q, the physical charge divided by the scale s of the energy charges
(:mod:`mace_smile.physics.background`). Its energy depends on the volume, so energies of cells
of different charge are comparable only with a correction. Open structures have neither images
nor a background. Slabs need no background, but their images in the plane remain:
:math:`-1.95\\,k_e Q^2 / L` in a square cell of side L.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mace_smile.errors import UserError
from mace_smile.model.options import SmileOptions
from mace_smile.physics.background import background_term, image_energy
from mace_smile.physics.boundaries import model_axes

CONSEQUENCE = (
    "energies of cells of different charge can be compared only with a correction for the "
    "background and for the images of the charge"
)


@dataclass(frozen=True)
class BackgroundEnergy:
    """What a net charge costs in a periodic cell."""

    images: float
    """Estimate of the energy of the images with the background, in eV, always negative."""
    background: float | None = None
    """The part that is the background term, in eV; None with ``full`` terms."""

    @classmethod
    def largest(cls, energies: Sequence["BackgroundEnergy"]) -> "BackgroundEnergy":
        """The largest of each, of several structures (at least one) of one model."""
        terms = [energy.background for energy in energies if energy.background is not None]
        return cls(min(energy.images for energy in energies), min(terms, default=None))

    def describe(self, limit: str = "") -> str:
        """The energies in words.

        :param limit: put before the numbers, such as ``"up to "``.
        """
        images = (
            f"the images with the background change the energy by {limit}about {self.images:.3g} eV"
        )
        if self.background is None:
            return images
        return f"the background term is {limit}{self.background:.3g} eV, and {images}"


@dataclass(frozen=True)
class NetChargeRule:
    """What a model does about net charges, and in which structures."""

    action: str = "warn"
    """``warn`` or ``error``."""
    needs_background: bool = False
    """Whether the model has a Coulomb energy, with a net charge that is known beforehand."""
    scale: float = 1.0
    """Factor s from energy charges to physical charges."""
    smearing: float | None = None
    """Width sigma of the charges in A where it is physics (``long_range``), else None."""
    boundary: str = "auto"
    """Boundary of the model."""
    slab_axis: int = 2
    """Cell axis along the normal with ``boundary="slab"``."""

    @classmethod
    def of_model(
        cls, options: SmileOptions, r_max: float, scale: float | None = None
    ) -> "NetChargeRule":
        """The rule of a model.

        :param options: of the model. Where its charges add up to no given total charge, the net
            charge of a structure is not known beforehand, and there is no rule.
        :param r_max: cutoff of the backbone in A.
        :param scale: factor s of the model as it is now; None: of the options.
        :raises ValueError: for an accuracy of the sum that cannot be reached.
        """
        needs_background = options.has_electrostatics and options.total_charge_constraint == "exact"
        smearing = None
        if needs_background and options.coulomb_terms == "long_range":
            smearing = options.coulomb_parameters(r_max).smearing
        return cls(
            action=options.net_charge,
            needs_background=needs_background,
            scale=options.scale if scale is None else scale,
            smearing=smearing,
            boundary=options.boundary,
            slab_axis=options.slab_axis,
        )

    def energies(self, total_charge: float, volume: float) -> BackgroundEnergy:
        """What a charge costs in a cell that is periodic along three axes.

        :param total_charge: physical charge in e.
        :param volume: of the cell in A^3.
        """
        charge = total_charge / self.scale
        images = image_energy(charge, volume)
        if self.smearing is None:
            return BackgroundEnergy(images)
        return BackgroundEnergy(images, background_term(charge, volume, self.smearing))

    def background_energy(
        self, total_charge: Any, cell: Any, pbc: Sequence[bool]
    ) -> BackgroundEnergy | None:
        """What the net charge of a structure costs; None for one that needs no background.

        :param total_charge: physical charge in e; None is 0.
        :param cell: lattice vectors in rows, shape ``(3, 3)``, in A, with a volume where the
            structure is periodic along three axes.
        :param pbc: periodic axes of the structure.
        :raises UserError: for a net charge where the rule is ``error``.
        """
        charge = 0.0 if total_charge is None else float(total_charge)
        axes = model_axes(torch.tensor([bool(flag) for flag in pbc]), self.boundary, self.slab_axis)
        if charge == 0.0 or not self.needs_background or not bool(axes.all()):
            return None
        volume = abs(float(np.linalg.det(np.asarray(cell, dtype=float).reshape(3, 3))))
        energies = self.energies(charge, volume)
        if self.action == "error":
            raise UserError(
                f"the net charge is {charge:g} e in a cell that is periodic along three axes, "
                f"where a uniform background neutralises it ({energies.describe()}); make the "
                "structure neutral (for example by counter-ions), give it an open boundary by its "
                "pbc if it is isolated, or train the model with --net_charge warn"
            )
        return energies


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
        energies = self.rule.background_energy(total_charge, cell, pbc)
        if energies is not None and not self.is_told:
            self.is_told = True
            warnings.warn(
                f"{name} has a net charge of {float(total_charge):g} e in a cell that is periodic "
                "along three axes, where a uniform background neutralises it: "
                f"{energies.describe()}; {CONSEQUENCE} (said once)",
                stacklevel=3,
            )
