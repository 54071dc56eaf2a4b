"""Checks of a run that need both the flags and the frames: dipoles and susceptibilities."""

import argparse
from collections.abc import Collection

from mace_smile import quantities
from mace_smile.errors import UserError
from mace_smile.model.options import SmileOptions
from mace_smile.training.labels import LabelSettings
from mace_smile.training.survey import TRAIN, Survey


def dipole_note(settings: LabelSettings) -> str:
    """What the log and the checkpoints say of the dipole term beside its weight."""
    if settings.dipole_quantum == 0:
        return settings.macro_dipole_norm
    return f"{settings.macro_dipole_norm}, modulo {settings.dipole_quantum} e"


#: Why chi cannot be found, and what would tell it.
UNKNOWN_SCALE = (
    "nothing tells chi, since learned charges and dipoles that grow with 1 + chi give the same "
    "dipoles of slabs; add dipoles of molecules or crystals, or given charges without a "
    "--given_susceptibility of their own"
)


def scale_is_known(options: SmileOptions, survey: Survey, trained: Collection[str]) -> bool:
    """Whether the data tell the scale of learned charges and dipoles apart from 1 + chi.

    :param options: of the model.
    :param trained: quantities with a term in the loss.
    """
    frames = survey.select(TRAIN)
    has_known_part = not options.has_given_susceptibility and any(
        frame.is_screened and frame.has_given_charges for frame in frames
    )
    return (
        has_known_part
        or options.has_electrostatics
        or quantities.CHARGES in trained
        or (options.has_coupled_screening and quantities.BORN_EFFECTIVE_CHARGES in trained)
        or any(frame.tells_scale for frame in frames)
    )


def check_dipoles(
    args: argparse.Namespace,
    options: SmileOptions,
    survey: Survey,
    trained: Collection[str],
    before: SmileOptions | None = None,
) -> None:
    """Refuse dipole flags without effect, and heads that nothing trains or has trained.

    :param options: of the model.
    :param trained: quantities with a term in the loss.
    :param before: options of the model the run starts from.
    :raises UserError: with the remedy.
    """
    _check_heads_are_trained(options, trained, before)
    frames = survey.select(TRAIN)
    has_term = quantities.MACRO_DIPOLE in trained
    if args.dipole_quantum not in (None, "none") and not any(
        frame.is_periodic_dipole for frame in frames
    ):
        raise UserError(
            f"--dipole_quantum {args.dipole_quantum} has no effect here: no training frame has a "
            "dipole label along a periodic axis; ask for it with --dipole_axes xyz, give "
            "polarizations with --polarization_key, or leave it out"
        )
    if args.macro_dipole_norm is not None and not has_term:
        raise UserError(
            f"--macro_dipole_norm {args.macro_dipole_norm} has no effect here: no training frame "
            "has a dipole; add dipoles, or leave it out"
        )
    screened = [frame for frame in frames if frame.is_screened]
    was_learned = before is not None and before.learn_susceptibility
    if options.learn_susceptibility and not (was_learned or (has_term and screened)):
        raise UserError(
            "--susceptibility learned: nothing trains it, since no training frame is a slab with "
            "a dipole along its normal; add such frames, or give a number"
        )
    if options.learn_susceptibility and not (
        was_learned or scale_is_known(options, survey, trained)
    ):
        raise UserError(f"--susceptibility learned: {UNKNOWN_SCALE}, or give a number")
    if options.learn_given_susceptibility and not (
        has_term and any(quantities.GIVEN_CHARGES in frame.present for frame in screened)
    ):
        raise UserError(
            "--given_susceptibility learned: nothing trains it, since no training frame is a slab "
            "with given charges and a dipole along its normal; add such frames, or give a number"
        )


def _check_heads_are_trained(
    options: SmileOptions, trained: Collection[str], before: SmileOptions | None
) -> None:
    """Charges need electrostatics or a label; atomic dipoles a dipole, or an energy of theirs."""
    has_charges = before is not None and before.has_charges
    has_dipoles = before is not None and before.has_atomic_dipoles
    telling = {quantities.MACRO_DIPOLE, quantities.CHARGES}
    has_dipole_labels = quantities.MACRO_DIPOLE in trained
    if options.has_coupled_screening:
        telling.add(quantities.BORN_EFFECTIVE_CHARGES)
        has_dipole_labels |= quantities.BORN_EFFECTIVE_CHARGES in trained
    labels = telling & set(trained)
    if options.has_charges and not (options.has_electrostatics or labels or has_charges):
        raise UserError(
            "nothing trains the charges: there is no electrostatic energy and no training frame "
            "has a dipole or charges; add such labels, or use --electrostatics auto or "
            "--charge_head none"
        )
    if options.has_atomic_dipoles and not (
        has_dipole_labels or options.dipoles_in_energy or has_dipoles
    ):
        raise UserError(
            "nothing trains the atomic dipoles: no training frame has a dipole that counts; add "
            "dipoles, or use --dipoles_in_energy True or --dipole_head none"
        )
