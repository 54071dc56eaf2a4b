"""``mace_smile_run_train``: train a MACE with charges, dipoles and Born effective charges."""

from collections.abc import Sequence

from mace_smile.cli.errors import run_command
from mace_smile.training.mace_parser import build_parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Train as ``mace_run_train`` does, with the flags of the group "charges" beside MACE's.

    :param arguments: of the command line; None takes them from the process.
    """

    def command() -> None:
        args = build_parser().parse_args(arguments)
        from mace_smile.training.mace_bridge import train

        train(args)

    run_command(command)


if __name__ == "__main__":
    main()
