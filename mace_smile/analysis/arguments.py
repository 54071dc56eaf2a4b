"""The flags of ``mace_smile_potential_profile``, and what they ask for."""

import argparse
import math
from pathlib import Path

from mace_smile.analysis.settings import SCREENINGS
from mace_smile.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags to a parser."""
    add = parser.add_argument
    add("--configs", required=True, help="structures or a trajectory, any file ASE reads")
    add("--index", default=":", help="which of them, as in ASE: '100::10' is every tenth from 100")
    add("--model", help="the .model file that predicts charges and dipoles")
    add("--charges_key", help="instead of a model: array of the structures with all charges in e")
    add(
        "--given_mask_key",
        help="with --charges_key: array that is non-zero on the atoms of the walls",
    )
    add(
        "--given_charges",
        metavar="FRAME.xyz",
        help="with --model: frame with the given charges and their mask, for trajectories that "
        "hold none; same atoms, same order",
    )
    add(
        "--screening",
        choices=SCREENINGS,
        help="uniform: all charge by 1 + chi; profile: a dielectric film with gaps; none (uniform "
        "with a model, none with --charges_key)",
    )
    add("--susceptibility", type=float, help="chi; that of the model where it is not given")
    add("--given_susceptibility", type=float, help="chi of the given charges, if it is another")
    add(
        "--film_permittivity",
        type=float,
        help="eps_film of profile screening; without it, it follows from the edges and chi",
    )
    add(
        "--film_edges",
        type=float,
        nargs=2,
        metavar=("LOWER", "UPPER"),
        help="edges of the film in A; without them the outermost atoms and a covalent radius",
    )
    add("--width", type=float, default=0.5, help="width (sigma) of the Gaussians in A (0.5)")
    add(
        "--window",
        type=float,
        nargs="+",
        default=[],
        help="one or two window lengths in A of the macroscopic average",
    )
    add("--minus", help="structures to subtract one by one: the change of the profile")
    add("--reference", help=".npz with z (A) and phi (V), one profile a structure or one mean")
    add("--minus_reference", help="reference of --minus")
    add(
        "--reference_is_smooth",
        action="store_true",
        help="take the reference as it is, without the Gaussian of --width",
    )
    add("--spacing", type=float, default=0.05, help="distance of the points in A (0.05)")
    add("--blocks", type=int, default=10, help="blocks of structures the errors come from (10)")
    add("--slab_axis", type=int, choices=(0, 1, 2), help="axis across slabs that have pbc T T T")
    add("--output", required=True, help="stem of the files to write: STEM.npz and STEM.png")
    add("--trust", action="store_true", help="run whatever code the model file holds")
    add("--overwrite", action="store_true", help="replace existing files")
    add("--batch_size", type=int, default=8, help="structures in one call of the model (8)")
    add("--device", default="cpu", help="cpu or cuda")
    add("--default_dtype", choices=("float32", "float64"), help="precision; that of the model")
    add("--head", help="head of a multi-head model")


def check_arguments(args: argparse.Namespace) -> None:
    """Refuse flags that contradict each other, or would do nothing.

    :raises UserError: with the remedy.
    """
    if (args.model is None) == (args.charges_key is None):
        raise UserError(
            "give --model, or --charges_key for charges of the structures, "
            + ("and not both" if args.model else "but one of them")
        )
    if args.model is not None and args.given_mask_key is not None:
        raise UserError(
            "--given_mask_key serves --charges_key only; a model has its own, so leave it out"
        )
    if args.charges_key is not None:
        for name in ("head", "default_dtype", "given_charges"):
            if getattr(args, name) is not None:
                raise UserError(f"--{name} serves --model only; leave it out")
    screening = args.screening or ("none" if args.model is None else "uniform")
    if screening == "none":
        for name in ("susceptibility", "given_susceptibility"):
            if getattr(args, name) is not None:
                raise UserError(
                    f"--{name} has no effect without screening; leave it out, or give --screening "
                    "uniform or profile"
                )
    elif args.model is None and args.susceptibility is None:
        raise UserError(
            f"--screening {screening} with --charges_key needs --susceptibility; give it"
        )
    if screening == "profile" and args.model is None and args.given_mask_key is None:
        raise UserError(
            "--screening profile with --charges_key needs --given_mask_key, the array that is "
            "non-zero on the atoms of the walls"
        )
    if len(args.window) > 2 or not all(math.isfinite(w) and w > 0 for w in args.window):
        raise UserError(
            f"--window is {' '.join(map(str, args.window))} but must be one or two positive "
            "lengths in A"
        )
    if args.reference is None and (args.reference_is_smooth or args.minus_reference is not None):
        raise UserError("--reference_is_smooth and --minus_reference need --reference; give it")
    if (args.minus_reference is not None and args.minus is None) or (
        args.minus is not None and args.reference is not None and args.minus_reference is None
    ):
        raise UserError("--minus with --reference needs --minus_reference, and the other way round")
    for name in ("batch_size", "blocks"):
        if getattr(args, name) < 1:
            raise UserError(f"--{name} is {getattr(args, name)} but must be at least 1")


def output_files(args: argparse.Namespace) -> tuple[Path, Path]:
    """The ``.npz`` and ``.png`` file of ``--output``."""
    stem = Path(args.output)
    return stem.with_name(f"{stem.name}.npz"), stem.with_name(f"{stem.name}.png")
