"""Checks of a run that need both the flags and the frames: Born charges and screening factors."""

import argparse
import dataclasses
from collections.abc import Sequence

import numpy as np

from mace_smile import quantities
from mace_smile.errors import UserError
from mace_smile.io.born_files import MOST_FRAMES, order_of_frames
from mace_smile.io.born_order import DISPLACEMENT_FIRST, FIELD_FIRST, born_charges_of
from mace_smile.model.options import SmileOptions
from mace_smile.training.input_files import heads_of
from mace_smile.training.labels import LabelSettings
from mace_smile.training.losses import TermWeights
from mace_smile.training.survey import TRAIN, Survey, key_specification

#: Largest components of Born effective charges in e that no file should be outside of.
SIZES = (0.01, 50.0)


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


def with_order(args: argparse.Namespace, survey: Survey, labels: LabelSettings) -> LabelSettings:
    """The labels of a run, with the order of Born effective charges in the files of each head.

    :raises UserError: for an order that contradicts the data or headers of a file.
    """
    if labels.ignores_born_effective_charges or not labels.born_effective_charges:
        return labels
    exchanged = set()
    for head, files in survey.born_frames.items():
        keys = key_specification(args, head)
        order = order_of_frames(
            files,
            heads_of(args).get(head, {}).get("becs_order", args.becs_order) or FIELD_FIRST,
            keys.arrays_keys[quantities.BORN_EFFECTIVE_CHARGES],
            keys.info_keys[quantities.DIPOLE],
        )
        if order == DISPLACEMENT_FIRST:
            exchanged.add(head)
    return dataclasses.replace(labels, displacement_first_heads=frozenset(exchanged))


def with_order_noted(weights: Sequence[TermWeights], labels: LabelSettings) -> list[TermWeights]:
    """Terms of the loss that say where the files have the displacement index first."""
    heads = sorted(labels.displacement_first_heads)
    note = DISPLACEMENT_FIRST if heads == ["Default"] else f"{DISPLACEMENT_FIRST}: {heads}"
    return [
        dataclasses.replace(term, note=note)
        if heads and term.name == quantities.BORN_EFFECTIVE_CHARGES
        else term
        for term in weights
    ]


def unlikely_sizes(args: argparse.Namespace, survey: Survey) -> list[str]:
    """Warnings for the log: files whose Born effective charges can hardly be in e."""
    lines = []
    for head, files in survey.born_frames.items():
        key = key_specification(args, head).arrays_keys[quantities.BORN_EFFECTIVE_CHARGES]
        for path, frames in files.items():
            largest = max(float(np.abs(born_charges_of(atoms, key)).max()) for atoms in frames)
            if not SIZES[0] < largest < SIZES[1]:
                lines.append(
                    f"The largest component of the Born effective charges '{key}' of {path} is "
                    f"{largest:.2g}: they must be in e"
                )
    return lines


def sampled_files(survey: Survey) -> list[str]:
    """Lines for the log: files of whose frames the order was tested on a sample."""
    return [
        f"The order of the indices of Born effective charges was tested on {len(frames)} frames "
        f"of {path}"
        for files in survey.born_frames.values()
        for path, frames in files.items()
        if len(frames) >= MOST_FRAMES
    ]


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


def screening_remedy(args: argparse.Namespace, label: str) -> str:
    """What else can be done where a screening has no labels; empty for other labels.

    :param args: with ``screening``.
    :param label: that is in no training frame.
    """
    if label != quantities.BORN_EFFECTIVE_CHARGES or args.screening in (None, "none"):
        return ""
    if args.screening == "global":
        return (
            " --screening global wants them unless --screening_value is a number; "
            "mace_smile_fit_screening fits the factor to them after a training without them."
        )
    return (
        f" --screening {args.screening} wants them; mace_smile_train_screening gives Born charges "
        "to a model that was trained with --screening none."
    )
