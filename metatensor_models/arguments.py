"""The command line of ``mace_smile_export``: flags, and the options they make."""

import argparse
import dataclasses
import logging
from pathlib import Path

import numpy as np

from mace_smile.errors import UserError
from mace_smile.model.files import load_model
from mace_smile.model.options import ACOUSTIC_SUM_RULES, BOUNDARIES, SmileOptions
from metatensor_models.export import DTYPES, export_model, own_boundary
from metatensor_models.fields import FIELD_KINDS, parse_fields
from metatensor_models.frame_check import add_frame_flags, frame_check_from_arguments
from metatensor_models.given_charges import GivenCharges, read_given_charges
from metatensor_models.options import ExportOptions
from metatensor_models.voltages import (
    add_field_flags,
    fields_of_voltages,
    join_fields,
    parse_voltages,
)


def build_parser() -> argparse.ArgumentParser:
    """Parser of ``mace_smile_export``."""
    parser = argparse.ArgumentParser(
        prog="mace_smile_export",
        description="Export a trained model as a metatomic file for ASE, i-PI and LAMMPS.",
    )
    parser.add_argument("model", help=".model file that mace_smile_run_train wrote")
    parser.add_argument("-o", "--output", help="file to write; NAME.pt for NAME.model")
    parser.add_argument(
        "--boundary",
        choices=BOUNDARIES,
        default="auto",
        help="auto: the model's own, else what the engine says; periodic, slab and open hold for "
        "engines that call every structure periodic (i-PI, often LAMMPS)",
    )
    parser.add_argument(
        "--slab_axis", type=int, choices=(0, 1, 2), help="cell axis across the slab (2)"
    )
    add_field_flags(parser)
    parser.add_argument(
        "--field_kind",
        choices=FIELD_KINDS,
        default="macroscopic",
        help="macroscopic: the field inside, forces Z^T E; vacuum: the field outside a slab, "
        "divided by 1 + chi along its normal",
    )
    parser.add_argument(
        "--field_order",
        type=int,
        choices=(1, 2),
        help="1: forces Z^T E alone; 2: those of the polarizability too (2 if the model has one)",
    )
    parser.add_argument(
        "--acoustic_sum_rule",
        choices=ACOUSTIC_SUM_RULES,
        help="subtract: Born charges add up to the total charge, each changed alike, so a field "
        "does not push the whole (that of the training); not for several domains",
    )
    add_frame_flags(parser)
    parser.add_argument("--dtype", choices=sorted(DTYPES), help="precision (that of the training)")
    parser.add_argument("--head", help="head to export of a model that has several")
    parser.add_argument(
        "--total_charge", type=float, default=0.0, help="net charge of every structure in e"
    )
    parser.add_argument(
        "--given_charges",
        metavar="FRAME.xyz",
        help="frame with the charges of some atoms, e.g. an electrode; the engine must keep its "
        "order of atoms",
    )
    parser.add_argument(
        "--given_charges_key", help="column of the given charges in e (that of the training)"
    )
    parser.add_argument(
        "--given_mask_key", help="column that is non-zero on these atoms (that of the training)"
    )
    parser.add_argument(
        "--trust", action="store_true", help="run whatever code the model file holds"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")
    return parser


def export_from_arguments(arguments: argparse.Namespace) -> None:
    """Run the command.

    :raises UserError: for flags that contradict each other, and what the export refuses.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if arguments.slab_axis is not None and arguments.boundary != "slab":
        raise UserError("`--slab_axis` has no effect without --boundary slab; add it")
    voltages = parse_voltages(arguments.voltage, arguments.length)
    fields = parse_fields(arguments.field)
    frame = frame_check_from_arguments(arguments)
    model = load_model(arguments.model, trust=arguments.trust)
    options = ExportOptions(
        boundary=arguments.boundary,
        slab_axis=2 if arguments.slab_axis is None else arguments.slab_axis,
        fields=fields,
        field_kind=arguments.field_kind,
        field_order=arguments.field_order,
        total_charge=arguments.total_charge,
        given_charges=given_charges_from_arguments(arguments, model.options),
        head=arguments.head,
        acoustic_sum_rule=arguments.acoustic_sum_rule,
    )
    if voltages:
        stored = own_boundary(model, options)
        cell = None if frame is None else np.array(frame.atoms.cell)
        others = fields_of_voltages(voltages, stored.boundary, stored.slab_axis, cell)
        joined = join_fields(options.fields, others)
        options = dataclasses.replace(options, fields=joined, voltages=voltages)
    output = Path(arguments.output or Path(arguments.model).with_suffix(".pt"))
    for name in ("model", "given_charges", "frame"):
        path = getattr(arguments, name)
        if path is not None and Path(path).resolve() == output.resolve():
            raise UserError(f"the output '{output}' is the input `{name}`; choose another -o")
    export_model(
        model,
        output,
        options,
        arguments.dtype,
        arguments.overwrite,
        Path(arguments.model).stem,
        frame,
    )


def given_charges_from_arguments(
    arguments: argparse.Namespace, options: SmileOptions
) -> GivenCharges | None:
    """Read the given charges, by default under the keys of the training.

    :raises UserError: for keys without a frame, or a frame without keys.
    """
    if arguments.given_charges is None:
        if arguments.given_charges_key or arguments.given_mask_key:
            raise UserError(
                "`--given_charges_key` and `--given_mask_key` have no effect without "
                "--given_charges FRAME.xyz; add it"
            )
        return None
    charges_key = arguments.given_charges_key or options.given_charges_key
    mask_key = arguments.given_mask_key or options.given_mask_key
    if charges_key is None or mask_key is None:
        raise UserError(
            "`--given_charges` needs to know the columns, and the model was trained without given "
            "charges; add --given_charges_key and --given_mask_key"
        )
    return read_given_charges(arguments.given_charges, charges_key, mask_key)
