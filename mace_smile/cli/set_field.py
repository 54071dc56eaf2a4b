"""``mace_smile_set_field``: other fields in an exported file."""

import argparse
from collections.abc import Sequence

from mace_smile.cli.errors import run_command
from metatensor_models.set_field_arguments import build_parser, set_field_from_arguments


def main(arguments: Sequence[str] | None = None) -> None:
    """Replace the fields of an exported model.

    :param arguments: of the command line; None takes them from the process.
    """
    parsed: argparse.Namespace = build_parser().parse_args(arguments)
    run_command(lambda: set_field_from_arguments(parsed))


if __name__ == "__main__":
    main()
