"""The electric field of a run: its vector at each time, and the force it puts on each atom.

.. math::

    F_{ib} = \\sum_a E_a(t) Z_{iab}

A vacuum field, which only a slab has, acts through its part inside: along the normal it is
divided by :math:`1+\\chi`.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from metatomic.torch import AtomisticModel

from mace_smile.errors import UserError
from mace_smile.physics.polarization import screen_along_normal, slab_normal
from metatensor_models.boundary import periodic_axes
from metatensor_models.fields import FIELD_KINDS

#: E(t): from the time in fs to a vector ``(3,)`` in V/A.
FieldOfTime = Callable[[float], np.ndarray]


@dataclass(frozen=True)
class FieldSettings:
    """What an exported model says about fields."""

    fields: dict[str, np.ndarray]
    """Vector in V/A of each variant; empty for models that others have exported."""
    kind: str
    """``macroscopic`` or ``vacuum``: what these vectors are."""
    order: int
    """2: polarizabilities act too."""
    boundary: str
    slab_axis: int
    susceptibilities: tuple[float, float]
    """chi of the learned and of the given charges."""
    given_mask: torch.Tensor
    """Not zero on atoms with given charges; empty without."""

    @classmethod
    def of(cls, model: AtomisticModel) -> "FieldSettings":
        """Read the settings that ``mace_smile_export`` has stored."""
        extra = model.metadata().extra
        fields = json.loads(extra.get("fields", "{}"))
        return cls(
            fields={name: np.array(vector, dtype=float) for name, vector in fields.items()},
            kind=extra.get("field_kind", FIELD_KINDS[0]),
            order=int(extra.get("field_order", 1)),
            boundary=extra.get("boundary", "auto"),
            slab_axis=int(extra.get("slab_axis", 2)),
            susceptibilities=(
                float(extra.get("susceptibility", 0.0)),
                float(extra.get("given_susceptibility", 0.0)),
            ),
            given_mask=getattr(model.module, "given_mask", torch.zeros(0)).cpu(),
        )


@dataclass(frozen=True)
class AppliedField:
    """A field that acts on the atoms."""

    vector_at: FieldOfTime
    kind: str
    """``macroscopic`` or ``vacuum``."""
    settings: FieldSettings
    is_in_model: bool
    """Whether the forces of the model contain it: a variant."""
    is_known: bool
    """Whether its vector is known: not for variants of models that others have exported."""

    def forces(
        self, vector: np.ndarray, born_charges: np.ndarray, cell: np.ndarray, pbc: np.ndarray
    ) -> np.ndarray:
        """Forces of the field, to first order.

        :param vector: the field, shape ``(3,)``, in V/A.
        :param born_charges: shape ``(n_atoms, 3, 3)``, in e, field index first.
        :param cell: lattice vectors in rows, shape ``(3, 3)``, in A.
        :param pbc: shape ``(3,)``, bool.
        :return: shape ``(n_atoms, 3)``, in eV/A.
        :raises ValueError: for a field in vacuum on a structure that is no slab.
        """
        if self.kind == "macroscopic":
            return np.einsum("a,iab->ib", vector, born_charges)
        settings = self.settings
        axes = periodic_axes(torch.as_tensor(pbc), settings.boundary, settings.slab_axis)
        if int(axes.sum()) != 2:
            raise ValueError(
                "the field is one in vacuum, which only a slab has; export with --boundary slab, "
                "or give the macroscopic field"
            )
        normal = slab_normal(torch.as_tensor(cell), int(torch.argmin(axes.to(torch.int64))))
        inside, on_given = (
            screen_along_normal(torch.as_tensor(vector), normal, chi).numpy()
            for chi in settings.susceptibilities
        )
        if settings.given_mask.numel() == 0:
            return np.einsum("a,iab->ib", inside, born_charges)
        is_given = settings.given_mask.numpy() != 0
        fields = np.where(is_given[:, None], on_given, inside)
        return np.einsum("ia,iab->ib", fields, born_charges)


def variant_field(settings: FieldSettings, variant: str) -> AppliedField:
    """The field of a variant, constant; not a number where the file does not tell it."""
    vector = settings.fields.get(variant, np.full(3, np.nan))
    is_known = variant in settings.fields
    return AppliedField(lambda time: vector, settings.kind, settings, True, is_known)


def driven_field(
    source: FieldOfTime, kind: str | None, settings: FieldSettings, path: str | Path
) -> AppliedField:
    """A field E(t) that is not in the model.

    :param kind: ``macroscopic`` or ``vacuum``; None is macroscopic, unless the file has fields
        in vacuum.
    :param path: of the model, for messages.
    :raises UserError: for another kind, one that could be mistaken, or a model whose fields
        act to second order.
    """
    if kind is None and settings.fields and settings.kind != FIELD_KINDS[0]:
        raise UserError(
            f"the fields of '{path}' are fields in vacuum, so say which the field of this run is: "
            "`field_kind` macroscopic or vacuum"
        )
    kind = kind or FIELD_KINDS[0]
    if kind not in FIELD_KINDS:
        raise UserError(f"`field_kind` is '{kind}' but must be one of {', '.join(FIELD_KINDS)}")
    if settings.order != 1:
        raise UserError(
            f"'{path}' was exported for fields of second order, but a field that depends on time "
            "acts through the Born charges alone; export with --field_order 1"
        )
    return AppliedField(source, kind, settings, False, True)
