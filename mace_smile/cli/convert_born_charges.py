"""``mace_smile_convert_born_charges``: Born effective charges checked, and put into one order."""

import argparse

from mace_smile.cli.errors import run_command


def build_parser() -> argparse.ArgumentParser:
    """The flags of the command."""
    parser = argparse.ArgumentParser(
        description="Check the Born effective charges of frames (shape, order of indices, acoustic "
        "sum rule) and write them as training reads them, REF_becs with the field first, or for "
        "phonopy or i-PI."
    )
    parser.add_argument("frames", help="frames with nine columns an atom (extended XYZ)")
    parser.add_argument("-o", "--output", required=True, help="file to write")
    parser.add_argument("--becs_key", default="REF_becs", help="the nine columns (REF_becs)")
    parser.add_argument(
        "--becs_order",
        choices=("auto", "field_first", "displacement_first"),
        default="auto",
        help="order of the indices in the file; auto asks the dipoles (default)",
    )
    parser.add_argument(
        "--dipole_key", default="REF_dipole", help="dipoles in e A, which tell the order"
    )
    parser.add_argument(
        "--format",
        choices=("extxyz", "phonopy", "ipi"),
        default="extxyz",
        help="what to write: frames (default), a BORN file, or the table of i-PI",
    )
    parser.add_argument("--frame", type=int, help="write this frame alone, counted from 0")
    parser.add_argument(
        "--dielectric",
        type=float,
        nargs=9,
        metavar="E",
        help="dielectric tensor for phonopy, xx xy xz yx ... (unit tensor, with a note)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")
    return parser


def main() -> None:
    """Entry point."""
    args = build_parser().parse_args()

    def command() -> None:
        from mace_smile.errors import UserError
        from mace_smile.io.born_conversion import (
            conversion_table,
            convert_born_charges,
            write_converted,
        )
        from mace_smile.io.structure_files import read_structures

        frames = read_structures(args.frames)
        conversion = convert_born_charges(frames, args.becs_key, args.becs_order, args.dipole_key)
        print(conversion_table(conversion))
        chosen = conversion.frames
        if args.frame is not None:
            if not -len(chosen) <= args.frame < len(chosen):
                raise UserError(
                    f"`--frame {args.frame}` is not in the file, which has {len(chosen)} frames"
                )
            chosen = [chosen[args.frame]]
        write_converted(chosen, args.output, args.format, args.dielectric, args.overwrite)
        print(f"read as {conversion.order}, written to {args.output} ({args.format})")

    run_command(command)


if __name__ == "__main__":
    main()
