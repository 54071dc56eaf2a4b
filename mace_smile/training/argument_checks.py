"""MACE's own flags that do not go together with charges, refused before anything is read."""

import argparse
import importlib.util
import json
from pathlib import Path

from mace_smile.errors import UserError
from mace_smile.model.files import check_device
from mace_smile.training.acceleration_checks import check_acceleration
from mace_smile.training.flags import LABEL_KEYS
from mace_smile.training.head_checks import check_heads
from mace_smile.training.input_files import check_files
from mace_smile.training.literals import is_number, read_weights
from mace_smile.training.number_checks import check_numbers
from mace_smile.training.ranks import check_ranks

MODELS = ("MACE", "ScaleShiftMACE")
DIPOLE_LOSSES = ("dipole", "dipole_polar", "energy_forces_dipole")
DIPOLE_TABLES = ("DipoleRMSE", "DipoleMAE", "DipolePolarRMSE", "EnergyDipoleRMSE")
SCHEDULERS = ("ExponentialLR", "ReduceLROnPlateau")
LEARNING_RATE_FACTORS = tuple(
    f"{group}_lr_factor"
    for group in ("embedding", "interactions", "products", "readouts", "charge_heads")
)


def check_mace_flags(args: argparse.Namespace) -> None:
    """Refuse flags of MACE that cannot work here, or would do nothing.

    :raises UserError: naming the flag, its value and the remedy.
    """
    if args.model not in MODELS:
        raise UserError(
            f"--model {args.model} cannot carry charges here; use --model {' or '.join(MODELS)}"
        )
    if args.loss in DIPOLE_LOSSES:
        raise UserError(
            f"--loss {args.loss} belongs to MACE's dipole models; use another --loss, for "
            "example weighted: the dipole has its own weight, --macro_dipole_weight"
        )
    if args.error_table in DIPOLE_TABLES:
        raise UserError(
            f"--error_table {args.error_table} belongs to MACE's dipole models; use for example "
            "PerAtomRMSE: columns for dipoles and charges are added to every table"
        )
    for name in ("dipole_weight", "swa_dipole_weight"):
        if getattr(args, name) != 1.0:
            ours = name.replace("dipole", "macro_dipole")
            raise UserError(
                f"--{name} has no effect here: it belongs to MACE's dipole models; use --{ours}"
            )
    if not args.name or Path(args.name).name != args.name:
        raise UserError(f"--name is '{args.name}' but must be part of the name of a file")
    if args.use_so3:
        raise UserError("--use_so3 True is an option MACE 0.3.16 cannot build; leave it out")
    if args.lbfgs and args.optimizer != "adam":
        raise UserError(
            f"--optimizer {args.optimizer} has no effect beside --lbfgs, which replaces it; leave "
            "one of the two out"
        )
    check_acceleration(args)
    check_device(args.device)
    check_numbers(args)
    check_ranks(args)
    if args.scheduler not in SCHEDULERS:
        raise UserError(f"--scheduler is {args.scheduler} but must be {' or '.join(SCHEDULERS)}")
    _check_learning_rates(args.lr_params_factors)
    try:
        read_weights(args.config_type_weights)
    except ValueError as error:
        raise UserError(
            f"--config_type_weights cannot be used ({error}); give a dictionary such as "
            "'{\"Default\": 1.0}' of weights that are not negative"
        ) from error
    check_heads(args)
    for package, wanted in (
        ("schedulefree", args.optimizer == "schedulefree"),
        ("wandb", args.wandb),
    ):
        if wanted and importlib.util.find_spec(package) is None:
            raise UserError(f"this run needs the package {package}: pip install {package}")
    check_files(args)


def _check_learning_rates(text: str) -> None:
    """Refuse factors of learning rates that cannot be read, or belong to no group."""
    try:
        factors = json.loads(text)
        if not isinstance(factors, dict):
            raise ValueError("it is none")
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"--lr_params_factors is {text!r} but must be a dictionary in JSON ({error})"
        ) from error
    unknown = set(factors) - set(LEARNING_RATE_FACTORS)
    if unknown:
        raise UserError(
            f"--lr_params_factors has {', '.join(sorted(unknown))} but only "
            f"{', '.join(LEARNING_RATE_FACTORS)} have an effect"
        )
    for name, factor in factors.items():
        if not is_number(factor) or factor < 0:
            raise UserError(
                f"--lr_params_factors has {factor!r} for {name} but must have a number, zero or "
                "positive"
            )


def fill_label_keys(args: argparse.Namespace) -> None:
    """Give the keys of labels that were not given their defaults, in place."""
    for name, key in LABEL_KEYS.items():
        if getattr(args, name) is None:
            setattr(args, name, key)
