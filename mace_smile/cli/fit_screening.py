"""``mace_smile_fit_screening``: the factor from charges to Born charges, fitted afterwards."""

from collections.abc import Sequence

from mace_smile.cli.errors import run_command


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit the factor of ``--screening global`` to Born charges, and write the model with it.

    :param arguments: of the command line; None takes them from the process.
    """

    def command() -> None:
        from mace_smile.evaluation.fit_screening import fit_screening
        from mace_smile.evaluation.screening_flags import build_fit_parser

        fit_screening(build_fit_parser().parse_args(arguments))

    run_command(command)


if __name__ == "__main__":
    main()
