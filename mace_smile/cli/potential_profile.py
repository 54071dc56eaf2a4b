"""``mace_smile_potential_profile``: charge density and potential of slabs along their normal."""

import argparse

from mace_smile.cli.errors import run_command


def build_parser() -> argparse.ArgumentParser:
    """The flags of the command."""
    from mace_smile.analysis.arguments import add_arguments

    parser = argparse.ArgumentParser(
        description="Planar average of charge density and electrostatic potential of slabs along "
        "their normal, averaged over structures, with numbers (STEM.npz) and a figure (STEM.png).",
    )
    add_arguments(parser)
    return parser


def main() -> None:
    """Entry point."""
    args = build_parser().parse_args()

    def command() -> None:
        from mace_smile.analysis.command import potential_profile

        potential_profile(args)

    run_command(command)


if __name__ == "__main__":
    main()
