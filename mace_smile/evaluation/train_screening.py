"""What ``mace_smile_train_screening`` does: local or uncoupled Born charges of a finished model."""

import argparse
import logging
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from prettytable import PrettyTable

from mace_smile import quantities
from mace_smile.errors import UserError
from mace_smile.evaluation.files import check_output
from mace_smile.evaluation.screening_factor import LEAST_SQUARES, check_slopes, fit_factor
from mace_smile.evaluation.screening_labels import LabelledFrame, components_of, read_labelled
from mace_smile.evaluation.screening_training import (
    HEADS,
    DescentSettings,
    errors_of,
    prepare,
    train_screening_head,
)
from mace_smile.frozen.backbone import load_any
from mace_smile.model.options import SmileOptions
from mace_smile.model.rescaling import with_screening
from mace_smile.model.smile_mace import SmileMACE
from mace_smile.training.checkpoints import write_atomically

logger = logging.getLogger(__name__)


def train_screening(args: argparse.Namespace) -> SmileMACE:
    """Train the head of the screening, print errors, and write the model.

    :param args: of :func:`~mace_smile.evaluation.train_screening_flags.build_screening_parser`.
    :raises UserError: for flags, files, models and frames that cannot be used.
    """
    output = Path(args.output)
    settings = _settings(args, output)
    model = _load(args)
    labelled = read_labelled(args.configs, args.becs_key, args.becs_order)
    if args.valid_configs:
        valid = read_labelled(args.valid_configs, args.becs_key, args.becs_order)
        train = labelled
    else:
        train, valid = _split(labelled, args.valid_fraction, args.seed)
    progress = sys.stderr.isatty()
    torch.manual_seed(args.seed)
    result = _with_screening(model, args, train)
    sets = {
        "train": prepare(result, train, args.head, progress),
        "valid": prepare(result, valid, args.head, progress),
    }
    before = {name: errors_of(result, frames, args.batch_size) for name, frames in sets.items()}
    logger.info(
        "Training --screening %s on %d frames, %d for validation; energies, forces and charges "
        "stay as they are",
        args.screening,
        len(train),
        len(valid),
    )
    train_screening_head(result, sets["train"], sets["valid"], settings, progress)
    table = PrettyTable(["frames of", "number", "MAE / e", "RMSE / e", "MAE before", "RMSE before"])
    table.align = "r"
    for name, frames in sets.items():
        errors = (*errors_of(result, frames, args.batch_size), *before[name])
        table.add_row([name, len(frames), *(f"{error:.4f}" for error in errors)])
    print(table)
    write_atomically(result, output)
    print(f"{output} has screening {args.screening}; energies, forces and charges are unchanged")
    return result


def _settings(args: argparse.Namespace, output: Path) -> DescentSettings:
    """How to train, from the flags.

    :raises UserError: for numbers that are none, and files that must not be replaced.
    """
    inputs = (args.model, *args.configs, *args.valid_configs)
    if output.resolve() in {Path(name).resolve() for name in inputs}:
        raise UserError(f"the output '{output}' is an input; choose another name")
    check_output(output, args.overwrite)
    for flag, least in (("batch_size", 1), ("seed", 0), ("max_num_epochs", 1)):
        if getattr(args, flag) < least:
            raise UserError(f"--{flag} is {getattr(args, flag)} but must be at least {least}")
    if not (math.isfinite(args.lr) and args.lr > 0):
        raise UserError(f"--lr is {args.lr} but must be positive and finite")
    if not 0.0 < args.valid_fraction < 1.0:
        raise UserError(f"--valid_fraction is {args.valid_fraction} but must lie between 0 and 1")
    if args.born_charge_method is not None and args.screening != "local":
        raise UserError(
            f"--born_charge_method {args.born_charge_method} has no effect here: --screening "
            "uncoupled differentiates nothing; leave it out"
        )
    return DescentSettings(args.max_num_epochs, args.lr, args.batch_size, args.seed)


def _load(args: argparse.Namespace) -> SmileMACE:
    """The given model; a MACE becomes one without charges.

    :raises UserError: for files that cannot be read, and local factors without charges.
    """
    loaded = load_any(args.model, None, args.device, args.trust)
    model = loaded.smile
    if model is None:
        model = SmileMACE(loaded.backbone, SmileOptions(charge_head="none", electrostatics="none"))
    if args.screening == "local" and not model.options.has_charges:
        raise UserError(
            f"the model '{args.model}' has no charges that --screening local could scale; train "
            "them first (mace_smile_train_charges, or mace_smile_run_train), or use --screening "
            "uncoupled"
        )
    return model.to(args.device).eval()


def _split(
    frames: Sequence[LabelledFrame], fraction: float, seed: int
) -> tuple[list[LabelledFrame], list[LabelledFrame]]:
    """Frames to train on and to validate on, drawn at random.

    :raises UserError: for a single frame.
    """
    if len(frames) < 2:
        raise UserError(
            "one frame has Born charges, which is too few to set one aside for validation; add "
            "frames, or give --valid_configs"
        )
    order = np.random.default_rng(seed).permutation(len(frames))
    n_valid = min(max(1, round(fraction * len(frames))), len(frames) - 1)
    chosen = set(order[:n_valid].tolist())
    train = [frame for number, frame in enumerate(frames) if number not in chosen]
    return train, [frames[number] for number in sorted(chosen)]


def _with_screening(
    model: SmileMACE, args: argparse.Namespace, train: Sequence[LabelledFrame]
) -> SmileMACE:
    """The model with the screening that is trained: its own head, or a new one.

    Local factors start from the one factor that fits best, where the energy does not depend on it.

    :raises UserError: for charges that are zero.
    """
    options = model.options
    has_head = options.screening == args.screening
    value = model.scale_value()
    if args.screening == "local" and not has_head:
        try:
            components = components_of(model, train, args.batch_size, args.head)
        except UserError as error:
            logger.info("The factors start from %.4f, that of the model: %s", value, error)
        else:
            check_slopes(components)
            value = fit_factor(components, LEAST_SQUARES, 0, 0).value
            logger.info("The factors start from %.4f, the one that fits best", value)
    result = with_screening(
        model,
        screening=args.screening,
        screening_value=value,
        learn_screening_value=False,
        born_charge_method=args.born_charge_method or options.born_charge_method,
        acoustic_sum_rule=args.acoustic_sum_rule or options.acoustic_sum_rule,
        training_labels=options.labels_with(quantities.BORN_EFFECTIVE_CHARGES),
    )
    assert HEADS[args.screening] in result.charge_heads
    return result
