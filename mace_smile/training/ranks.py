"""Processes that train one model together, and how they must be started."""

import argparse
import os

from mace_smile.errors import UserError

#: What a launcher tells each process.
VARIABLES = {
    "torchrun": ("RANK", "LOCAL_RANK", "WORLD_SIZE"),
    "mpi": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
}


def check_ranks(args: argparse.Namespace) -> None:
    """Refuse processes that would not know of each other.

    :raises UserError: with the command that starts them.
    """
    remedy = (
        "start the processes with torchrun --nproc_per_node=2 -m mace_smile.cli.run_train ... "
        "--distributed --launcher torchrun"
    )
    if not args.distributed:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise UserError(
                f"{os.environ['WORLD_SIZE']} processes were started but --distributed is not "
                f"given, so each would train by itself and write the same files; {remedy}"
            )
        return
    if args.launcher == "none":
        raise UserError(f"--distributed needs a --launcher (torchrun, slurm or mpi); {remedy}")
    missing = [name for name in VARIABLES.get(args.launcher, ()) if name not in os.environ]
    if missing:
        raise UserError(
            f"--distributed with --launcher {args.launcher} finds no {', '.join(missing)} in the "
            f"environment; {remedy}"
        )
