"""``mace_smile_cut_trajectory``: trajectories of a killed run, cut back to its restart."""

import argparse

from mace_smile.cli.errors import run_command


def build_parser() -> argparse.ArgumentParser:
    """The flags of the command."""
    parser = argparse.ArgumentParser(
        description="Cut trajectories of a killed run back to the restart it will go on from, in "
        "place, so that no frame is in them twice: (extended) XYZ, .traj of ASE, tables, extras "
        "and binary trajectories of i-PI, text dumps of LAMMPS. A last frame that is not complete "
        "goes. Call it when the run has ended and before it goes on."
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="trajectories and tables")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--step", type=int, help="step of the restart")
    where.add_argument(
        "--restart",
        metavar="FILE",
        help="RESTART or checkpoint of i-PI, or a restart file of LAMMPS with its step in its name",
    )
    parser.add_argument(
        "--before",
        action="store_true",
        help="drop the frame of that step too, since the run writes it again (so it is with dumps "
        "of LAMMPS, where this is set)",
    )
    parser.add_argument(
        "--mend",
        action="store_true",
        help="where a run was continued without a cut: drop the frames that were repeated",
    )
    return parser


def main() -> None:
    """Entry point."""
    args = build_parser().parse_args()

    def command() -> None:
        from mace_smile.errors import UserError
        from mace_smile.io.restart_step import step_of_restart
        from mace_smile.io.trajectory_cut import cut_trajectories

        if args.step is None and args.restart is None and not args.mend:
            raise UserError("nothing says where to cut; give --step, --restart or --mend")
        if args.before and args.step is None and args.restart is None:
            raise UserError("`--before` has no effect without --step or --restart; add one")
        step = args.step if args.restart is None else step_of_restart(args.restart)
        if step is not None and step < 0:
            raise UserError(f"`--step` is {step} but must be 0 or more")
        for cut in cut_trajectories(args.files, step, args.before, args.mend):
            print(cut.describe())

    run_command(command)


if __name__ == "__main__":
    main()
