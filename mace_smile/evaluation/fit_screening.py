"""What ``mace_smile_fit_screening`` does: a factor fitted afterwards, and the model that has it.

Energies and forces fix charges up to a factor and a sign; Born charges that are derivatives of the
charges tell both (S3, S4).
"""

import argparse
import dataclasses
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mace_smile import quantities
from mace_smile.atomic_write import complete_or_absent
from mace_smile.errors import UserError
from mace_smile.evaluation.files import check_output
from mace_smile.evaluation.screening_factor import (
    FEWEST_GROUPS,
    FITS,
    Components,
    check_slopes,
    fit_factor,
)
from mace_smile.evaluation.screening_groups import component_groups
from mace_smile.evaluation.screening_labels import LabelledFrame, components_of, read_labelled
from mace_smile.evaluation.screening_report import BEFORE, GroupFit, ScreeningReport
from mace_smile.frozen.groups import group_names
from mace_smile.model.files import load_model
from mace_smile.model.rescaling import check_rescaling, with_screening_value
from mace_smile.training.checkpoints import write_atomically

logger = logging.getLogger(__name__)

#: Smallest number of resamples that gives an uncertainty.
FEWEST_RESAMPLES = 10


def fit_screening(args: argparse.Namespace) -> ScreeningReport:
    """Fit the factor, print both tables, and write the model.

    :param args: of :func:`~mace_smile.evaluation.screening_flags.build_fit_parser`.
    :raises UserError: for files that cannot be read or must not be replaced, models without such a
        factor, frames without labels, and what the model refuses.
    """
    output = Path(args.output)
    numbers = output.with_suffix(".json")
    check_fit_flags(args, output, numbers)
    model = load_model(args.model, args.device, trust=args.trust)
    check_rescaling(model.options)
    if args.born_charge_method is not None:
        # Also refuses, before any label is read, a backbone the method cannot follow.
        model = with_screening_value(model, model.scale_value(), args.born_charge_method)
    frames = read_labelled(args.configs, args.becs_key, args.becs_order)
    groups = component_groups(frames, model.options, args.class_key)
    components = components_of(
        model, frames, args.batch_size, args.head, progress=sys.stderr.isatty()
    )
    if args.group_key is not None:
        components = drawn_together(components, frames, args.group_key)
    report = fit_groups(
        components, groups, args.fit, model.scale_value(), args.bootstrap, args.seed
    )
    print(report.table())
    print(report.group_table())
    if not report.has_clear_sign():
        logger.warning(
            "the factor cannot be told from zero: the charges have little to do with the Born "
            "charges of these frames; use more frames, or train with --screening local or uncoupled"
        )
    fitted = with_screening_value(model, report.value)
    labels = model.options.labels_with(quantities.BORN_EFFECTIVE_CHARGES)
    fitted.options = dataclasses.replace(fitted.options, training_labels=labels)
    write_atomically(fitted, output)
    if args.json:
        with complete_or_absent(numbers) as unfinished:
            unfinished.write_text(json.dumps(report.content(), indent=1) + "\n")
    print(
        f"{output} has screening global with the factor {report.value:.6g}; energies, forces and "
        "stresses are unchanged, dipoles from charges are "
        f"{report.value / report.before:.4g} times what they were"
    )
    return report


def drawn_together(components: Components, frames: Sequence[LabelledFrame], key: str) -> Components:
    """The components, with frames of one group drawn together for the uncertainties.

    :param frames: the components belong to, in order.
    :param key: entry of ``atoms.info`` that names the group.
    :raises UserError: for a frame without it, and a single group.
    """
    names = group_names([frame.atoms for frame in frames], key, None)
    distinct = list(dict.fromkeys(names))
    if len(distinct) < FEWEST_GROUPS:
        raise UserError(
            f"all frames have '{key}' = '{distinct[0]}' (--group_key), so there is nothing to draw "
            "from; leave it out, or add frames of other groups"
        )
    numbers = np.array([distinct.index(name) for name in names])
    return dataclasses.replace(components, groups=numbers[components.frames])


def check_fit_flags(args: argparse.Namespace, output: Path, numbers: Path) -> None:
    """Refuse files that must not be replaced, and numbers that are none.

    :raises UserError: with the remedy.
    """
    inputs = {Path(name).resolve() for name in (args.model, *args.configs)}
    for path in (output, numbers) if args.json else (output,):
        if path.resolve() in inputs:
            raise UserError(f"the output '{path}' is an input; choose another name")
        check_output(path, args.overwrite)
    if args.json and numbers == output:
        raise UserError(f"the output '{output}' is the name of the --json file; end it in .model")
    if args.bootstrap < FEWEST_RESAMPLES:
        raise UserError(f"--bootstrap is {args.bootstrap} but must be at least {FEWEST_RESAMPLES}")
    for flag, least in (("batch_size", 1), ("seed", 0)):
        if getattr(args, flag) < least:
            raise UserError(f"--{flag} is {getattr(args, flag)} but must be at least {least}")


def fit_groups(
    components: Components,
    groups: Mapping[str, np.ndarray],
    fit: str,
    before: float,
    n_resamples: int,
    seed: int,
) -> ScreeningReport:
    """Both fits to all components, and to each group alone.

    :param groups: masks over the components.
    :param fit: the fit whose factor is written.
    :param before: factor of the model as it was.
    :param n_resamples: of the frames.
    :raises UserError: where the charges are zero.
    """
    check_slopes(components)
    overall = {name: fit_factor(components, name, n_resamples, seed) for name in FITS}
    known = {**{name: estimate.value for name, estimate in overall.items()}, BEFORE: before}

    def of_group(mask: np.ndarray | None) -> GroupFit:
        part = components if mask is None else components.select(mask)
        factors = overall
        if mask is not None:
            factors = {}
            if part.slopes.any():
                factors = {name: fit_factor(part, name, n_resamples, seed) for name in FITS}
        errors = {name: part.errors(value) for name, value in known.items()}
        return GroupFit(part.n_frames, len(part.slopes) // 9, factors, errors)

    fits = {name: of_group(mask) for name, mask in groups.items()}
    return ScreeningReport(fit, before, of_group(None), fits)
