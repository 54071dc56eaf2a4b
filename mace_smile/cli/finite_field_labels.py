"""``mace_smile_finite_field_labels``: forces of CP2K in finite fields to Born effective charges."""

import argparse

from mace_smile.cli.errors import run_command


def build_parser() -> argparse.ArgumentParser:
    """The flags of the command."""
    parser = argparse.ArgumentParser(
        description="Born effective charges from CP2K calculations in plus and minus a field along "
        "x, y and z (PERIODIC_EFIELD), one folder a structure; the calculation without a field "
        "gives energy, forces and, for molecules, the dipole."
    )
    parser.add_argument(
        "folders", nargs="+", metavar="DIR", help="folder of one structure, or of such folders"
    )
    parser.add_argument("-o", "--output", required=True, help="frames to write (extended XYZ)")
    parser.add_argument(
        "--boundary",
        choices=("auto", "open", "periodic"),
        default="auto",
        help="molecules in a box are open; auto: by the empty space in the cell (default)",
    )
    parser.add_argument(
        "--acoustic_sum_threshold",
        type=float,
        default=0.05,
        help="warn where a component of sum_i Z_i - Q 1 is above this, in e (0.05)",
    )
    parser.add_argument(
        "--skip_failed",
        action="store_true",
        help="leave out structures that are not finished or not converged, with a warning",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")
    return parser


def main() -> None:
    """Entry point."""
    args = build_parser().parse_args()

    def command() -> None:
        from mace_smile.io.finite_field_report import labels_table, read_all_labels
        from mace_smile.io.frames import write_frames

        labels = read_all_labels(
            args.folders, args.boundary, args.acoustic_sum_threshold, args.skip_failed
        )
        print(labels_table(labels))
        write_frames([label.frame for label in labels], args.output, args.overwrite)
        print(f"{len(labels)} structures written to {args.output}")

    run_command(command)


if __name__ == "__main__":
    main()
