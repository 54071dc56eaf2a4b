"""Processes that train one model together, and how they must be started."""

import argparse
import os

from mace_smile.errors import UserError
from mace_smile.training.requirements import has_stage_two, start_of_stage_two

#: What a launcher tells each process.
VARIABLES = {
    "torchrun": ("RANK", "LOCAL_RANK", "WORLD_SIZE"),
    "mpi": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
}


def check_ranks(args: argparse.Namespace) -> None:
    """Refuse processes that would not know of each other, or of what one of them decides.

    :raises UserError: with the command that starts them, or the flag to change.
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
    if has_stage_two(args) and args.patience < start_of_stage_two(args) < args.max_num_epochs:
        raise UserError(
            f"--patience {args.patience} may end the first stage before epoch "
            f"{start_of_stage_two(args)}, where stage two starts, which MACE tells one rank alone: "
            "with --distributed give a larger --patience, or no stage two"
        )


def check_frames_of_ranks(n_train: int, n_valid: int) -> None:
    """Refuse fewer frames than ranks: MACE leaves out what does not fill all of them.

    :raises UserError: with both numbers.
    """
    n_ranks = int(os.environ.get("WORLD_SIZE", "1"))
    for name, number in (("train on", n_train), ("validate on", n_valid)):
        if n_ranks > 1 and number < n_ranks:
            raise UserError(
                f"there are {number} frames to {name} but {n_ranks} ranks, each of which needs "
                "one: start fewer ranks, or give more frames"
            )
