"""From files of structures to a potential profile: ``mace_smile_potential_profile``."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import ase
import numpy as np
import torch

from mace_smile.analysis.arguments import check_arguments, output_files
from mace_smile.analysis.charges import copy_arrays, slabs_of_arrays, slabs_of_model
from mace_smile.analysis.figure import draw_profile
from mace_smile.analysis.profile import PotentialProfile, compute_profile
from mace_smile.analysis.reference import (
    ReferenceProfile,
    place_reference,
    read_reference,
    subtract,
)
from mace_smile.analysis.settings import ProfileSettings
from mace_smile.analysis.slabs import ChargedSlab, align_slabs
from mace_smile.analysis.summary import MeanProfile, describe, summarize
from mace_smile.atomic_write import complete_or_absent
from mace_smile.errors import UserError
from mace_smile.evaluation.evaluator import ModelEvaluator
from mace_smile.evaluation.files import check_output
from mace_smile.io.structure_files import read_structures
from mace_smile.model.files import load_model
from mace_smile.model.smile_mace import SmileMACE


def charged_slabs(
    args: argparse.Namespace, frames: Sequence[ase.Atoms], names: Sequence[str]
) -> tuple[list[ChargedSlab], ProfileSettings]:
    """The slabs with their charges, and how they are screened."""
    chi, given_chi = args.susceptibility, args.given_susceptibility
    if args.model is None:
        slabs = slabs_of_arrays(
            frames, names, args.charges_key, args.given_mask_key, args.slab_axis
        )
        default = "none"
    else:
        dtype = None if args.default_dtype is None else getattr(torch, args.default_dtype)
        model = load_model(args.model, args.device, dtype, args.trust)
        evaluator = ModelEvaluator(model, head=args.head)
        frames = with_given_charges(args, frames, names, model)
        slabs = slabs_of_model(
            evaluator, frames, names, args.slab_axis, args.batch_size, sys.stderr.isatty()
        )
        if chi is None:
            chi = model.susceptibility_value()
            given_chi = model.given_susceptibility_value() if given_chi is None else given_chi
        default = "uniform"
    screening = args.screening or default
    settings = ProfileSettings(
        screening=screening,
        susceptibility=0.0 if chi is None or screening == "none" else chi,
        given_susceptibility=None if screening == "none" else given_chi,
        width=args.width,
        film_permittivity=args.film_permittivity,
        film_edges=None if args.film_edges is None else tuple(args.film_edges),
        spacing=args.spacing,
    )
    return slabs, settings


def with_given_charges(
    args: argparse.Namespace, frames: Sequence[ase.Atoms], names: Sequence[str], model: SmileMACE
) -> Sequence[ase.Atoms]:
    """Structures with the given charges that the model was trained with.

    :raises UserError: naming the first structure without them.
    """
    options = model.options
    keys = (options.given_charges_key, options.given_mask_key)
    if args.given_charges is not None:
        if keys[0] is None or keys[1] is None:
            raise UserError(
                "--given_charges was given but the model was trained without given charges; leave "
                "it out"
            )
        frame = read_structures(args.given_charges, index="0")[0]
        return copy_arrays(frame, frames, names, (keys[0], keys[1]))
    for atoms, name in zip(frames, names, strict=True):
        if keys[0] is not None and keys[0] not in atoms.arrays:
            raise UserError(
                f"{name} has no array '{keys[0]}', the given charges the model was trained with; "
                "give --given_charges FRAME.xyz, a frame that has them for all"
            )
    return frames


def references_of(
    args: argparse.Namespace, slabs: Sequence[ChargedSlab], n_frames: int
) -> tuple[ReferenceProfile | None, np.ndarray | None]:
    """The reference around the slabs, and where it counts."""
    if args.reference is None:
        return None, None
    reference = read_reference(args.reference, n_frames)
    if args.minus_reference is not None:
        reference = subtract(reference, read_reference(args.minus_reference, n_frames))
    aligned = align_slabs(slabs)
    extent = (
        min(float(slab.heights.min()) for slab in aligned),
        max(float(slab.heights.max()) for slab in aligned),
    )
    width = 0.0 if args.reference_is_smooth else args.width
    return place_reference(reference, extent, aligned[0].cell_height, width)


def write_npz(
    path: Path, mean: MeanProfile, profile: PotentialProfile, settings: dict[str, object]
) -> None:
    """Write the numbers; the settings are a text in JSON."""
    arrays = {
        "z": mean.points,
        "phi": mean.potential,
        "phi_error": mean.potential_error,
        "rho": mean.density,
        "rho_error": mean.density_error,
        "phi_frames": profile.potentials,
        "dipole_frames": profile.dipoles,
        "step_frames": profile.steps,
        "film_edges": profile.film.mean(axis=0),
        "settings": np.array(json.dumps(settings)),
        "numbers": np.array(json.dumps(mean.numbers)),
    }
    optional = {
        "walls": None if profile.walls is None else profile.walls.mean(axis=0),
        "phi_macroscopic": mean.macroscopic,
        "phi_macroscopic_error": mean.macroscopic_error,
        "phi_reference": mean.reference,
        "reference_counts": mean.counted,
    }
    arrays |= {name: value for name, value in optional.items() if value is not None}
    np.savez_compressed(path, **arrays)


def potential_profile(args: argparse.Namespace) -> None:
    """Compute a potential profile and write its numbers and figure.

    :param args: the flags of the command.
    :raises UserError: for flags, files, structures and models that cannot be used.
    """
    check_arguments(args)
    files = output_files(args)
    for path in files:
        check_output(path, args.overwrite)
    frames = read_structures(args.configs, index=args.index)
    n_frames = len(frames)
    names = [f"frame {number}" for number in range(n_frames)]
    if args.minus is not None:
        others = read_structures(args.minus, index=args.index)
        if len(others) != n_frames:
            raise UserError(
                f"--minus has {len(others)} structures but --configs has {n_frames}; give as many"
            )
        frames = [*frames, *others]
        names += [f"{name} of --minus" for name in names]
    slabs, settings = charged_slabs(args, frames, names)
    reference, counted = references_of(args, slabs, n_frames)
    points = None if reference is None else reference.points
    profile = compute_profile(slabs, settings, points)
    if args.minus is not None:
        profile = profile.minus(n_frames)
    mean = summarize(profile, args.blocks, args.window, reference, counted)
    record = {
        **{name: value for name, value in vars(args).items() if value is not None},
        "screening": settings.screening,
        "susceptibility": settings.susceptibility,
        "given_susceptibility": settings.susceptibility_of_given,
        "film_permittivity": profile.permittivity,
        "units": "z A, phi V, rho e/A^3, dipole e A",
    }
    title = f"{settings.screening} screening, Gaussian width {settings.width:g} Å"
    with complete_or_absent(files[0]) as table, complete_or_absent(files[1]) as figure:
        write_npz(table, mean, profile, record)
        draw_profile(figure, mean, profile, title, args.minus is not None)
    print(describe(mean, profile))
    print(f"written to {files[0]} and {files[1]}")
