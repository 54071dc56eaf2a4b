"""``mace_smile_export``: a trained model as one file that ASE, i-PI and LAMMPS run."""

import argparse
from collections.abc import Sequence

from mace_smile.cli.errors import run_command
from metatensor_models.arguments import build_parser, export_from_arguments


def main(arguments: Sequence[str] | None = None) -> None:
    """Export a ``.model`` as a metatomic model.

    :param arguments: of the command line; None takes them from the process.
    """
    parsed: argparse.Namespace = build_parser().parse_args(arguments)
    run_command(lambda: export_from_arguments(parsed))


if __name__ == "__main__":
    main()
