"""``mace_smile_train_screening``: local or uncoupled Born charges of a finished model."""

import logging
import sys
from collections.abc import Sequence

from mace_smile.cli.errors import run_command


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the Born effective charges of a model of which all else stays.

    :param arguments: of the command line; None takes them from the process.
    """

    def command() -> None:
        from mace_smile.evaluation.train_screening import train_screening
        from mace_smile.evaluation.train_screening_flags import build_screening_parser

        args = build_screening_parser().parse_args(arguments)
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
        train_screening(args)

    run_command(command)


if __name__ == "__main__":
    main()
