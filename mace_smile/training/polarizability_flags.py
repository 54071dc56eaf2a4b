"""Flags of polarizabilities: the head, and where its labels are."""

from mace_smile import quantities
from mace_smile.model.options import POLARIZABILITY_HEADS
from mace_smile.training.flag import Flag
from mace_smile.training.requirements import POLARIZABILITY

POLARIZABILITY_FLAGS: tuple[Flag, ...] = (
    Flag(
        "polarizability_head",
        "polarizability, a readout of its own that is trained on labels and acts in a field to "
        "second order (default: none)",
        choices=POLARIZABILITY_HEADS,
    ),
    Flag(
        "polarizability_key",
        "key of the polarizability (e^2 A^2/eV), nine numbers, or six as xx yy zz yz xz xy "
        f"(default: {quantities.BY_NAME[quantities.POLARIZABILITY].key})",
        needs=(POLARIZABILITY,),
    ),
    Flag(
        "polarizability_weight",
        "weight of the squared error of the polarizability per atom, e^4 A^4/eV^2 (default: 1)",
        float,
        needs=(POLARIZABILITY,),
        off=0.0,
    ),
)
