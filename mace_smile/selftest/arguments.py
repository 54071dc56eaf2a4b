"""The flags of ``mace_smile_selftest``, and what they ask for."""

import argparse
import math

from mace_smile.errors import UserError
from mace_smile.selftest.settings import SelftestSettings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags to a parser."""
    default = SelftestSettings()
    add = parser.add_argument
    add("model", help="the .model file")
    add("configs", metavar="frames.xyz", help="structures to check it on, any file ASE reads")
    add("--index", default=":3", help="which of them, as in ASE (:3, the first three)")
    add("--checks", nargs="+", metavar="CHECK", help="some checks only, all unless given")
    add("--field", type=float, nargs=3, default=default.field, help="in V/A (0 0 0.1)")
    add("--steps", type=int, default=default.steps, help="steps of molecular dynamics (300)")
    add("--timestep", type=float, default=default.timestep, help="in fs (0.25)")
    add("--temperature", type=float, default=default.temperature, help="in K (300)")
    add("--samples", type=int, default=default.samples, help="atoms moved, a structure (3)")
    add("--seed", type=int, default=default.seed, help="of all that is drawn at random (0)")
    add(
        "--max_atoms",
        type=int,
        default=default.max_atoms,
        help="larger supercells are skipped (3000)",
    )
    add(
        "--acoustic_tolerance",
        type=float,
        default=default.acoustic_tolerance,
        help="largest mean of Z over atoms in e, where the model does not impose it (0.05)",
    )
    add("--json", metavar="FILE", help="write all findings there")
    add("--trust", action="store_true", help="run whatever code the model file holds")
    add("--overwrite", action="store_true", help="replace an existing --json")
    add("--device", default="cpu", help="cpu or cuda")
    add("--default_dtype", choices=("float32", "float64"), help="precision; that of the model")


def settings_of(args: argparse.Namespace) -> SelftestSettings:
    """The numbers among the flags.

    :raises UserError: for one that is out of range.
    """
    for name, smallest in (("steps", 10), ("samples", 1), ("max_atoms", 1), ("seed", 0)):
        if getattr(args, name) < smallest:
            raise UserError(f"--{name} is {getattr(args, name)} but must be at least {smallest}")
    for name in ("timestep", "temperature", "acoustic_tolerance"):
        value = getattr(args, name)
        if not (math.isfinite(value) and value > 0):
            raise UserError(f"--{name} is {value} but must be positive and finite")
    if not all(math.isfinite(value) for value in args.field) or not any(args.field):
        raise UserError(
            f"--field is {' '.join(map(str, args.field))} but must be three finite numbers in V/A "
            "that are not all zero"
        )
    return SelftestSettings(
        field=tuple(args.field),
        steps=args.steps,
        timestep=args.timestep,
        temperature=args.temperature,
        samples=args.samples,
        seed=args.seed,
        max_atoms=args.max_atoms,
        acoustic_tolerance=args.acoustic_tolerance,
    )
