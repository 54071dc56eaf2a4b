"""``mace_smile_train_charges``: charges and dipoles on a frozen MACE."""

from collections.abc import Sequence

from mace_smile.cli.errors import run_command


def main(arguments: Sequence[str] | None = None) -> None:
    """Train heads on the features of a MACE that is not changed.

    :param arguments: of the command line; None takes them from the process.
    """

    def command() -> None:
        from mace_smile.frozen.commands import train_charges
        from mace_smile.frozen.flags import build_charges_parser

        train_charges(build_charges_parser().parse_args(arguments))

    run_command(command)


if __name__ == "__main__":
    main()
