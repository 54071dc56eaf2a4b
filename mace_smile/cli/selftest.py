"""``mace_smile_selftest``: derivatives, symmetries and dynamics of a model on given structures."""

import argparse

from mace_smile.cli.errors import run_command


def build_parser() -> argparse.ArgumentParser:
    """The flags of the command."""
    from mace_smile.selftest.arguments import add_arguments

    parser = argparse.ArgumentParser(
        description="Check a .model on structures: finite differences of forces, stress, Born "
        "charges and forces of a field, symmetries, supercells, sum rules and energy drifts. "
        "Exit code 0 where all pass, 1 where one fails, 2 for input that cannot be used.",
    )
    add_arguments(parser)
    return parser


def main() -> None:
    """Entry point."""
    args = build_parser().parse_args()

    def command() -> None:
        from mace_smile.selftest.command import selftest

        if not selftest(args):
            raise SystemExit(1)

    run_command(command)


if __name__ == "__main__":
    main()
