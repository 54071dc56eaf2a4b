"""What a run says about its labels before it starts, and where flags and labels meet."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from mace_smile import quantities
from mace_smile.model.net_charge import CONSEQUENCE, BackgroundEnergy
from mace_smile.training.databases import COMMAND
from mace_smile.training.labels import LabelSettings
from mace_smile.training.losses import TermWeights
from mace_smile.training.survey import TEST, TRAIN, VALID, Survey


@dataclass(frozen=True)
class LabelFlags:
    """Where the flags and the labels of one quantity meet."""

    quantity: str
    """Name of the quantity, a key of the loss terms."""
    label: str
    """Name of its label in a configuration."""
    key_flag: str
    """Flag that says where the label is."""

    @property
    def weight_flag(self) -> str:
        """Flag of its weight in the loss."""
        return f"{self.quantity}_weight"


LABELS = (
    LabelFlags(quantities.MACRO_DIPOLE, quantities.DIPOLE, "dipole_key"),
    LabelFlags(quantities.BORN_EFFECTIVE_CHARGES, quantities.BORN_EFFECTIVE_CHARGES, "becs_key"),
    LabelFlags(quantities.CHARGES, quantities.CHARGES, "charges_key"),
    LabelFlags(quantities.POLARIZABILITY, quantities.POLARIZABILITY, "polarizability_key"),
)


def net_charges(survey: Survey) -> tuple[str, ...]:
    """What the net charges of periodic frames cost, if there are such frames."""
    energies = [frame.background_energy for frame in survey.frames if frame.background_energy]
    if not energies:
        return ()
    return (
        f"{len(energies)} of {len(survey.frames)} frames have a net charge in a cell that is "
        "periodic along three axes, where a uniform background neutralises it: in a frame "
        f"{BackgroundEnergy.largest(energies).describe('up to ')}; {CONSEQUENCE}; --net_charge "
        "error refuses such frames",
    )


def unknown_total_charges(survey: Survey, labels: LabelSettings) -> tuple[str, ...]:
    """HDF5 files whose structures are taken to be neutral, because nothing is said."""
    if not labels.structure.fixes_total_charge:
        return ()
    return tuple(
        f"The HDF5 file {path} does not hold total charges (mace_prepare_data leaves them out, "
        f"{COMMAND} keeps them): its structures are taken to be neutral"
        for path in sorted(survey.without_total_charge)
    )


def summary(
    args: argparse.Namespace,
    survey: Survey,
    weights: Sequence[TermWeights],
    settings: LabelSettings,
) -> tuple[str, ...]:
    """How many frames carry each label, and which labels are not used."""
    trained = {term.name: term for term in weights}
    lines = []
    for flags in LABELS:
        counts = {role: survey.count(role, flags.label) for role in (TRAIN, VALID, TEST)}
        totals = {role: len(survey.select(role)) for role in (TRAIN, VALID, TEST)}
        if not any(counts.values()):
            continue
        text = ", ".join(
            f"{counts[role]} of {totals[role]} frames of the {role.replace('_', ' ')}"
            for role in counts
            if totals[role]
        )
        use = "not trained"
        if flags.quantity in trained:
            term = trained[flags.quantity]
            use = f"weight {term.stage_one:g}, in stage two {term.stage_two:g}"
            use += f" ({term.note})" if term.note else ""
        elif flags.quantity == quantities.CHARGES and settings.macro_dipole:
            use = "not trained unless --charges_key or --charges_weight is given"
        elif flags.quantity == quantities.POLARIZABILITY:
            use = "not trained without --polarizability_head local"
        lines.append(f"Label {getattr(args, flags.key_flag)} ({flags.quantity}): {text}; {use}")
    if settings.given_charges:
        count = survey.count(TRAIN, quantities.GIVEN_CHARGES)
        lines.append(
            f"Given charges {args.given_charges_key}: {count} of {len(survey.select(TRAIN))} "
            "frames of the train file"
        )
    return tuple(lines)
