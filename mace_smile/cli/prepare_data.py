"""``mace_smile_prepare_data``: HDF5 or LMDB files with labels of charges, for large data sets."""

from collections.abc import Sequence

from mace_smile.cli.errors import run_command
from mace_smile.training.mace_parser import build_preparation_parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Prepare as ``mace_prepare_data`` does, and keep the labels of charges beside MACE's.

    :param arguments: of the command line; None takes them from the process.
    """

    def command() -> None:
        args = build_preparation_parser().parse_args(arguments)
        from mace_smile.training.mace_bridge import prepare

        for line in prepare(args):
            print(line)

    run_command(command)


if __name__ == "__main__":
    main()
