"""What an export adds to a model: boundary, fields, given charges, head, total charge."""

import math
from dataclasses import dataclass, field

from mace_smile.errors import UserError
from mace_smile.model.options import ACOUSTIC_SUM_RULES, BOUNDARIES
from metatensor_models.fields import FIELD_KINDS, Vector
from metatensor_models.given_charges import GivenCharges
from metatensor_models.voltages import Voltage


@dataclass(frozen=True)
class ExportOptions:
    """What is stored in an exported model beside the model.

    :raises UserError: when a field has a value that is not allowed; the message names the
        flag, the value and the remedy.
    """

    boundary: str = "auto"
    """``auto`` takes the model's own boundary, and where that is ``auto`` too, believes the
    engine; ``periodic``, ``slab`` and ``open`` hold whatever the engine says, for engines that
    call every structure periodic (i-PI, often LAMMPS)."""
    slab_axis: int = 2
    """Cell axis (0, 1, 2) across the slab, used with ``boundary="slab"`` only."""
    fields: dict[str, Vector] = field(default_factory=dict)
    """Name of each field and its vector in V/A."""
    voltages: dict[str, Voltage] = field(default_factory=dict)
    """Those of the fields that are voltages over a length: they must be along the slab normal."""
    field_kind: str = "macroscopic"
    """``macroscopic``: the field inside, it couples to Z; ``vacuum``: the field outside a
    slab, which couples to Z / (1 + chi) along the normal."""
    field_order: int | None = None
    """2: polarizabilities act too; 1: Born charges alone; None: 2 where the model has them."""
    total_charge: float = 0.0
    """Net charge of every structure in e."""
    given_charges: GivenCharges | None = None
    """Charges of some atoms, e.g. of an electrode."""
    head: str | None = None
    """Head of a model that has several; None where there is one."""
    acoustic_sum_rule: str | None = None
    """``subtract`` makes Born charges add up to the total charge, each changed alike; ``none``
    leaves them; None does what the training did."""

    def __post_init__(self) -> None:
        if self.boundary not in BOUNDARIES:
            raise UserError(
                f"`--boundary` is '{self.boundary}' but must be one of {', '.join(BOUNDARIES)}"
            )
        if self.slab_axis not in (0, 1, 2):
            raise UserError(f"`--slab_axis` is {self.slab_axis} but must be 0, 1 or 2")
        if self.field_kind not in FIELD_KINDS:
            raise UserError(
                f"`--field_kind` is '{self.field_kind}' but must be one of {', '.join(FIELD_KINDS)}"
            )
        if self.field_kind == "vacuum" and self.boundary in ("periodic", "open"):
            raise UserError(
                f"`--field_kind vacuum` needs a slab but `--boundary` is '{self.boundary}'; "
                "export with --boundary slab, or give the macroscopic field"
            )
        if self.acoustic_sum_rule not in (None, *ACOUSTIC_SUM_RULES):
            raise UserError(
                f"`--acoustic_sum_rule` is '{self.acoustic_sum_rule}' but must be one of "
                f"{', '.join(ACOUSTIC_SUM_RULES)}"
            )
        if not math.isfinite(self.total_charge):
            raise UserError(f"`--total_charge` is {self.total_charge} but must be finite")

    def head_index(self, heads: list[str]) -> int:
        """Index of the chosen head.

        :param heads: heads of the model.
        :raises UserError: when the choice is missing or names no head.
        """
        if self.head is None and len(heads) == 1:
            return 0
        if self.head not in heads:
            chosen = "no --head was given" if self.head is None else f"--head is '{self.head}'"
            raise UserError(f"{chosen} but the model has the heads {', '.join(heads)}; name one")
        return heads.index(self.head)
