"""The flags of ``mace_smile_train_screening``."""

import argparse

from mace_smile.evaluation.screening_training import HEADS, DescentSettings
from mace_smile.io.born_order import CHOICES, FIELD_FIRST, KEY
from mace_smile.model.options import ACOUSTIC_SUM_RULES, BORN_CHARGE_METHODS


def build_screening_parser() -> argparse.ArgumentParser:
    """The flags of the command."""
    default = DescentSettings()
    parser = argparse.ArgumentParser(
        description="Train the Born effective charges of a finished model, and nothing else: an "
        "uncoupled readout, or a local screening factor of each atom. Energies, forces, stresses "
        "and energy charges stay as they are.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("model", help="the .model file; with uncoupled also one of MACE, or a foundation model")
    add("--configs", nargs="+", required=True, help="frames with Born charges (extended XYZ)")
    add("--valid_configs", nargs="+", default=[], help="frames that choose the best epoch")
    add("--valid_fraction", type=float, default=0.1, help="of --configs, without --valid_configs")
    add("--screening", choices=tuple(HEADS), required=True, help="what is trained")
    add("-o", "--output", required=True, help="the .model file to write")
    add("--becs_key", default=KEY, help="key of the Born charges, nine columns")
    add("--becs_order", choices=CHOICES, default=FIELD_FIRST, help="which index comes first")
    add(
        "--born_charge_method",
        choices=BORN_CHARGE_METHODS,
        help="derivative in periodic cells; that of the model where it is not given",
    )
    add(
        "--acoustic_sum_rule",
        choices=ACOUSTIC_SUM_RULES,
        help="that of the model where it is not given",
    )
    add("--max_num_epochs", type=int, default=default.epochs, help="passes over the frames")
    add("--lr", type=float, default=default.learning_rate, help="learning rate at the start")
    add("--batch_size", type=int, default=default.batch_size, help="structures in one step")
    add("--seed", type=int, default=default.seed, help="of weights, split and order of frames")
    add("--trust", action="store_true", help="run whatever code the model file holds")
    add("--overwrite", action="store_true", help="replace an existing output")
    add("--device", default="cpu", help="cpu or cuda")
    add("--head", help="head of a multi-head model; the last if not given")
    return parser
