"""What our command-line flags need to have an effect, and why: shared by the table of flags."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mace_smile.model.options import SmileOptions


@dataclass(frozen=True)
class Requirement:
    """A condition without which a flag has no effect."""

    holds: Callable[[argparse.Namespace], bool]
    """Whether the arguments meet it."""
    reason: str
    """Why the flag has no effect where they do not, with the remedy."""


def value_of(args: argparse.Namespace, field: str) -> Any:
    """Value of an option: as given, or the default of the model's options."""
    given = getattr(args, field, None)
    return getattr(SmileOptions(), field) if given is None else given


def has_stage_two(args: argparse.Namespace) -> bool:
    """Whether training has a second stage (`--swa`, or `--start_swa` alone)."""
    return bool(args.swa) or args.start_swa is not None


def start_of_stage_two(args: argparse.Namespace) -> int:
    """The epoch at which stage two starts, by MACE's default where none is given."""
    if args.start_swa is not None:
        return int(args.start_swa)
    return max(1, int(args.max_num_epochs) // 4 * 3)


CHARGES = Requirement(
    lambda args: value_of(args, "charge_head") != "none",
    "--charge_head none predicts no charges; use --charge_head local",
)
DIPOLE = Requirement(
    lambda args: value_of(args, "charge_head") != "none" or value_of(args, "dipole_head") != "none",
    "--charge_head none and --dipole_head none predict neither charges nor dipoles; use "
    "--charge_head local or --dipole_head local",
)
ATOMIC_DIPOLES = Requirement(
    lambda args: value_of(args, "dipole_head") != "none",
    "--dipole_head none predicts no atomic dipoles; use --dipole_head local",
)
QUANTUM = Requirement(
    lambda args: args.dipole_quantum not in (None, "none"),
    "the polarization of a periodic cell is defined only modulo a quantum; use --dipole_quantum 1 "
    "(or 2, where all electrons are paired)",
)
ENERGY = Requirement(
    lambda args: (
        value_of(args, "charge_head") != "none" and value_of(args, "electrostatics") != "none"
    ),
    "there is no electrostatic energy; use --charge_head local and --electrostatics auto",
)
REPEATED = Requirement(
    lambda args: value_of(args, "boundary") != "open",
    "--boundary open sums over all pairs, without waves, mesh or cutoff; leave it out",
)
SMEARED = Requirement(
    lambda args: (
        value_of(args, "coulomb_terms") == "long_range" or value_of(args, "boundary") != "open"
    ),
    "--coulomb_terms full with --boundary open are point charges and a sum over all pairs; leave "
    "it out, or use --coulomb_terms long_range",
)
EWALD = Requirement(
    lambda args: value_of(args, "electrostatics") in ("auto", "ewald"),
    "it is the shortest wave of the Ewald sum, and --electrostatics pme and p3m have a mesh "
    "instead; use --mesh_spacing, or --electrostatics ewald",
)
MESH = Requirement(
    lambda args: value_of(args, "electrostatics") in ("auto", "pme", "p3m"),
    "--electrostatics ewald has no mesh; use --lr_wavelength, or --electrostatics p3m",
)
FULL = Requirement(
    lambda args: value_of(args, "coulomb_terms") == "full",
    "it is the range of the real-space part, which --coulomb_terms long_range does not have; use "
    "--coulomb_terms full",
)
LEARNED = Requirement(
    lambda args: value_of(args, "long_range_readout") == "learned",
    "the physical readout has one charge an atom; use --long_range_readout learned",
)
KNOWN_NET_CHARGE = Requirement(
    lambda args: value_of(args, "total_charge_constraint") == "exact",
    "the charges need not add up to the total charge of a structure; use "
    "--total_charge_constraint exact",
)
PERIODIC = Requirement(
    lambda args: value_of(args, "boundary") in ("auto", "periodic"),
    "slabs and open structures may have a net charge without a background; leave it out, or use "
    "--boundary auto",
)
PENALTY = Requirement(
    lambda args: value_of(args, "total_charge_constraint") == "penalty",
    "it weighs the penalty on the total charge; use --total_charge_constraint penalty",
)
BORN_CHARGES = Requirement(
    lambda args: value_of(args, "screening") != "none",
    "--screening none predicts no Born effective charges; use --screening uncoupled, global or "
    "local",
)
POLARIZABILITY = Requirement(
    lambda args: value_of(args, "polarizability_head") != "none",
    "--polarizability_head none predicts no polarizability; use --polarizability_head local",
)
COUPLED = Requirement(
    lambda args: value_of(args, "screening") in ("global", "local"),
    "only --screening global and local differentiate charges and dipoles; use one of them",
)
PHASE = Requirement(
    lambda args: value_of(args, "born_charge_method") == "phase",
    "other methods have no phases; use --born_charge_method phase",
)
GIVEN_CHARGES = Requirement(
    lambda args: args.given_charges_key is not None,
    "no charges are given; use --given_charges_key too",
)
GIVEN_MASK = Requirement(
    lambda args: args.given_mask_key is not None,
    "nothing says which atoms the given charges hold for; use --given_mask_key too",
)
SLAB = Requirement(
    lambda args: value_of(args, "boundary") == "slab",
    "it is the cell axis along the slab normal of --boundary slab; other boundaries take the "
    "axes from each structure's pbc",
)
STAGE_TWO = Requirement(has_stage_two, "there is no second stage; use --swa")
