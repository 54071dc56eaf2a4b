"""The command line of ``mace_smile_set_field``."""

import argparse
import logging
from pathlib import Path

from mace_smile.errors import UserError
from metatensor_models.fields import FIELD_KINDS, parse_fields
from metatensor_models.frame_check import add_frame_flags, frame_check_from_arguments
from metatensor_models.set_field import NewFields, set_fields
from metatensor_models.voltages import add_field_flags, parse_voltages


def build_parser() -> argparse.ArgumentParser:
    """Parser of ``mace_smile_set_field``."""
    parser = argparse.ArgumentParser(
        prog="mace_smile_set_field",
        description="Replace the fields of an exported model; the .model it came from is not "
        "needed.",
    )
    parser.add_argument("model", help=".pt file that mace_smile_export wrote")
    parser.add_argument("-o", "--output", required=True, help="file to write")
    add_field_flags(parser)
    parser.add_argument(
        "--add", action="store_true", help="keep the fields of the file, but for equal names"
    )
    parser.add_argument(
        "--field_kind", choices=FIELD_KINDS, help="of all fields (that of the file)"
    )
    add_frame_flags(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")
    return parser


def set_field_from_arguments(arguments: argparse.Namespace) -> None:
    """Run the command.

    :raises UserError: for flags that contradict each other, and what cannot be set.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    new = NewFields(
        fields=parse_fields(arguments.field),
        voltages=parse_voltages(arguments.voltage, arguments.length),
        add=arguments.add,
        field_kind=arguments.field_kind,
    )
    if not new.fields and not new.voltages:
        raise UserError(
            "no field was given; name one with --field NAME=ex,ey,ez or --voltage V --length L"
        )
    if (
        arguments.frame is not None
        and Path(arguments.frame).resolve() == Path(arguments.output).resolve()
    ):
        raise UserError(f"the output '{arguments.output}' is the input `frame`; choose another -o")
    frame = frame_check_from_arguments(arguments)
    set_fields(arguments.model, arguments.output, new, arguments.overwrite, frame)
