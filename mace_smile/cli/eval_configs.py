"""``mace_smile_eval_configs``: outputs of a model for the frames of a file, and its errors."""

import argparse

from mace_smile.cli.errors import run_command


def build_parser() -> argparse.ArgumentParser:
    """The flags of the command."""
    parser = argparse.ArgumentParser(
        description="Evaluate a .model on structures: writes energies, forces, stresses, charges, "
        "dipoles, Born effective charges, polarizabilities, and the electrostatic energy, "
        "potential and local field, and prints the errors where labels exist.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--model", required=True, help="the .model file")
    parser.add_argument("--configs", required=True, help="structures to read (extended XYZ)")
    parser.add_argument("--output", required=True, help="structures to write (extended XYZ)")
    parser.add_argument(
        "--trust", action="store_true", help="run whatever code the model file holds"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument(
        "--default_dtype",
        choices=("float32", "float64"),
        default=None,
        help="precision; the one of the model where it is not given",
    )
    parser.add_argument("--batch_size", type=int, default=8, help="structures in one call")
    parser.add_argument(
        "--info_prefix", "--prefix", default="MACE_", help="prefix of the keys written"
    )
    parser.add_argument("--head", default=None, help="head of a multi-head model")
    for label in ("energy", "forces", "stress", "dipole", "charges", "becs", "polarizability"):
        parser.add_argument(
            f"--{label}_key", help=f"key of the label {label}; REF_{label} where it is not given"
        )
    parser.add_argument(
        "--becs_order",
        choices=("field_first", "displacement_first", "auto"),
        help="order of the indices of the label becs; auto asks the data (default: field_first)",
    )
    parser.add_argument("--polarization_key", help="key of the label polarization (e/A^2)")
    axes = ("auto", "x", "y", "z", "xy", "xz", "yz", "xyz")
    parser.add_argument("--dipole_axes", choices=axes, default="auto", help="as in training")
    parser.add_argument(
        "--dipole_quantum", type=int, choices=(0, 1, 2), default=0, help="in e, as in training"
    )
    return parser


def main() -> None:
    """Entry point."""
    args = build_parser().parse_args()

    def command() -> None:
        from mace_smile.evaluation.files import evaluate_file

        evaluate_file(args)

    run_command(command)


if __name__ == "__main__":
    main()
