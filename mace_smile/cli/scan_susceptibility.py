"""``mace_smile_scan_susceptibility``: which chi predicts the dipoles of unseen slabs best."""

from collections.abc import Sequence

from mace_smile.cli.errors import run_command


def main(arguments: Sequence[str] | None = None) -> None:
    """Cross-validate heads on a frozen MACE for a list of susceptibilities.

    :param arguments: of the command line; None takes them from the process.
    """

    def command() -> None:
        from mace_smile.frozen.commands import scan_susceptibility
        from mace_smile.frozen.flags import build_scan_parser

        scan_susceptibility(build_scan_parser().parse_args(arguments))

    run_command(command)


if __name__ == "__main__":
    main()
