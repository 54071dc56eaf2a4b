"""Command-line flags of the preparation of data beside MACE's."""

import argparse
import os

from mace_smile.training.flags import FLAGS, LABEL_KEYS

FORMATS = ("hdf5", "lmdb")
#: Flags of the training that say where labels are.
LABEL_FLAGS = ("becs_key", "becs_order", "given_charges_key", "given_mask_key", "polarization_key")


def add_preparation_arguments(parser: argparse.ArgumentParser) -> None:
    """Add our flags to the parser of MACE's preparation.

    Keys of labels lose their defaults, so that one that was given and is found nowhere is an error.
    """
    group = parser.add_argument_group("charges", "labels of charges, dipoles and their derivatives")
    for flag in FLAGS:
        if flag.name in LABEL_FLAGS:
            text = flag.help
            group.add_argument(f"--{flag.name}", type=flag.type, choices=flag.choices, help=text)
    text = f"key of the total charge in e (default: {LABEL_KEYS['total_charge_key']})"
    group.add_argument("--total_charge_key", help=text)
    group.add_argument(
        "--format",
        choices=FORMATS,
        default="hdf5",
        help="hdf5: folders train, val and test as MACE has them; lmdb: files train.aselmdb and "
        "val.aselmdb",
    )
    group.add_argument(
        "--overwrite", action="store_true", default=False, help="replace files of an earlier run"
    )
    for action in parser._actions:
        if action.dest in LABEL_KEYS:
            action.default = None
        if action.dest == "num_process":
            action.default = max(1, (os.cpu_count() or 1) // 4)
