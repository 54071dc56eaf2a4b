"""The flags of ``mace_smile_fit_screening``."""

import argparse

from mace_smile.evaluation.screening_factor import FITS, LEAST_SQUARES
from mace_smile.io.born_order import CHOICES, FIELD_FIRST, KEY
from mace_smile.model.options import BORN_CHARGE_METHODS


def build_fit_parser() -> argparse.ArgumentParser:
    """The flags of the command."""
    parser = argparse.ArgumentParser(
        description="Fit the one factor from the charges of a model to Born effective charges, for "
        "a model whose charges were trained on energies and forces, and write the model with "
        "--screening global and this factor. Energies, forces and stresses stay as they are.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("model", help="the .model file, with --screening none or global")
    parser.add_argument(
        "--configs", nargs="+", required=True, help="frames with Born charges (extended XYZ)"
    )
    parser.add_argument("-o", "--output", required=True, help="the .model file to write")
    parser.add_argument("--fit", choices=FITS, default=LEAST_SQUARES, help="factor to write")
    parser.add_argument("--becs_key", default=KEY, help="key of the Born charges, nine columns")
    parser.add_argument(
        "--becs_order", choices=CHOICES, default=FIELD_FIRST, help="which index comes first"
    )
    parser.add_argument(
        "--class_key", help="entry of the headers that names classes, not the number of atoms"
    )
    parser.add_argument(
        "--group_key",
        help="entry of the headers that names frames which are drawn together, such as an MD run",
    )
    parser.add_argument(
        "--born_charge_method",
        choices=BORN_CHARGE_METHODS,
        help="derivative in periodic cells; that of the model where it is not given",
    )
    parser.add_argument(
        "--bootstrap", type=int, default=500, help="resamples of the frames for uncertainties"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the resamples")
    parser.add_argument(
        "--json", action="store_true", help="write all numbers beside the output, as .json"
    )
    parser.add_argument(
        "--trust", action="store_true", help="run whatever code the model file holds"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")
    parser.add_argument("--batch_size", type=int, default=8, help="structures in one call")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--head", help="head of a multi-head model; the last if not given")
    return parser
