"""MACE's own flags that do not go together with charges, refused before anything is read."""

import argparse
import importlib.util
import json

from mace_smile.errors import UserError
from mace_smile.model.files import check_device
from mace_smile.training.acceleration_checks import check_acceleration
from mace_smile.training.flags import LABEL_KEYS
from mace_smile.training.input_files import check_files
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
    check_acceleration(args)
    check_device(args.device)
    check_numbers(args)
    check_ranks(args)
    if args.scheduler not in SCHEDULERS:
        raise UserError(f"--scheduler is {args.scheduler} but must be {' or '.join(SCHEDULERS)}")
    _check_learning_rates(args.lr_params_factors)
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
        unknown = set(factors) - set(LEARNING_RATE_FACTORS)
    except (ValueError, TypeError) as error:
        raise UserError(
            f"--lr_params_factors is {text!r} but must be a dictionary in JSON ({error})"
        ) from error
    if unknown:
        raise UserError(
            f"--lr_params_factors has {', '.join(sorted(unknown))} but only "
            f"{', '.join(LEARNING_RATE_FACTORS)} have an effect"
        )


def fill_label_keys(args: argparse.Namespace) -> None:
    """Give the keys of labels that were not given their defaults, in place."""
    for name, key in LABEL_KEYS.items():
        if getattr(args, name) is None:
            setattr(args, name, key)
