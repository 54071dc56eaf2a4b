"""``mace_smile_add_dipoles``: outputs of VASP, CP2K or Quantum ESPRESSO to labelled frames."""

import argparse

from mace_smile.cli.errors import run_command


def build_parser() -> argparse.ArgumentParser:
    """The flags of the command."""
    parser = argparse.ArgumentParser(
        description="Write the structures, energies, forces and total dipoles of outputs of VASP, "
        "CP2K or Quantum ESPRESSO as extended XYZ, dipoles in e A from - to +."
    )
    parser.add_argument("--code", required=True, choices=("vasp", "cp2k", "qe"), help="the code")
    parser.add_argument(
        "outputs", nargs="+", metavar="OUTPUT", help="OUTCAR, or main output of CP2K or pw.x"
    )
    parser.add_argument(
        "--structures",
        help="for CP2K: structures with cells, one for each ionic step of all outputs",
    )
    parser.add_argument("-o", "--output", required=True, help="frames to write (extended XYZ)")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")
    return parser


def main() -> None:
    """Entry point."""
    args = build_parser().parse_args()

    def command() -> None:
        from mace_smile.io.frames import read_labelled_frames, write_frames

        frames = read_labelled_frames(args.code, args.outputs, args.structures)
        write_frames(frames, args.output, args.overwrite)
        print(f"{len(frames)} structures written to {args.output}")

    run_command(command)


if __name__ == "__main__":
    main()
