"""MACE's own flags that do not go together with charges, refused before anything is read."""

import argparse
import ast
import importlib.util
import json
from pathlib import Path
from typing import Any

from mace_smile.errors import UserError
from mace_smile.model.files import check_device
from mace_smile.training.flags import LABEL_KEYS

MODELS = ("MACE", "ScaleShiftMACE")
DIPOLE_LOSSES = ("dipole", "dipole_polar", "energy_forces_dipole")
DIPOLE_TABLES = ("DipoleRMSE", "DipoleMAE", "DipolePolarRMSE", "EnergyDipoleRMSE")
DATABASES = (".h5", ".hdf5", ".lmdb", ".aselmdb", ".mdb", ".db")
SWITCHES = {
    "enable_cueq": "the charge heads have no cuEquivariance version",
    "only_cueq": "the charge heads have no cuEquivariance version",
    "enable_oeq": "the charge heads have no OpenEquivariance version",
    "lora": "the charge heads are trained in full, which has not been tried with LoRA",
}
DOWNLOADED = ("mp", "omat", "matpes_pbe", "matpes_r2scan")
SCHEDULERS = ("ExponentialLR", "ReduceLROnPlateau")
LEARNING_RATE_FACTORS = tuple(
    f"{group}_lr_factor"
    for group in ("embedding", "interactions", "products", "readouts", "charge_heads")
)
FILES = ("train_file", "valid_file", "test_file")


def check_mace_flags(args: argparse.Namespace) -> None:
    """Refuse flags of MACE that cannot work here, or would do nothing.

    :raises UserError: naming the flag, its value and the remedy.
    """
    if args.model not in MODELS:
        raise UserError(
            f"--model {args.model} cannot carry charges here; use --model {' or '.join(MODELS)}"
        )
    for switch, reason in SWITCHES.items():
        if getattr(args, switch):
            raise UserError(f"--{switch} is not supported because {reason}; leave it out")
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
    check_device(args.device)
    if args.scheduler not in SCHEDULERS:
        raise UserError(f"--scheduler is {args.scheduler} but must be {' or '.join(SCHEDULERS)}")
    _check_learning_rates(args.lr_params_factors)
    for package, wanted in (
        ("schedulefree", args.optimizer == "schedulefree"),
        ("wandb", args.wandb),
    ):
        if wanted and importlib.util.find_spec(package) is None:
            raise UserError(f"this run needs the package {package}: pip install {package}")
    if args.test_dir is not None:
        raise UserError(
            f"--test_dir {args.test_dir} holds HDF5 files, which lack the labels of charges; "
            "give extended XYZ files with --test_file"
        )
    for head, files in files_by_head(args).items():
        for role, paths in files.items():
            for path in paths:
                _check_format(path, role, head)


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


def files_by_head(args: argparse.Namespace) -> dict[str, dict[str, list[str]]]:
    """Training, validation and test files of each head.

    :return: head name to role (``train_file``, ``valid_file``, ``test_file``) to paths. Replay
        data that MACE downloads itself is not among them.
    :raises UserError: when a head has no training file.
    """
    heads = heads_of(args) or {"Default": {}}
    files: dict[str, dict[str, list[str]]] = {}
    for head, settings in heads.items():
        files[head] = {}
        for role in FILES:
            # MACE takes the test file of a head from its own dictionary only.
            common = None if heads_of(args) and role == "test_file" else getattr(args, role)
            paths = settings.get(role, common)
            if not paths and role == "train_file":
                raise UserError(f"head '{head}' has no training file; use --train_file")
            files[head][role] = [paths] if isinstance(paths, str) else list(paths or [])
    if args.foundation_model is not None and args.multiheads_finetuning and args.pt_train_file:
        replay = {"train_file": args.pt_train_file, "valid_file": args.pt_valid_file}
        files["pt_head"] = {
            role: [path] for role, path in replay.items() if path and path not in DOWNLOADED
        }
    return files


def heads_of(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The dictionary of `--heads`; empty when there is none.

    :raises UserError: when its text is no dictionary of dictionaries.
    """
    if args.heads is None:
        return {}
    try:
        heads = ast.literal_eval(args.heads) if isinstance(args.heads, str) else args.heads
    except (ValueError, SyntaxError) as error:
        raise UserError(f"--heads cannot be read as a dictionary: {error}") from error
    if not isinstance(heads, dict) or not all(isinstance(head, dict) for head in heads.values()):
        raise UserError("--heads must be a dictionary from the name of a head to its settings")
    return heads


def fill_label_keys(args: argparse.Namespace) -> None:
    """Give the keys of labels that were not given their defaults, in place."""
    for name, key in LABEL_KEYS.items():
        if getattr(args, name) is None:
            setattr(args, name, key)


def _check_format(path: str, role: str, head: str) -> None:
    """Refuse missing files and databases."""
    if Path(path).suffix.lower() in DATABASES or Path(path).is_dir():
        raise UserError(
            f"{role} '{path}' is a database, which lacks the labels of charges; give an extended "
            "XYZ file"
        )
    if not Path(path).is_file():
        raise UserError(f"{role} '{path}' of head '{head}' does not exist")
