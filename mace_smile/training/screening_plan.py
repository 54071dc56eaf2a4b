"""Checks of a run that need both the flags and the frames: screening factors."""

import argparse
import dataclasses
from collections.abc import Sequence

from mace_smile import quantities
from mace_smile.errors import UserError
from mace_smile.model.options import SmileOptions
from mace_smile.training.labels import LabelSettings
from mace_smile.training.losses import TermWeights
from mace_smile.training.survey import TRAIN, Survey


def check_screening(
    args: argparse.Namespace, options: SmileOptions, survey: Survey, weights: Sequence[TermWeights]
) -> None:
    """Refuse screening factors that nothing trains and nobody gave.

    :param options: of the model.
    :param weights: terms of the loss.
    :raises UserError: with the remedy.
    """
    if not options.has_coupled_screening or not options.has_charges:
        return
    name = quantities.BORN_EFFECTIVE_CHARGES
    is_labelled = survey.count(TRAIN, name) > 0
    if is_labelled and _have_weight(weights):
        return
    if options.has_local_screening:
        wish = "--screening local"
    elif options.learn_screening_value:
        wish = "--screening_value learned"
    elif options.screening_value is None and args.susceptibility is None:
        wish = "--screening global without --screening_value"
    else:
        return
    reason = (
        f"--{name}_weight is 0"
        if is_labelled
        else f"no training frame has Born effective charges under the key '{args.becs_key}' "
        "(--becs_key) that count"
    )
    raise UserError(
        f"{wish} takes the factor from energy charges to response charges from Born effective "
        f"charges, but {reason}; add such labels, or give the factor with --screening global "
        "--screening_value VALUE: near the square root of the optical dielectric constant, such "
        "as 1.33 for water"
    )


def without_idle_labels(
    options: SmileOptions, labels: LabelSettings, weights: Sequence[TermWeights]
) -> LabelSettings:
    """The labels of a run, without Born effective charges that cost derivatives and train nothing.

    :param options: of the model.
    :param weights: terms of the loss.
    """
    is_idle = options.has_coupled_screening and not _have_weight(weights)
    return dataclasses.replace(labels, ignores_born_effective_charges=is_idle)


def _have_weight(weights: Sequence[TermWeights]) -> bool:
    """Whether Born effective charges have a weight above zero in a stage of the training."""
    return any(
        term.stage_one > 0 or term.stage_two > 0
        for term in weights
        if term.name == quantities.BORN_EFFECTIVE_CHARGES
    )
