"""Flags of Born effective charges: where they come from, and how they are differentiated."""

from mace_smile.io.born_order import CHOICES
from mace_smile.model.options import (
    ACOUSTIC_SUM_RULES,
    BORN_CHARGE_METHODS,
    PHASE_HARMONICS,
    SCREENINGS,
)
from mace_smile.training.flag import Flag, auto_learned_or_number
from mace_smile.training.requirements import BORN_CHARGES, CHARGES, COUPLED, PHASE

SCREENING_FLAGS: tuple[Flag, ...] = (
    Flag(
        "screening",
        "how Born effective charges come about: uncoupled is a readout of their own; global and "
        "local are derivatives of the charges times a factor, one of the model or one of each "
        "atom (default: none)",
        choices=SCREENINGS,
    ),
    Flag(
        "becs_order",
        "which index of the Born effective charges comes first in the files: field_first, "
        "Z_ab = d mu_a / d r_b, or displacement_first; auto asks the data, and an order that "
        "contradicts them is refused (default: field_first)",
        choices=CHOICES,
        needs=(BORN_CHARGES,),
    ),
    Flag(
        "screening_value",
        "factor from energy charges to response charges: a number, negative to turn their sign; "
        "learned, with --screening global; or auto for sqrt(1 + susceptibility) (default: auto)",
        auto_learned_or_number,
        needs=(CHARGES,),
    ),
    Flag(
        "born_charge_method",
        "derivatives of charges in periodic cells: unfolded is exact; phase differentiates phases "
        "of the reciprocal vectors; minimum_image needs cells wider than twice the receptive field "
        "and is slow (default: unfolded)",
        choices=BORN_CHARGE_METHODS,
        needs=(COUPLED,),
    ),
    Flag(
        "phase_harmonics",
        "phases along each cell vector with --born_charge_method phase; more are more exact in "
        "wide cells (default: 3)",
        int,
        choices=PHASE_HARMONICS,
        needs=(COUPLED, PHASE),
    ),
    Flag(
        "acoustic_sum_rule",
        "subtract: Born effective charges add up to the total charge, each atom giving the same "
        "part of the rest; none: as they are (default: none)",
        choices=ACOUSTIC_SUM_RULES,
        needs=(BORN_CHARGES,),
        off="none",
    ),
)
