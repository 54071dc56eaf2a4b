"""``mace_smile_add_born_charges``: Born effective charges of VASP, QE or phonopy to frames."""

import argparse

from mace_smile.cli.errors import run_command


def build_parser() -> argparse.ArgumentParser:
    """The flags of the command."""
    parser = argparse.ArgumentParser(
        description="Write the structures and Born effective charges of outputs of VASP or Quantum "
        "ESPRESSO, or of BORN files of phonopy, as extended XYZ: REF_becs, field index first."
    )
    parser.add_argument("--code", required=True, choices=("vasp", "qe", "phonopy"), help="the code")
    parser.add_argument(
        "outputs", nargs="+", metavar="OUTPUT", help="OUTCAR, output of ph.x (or .dyn), or BORN"
    )
    parser.add_argument(
        "--structures",
        nargs="+",
        default=[],
        help="for qe and phonopy: one structure for each output, e.g. outputs of pw.x",
    )
    parser.add_argument(
        "--boundary",
        choices=("auto", "open", "periodic"),
        default="auto",
        help="molecules in a box are open; auto: by the empty space in the cell (default)",
    )
    parser.add_argument("-o", "--output", required=True, help="frames to write (extended XYZ)")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")
    return parser


def main() -> None:
    """Entry point."""
    args = build_parser().parse_args()

    def command() -> None:
        from mace_smile.io.born_conversion import conversion_table, convert_born_charges
        from mace_smile.io.born_frames import read_born_frames
        from mace_smile.io.frames import write_frames

        frames = read_born_frames(args.code, args.outputs, args.structures, args.boundary)
        print(conversion_table(convert_born_charges(frames, order="field_first")))
        write_frames(frames, args.output, args.overwrite)
        print(f"{len(frames)} structures written to {args.output}")

    run_command(command)


if __name__ == "__main__":
    main()
