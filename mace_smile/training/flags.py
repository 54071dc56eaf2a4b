"""The table of our command-line flags: what each means, allows, and needs to have an effect.

All flags default to None, "not given": a flag that was given and would have no effect can
then be refused with a sentence, whether it came from the command line or a YAML file. What
holds when a flag is absent is the default of the field of the same name in
:class:`~mace_smile.model.options.SmileOptions`, or written in the help text.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mace_smile import quantities
from mace_smile.model.options import (
    BOUNDARIES,
    CHARGE_HEADS,
    COULOMB_TERMS,
    ELECTROSTATICS,
    SCREENINGS,
    TOTAL_CHARGE_CONSTRAINTS,
    SmileOptions,
)

#: Flags that say where a label is: name of the label in a configuration, key when not given.
LABEL_KEYS = {
    "dipole_key": quantities.BY_NAME[quantities.MACRO_DIPOLE].key,
    "becs_key": quantities.BY_NAME[quantities.BORN_EFFECTIVE_CHARGES].key,
    "charges_key": quantities.BY_NAME[quantities.CHARGES].key,
    "total_charge_key": quantities.BY_NAME[quantities.TOTAL_CHARGE].key,
}

#: Values of `--dipole_axes` beside ``auto``.
DIPOLE_AXES = ("x", "y", "z", "xy", "xz", "yz", "xyz")


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


CHARGES = Requirement(
    lambda args: value_of(args, "charge_head") != "none",
    "--charge_head none predicts no charges; use --charge_head local",
)
ENERGY = Requirement(
    lambda args: (
        value_of(args, "charge_head") != "none" and value_of(args, "electrostatics") != "none"
    ),
    "there is no electrostatic energy; use --charge_head local and --electrostatics ewald",
)
PENALTY = Requirement(
    lambda args: value_of(args, "total_charge_constraint") == "penalty",
    "it weighs the penalty on the total charge; use --total_charge_constraint penalty",
)
BORN_CHARGES = Requirement(
    lambda args: value_of(args, "screening") != "none",
    "--screening none predicts no Born effective charges; use --screening uncoupled",
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


@dataclass(frozen=True)
class Flag:
    """One command-line flag of the group "charges"."""

    name: str
    """Name without dashes; also the key in YAML files."""
    help: str
    """What it means, its unit and what holds when it is absent."""
    type: Callable[[str], Any] = str
    """Conversion of the text."""
    choices: tuple[Any, ...] | None = None
    """Allowed values, if few."""
    needs: tuple[Requirement, ...] = ()
    """Conditions without which it has no effect."""
    off: Any = None
    """A value that asks for nothing, and is therefore never refused."""


def auto_or_number(text: str) -> float | None:
    """Number, or None for ``auto``."""
    return None if text == "auto" else float(text)


FLAGS: tuple[Flag, ...] = (
    Flag("charge_head", "static charges of the atoms (default: local)", choices=CHARGE_HEADS),
    Flag(
        "total_charge_constraint",
        "how the charges add up to the total charge: a shift of the learned ones, a term of the "
        "loss, or not at all (default: exact)",
        choices=TOTAL_CHARGE_CONSTRAINTS,
        needs=(CHARGES,),
        off="none",
    ),
    Flag(
        "given_charges_key",
        "key of charges (e) that are given, such as those of a biased electrode",
        needs=(CHARGES, GIVEN_MASK),
    ),
    Flag(
        "given_mask_key",
        "key of the mask that is non-zero on the atoms whose charge is given",
        needs=(CHARGES, GIVEN_CHARGES),
    ),
    Flag(
        "electrostatics",
        "electrostatic energy of the charges (default: ewald)",
        choices=ELECTROSTATICS,
        needs=(CHARGES,),
        off="none",
    ),
    Flag(
        "coulomb_terms",
        "the smooth part of Gaussian-smeared charges (default: long_range)",
        choices=COULOMB_TERMS,
        needs=(ENERGY,),
    ),
    Flag("smearing", "width of the Gaussian charges in A (default: 1.0)", float, needs=(ENERGY,)),
    Flag(
        "lr_wavelength",
        "shortest wavelength of the reciprocal sum in A (default: from the smearing)",
        float,
        needs=(ENERGY,),
    ),
    Flag(
        "boundary",
        "auto takes it from the pbc of each structure: three axes, two or none (default: auto)",
        choices=BOUNDARIES,
        needs=(CHARGES,),
    ),
    Flag(
        "slab_axis",
        "cell axis along the slab normal, wanted by --boundary slab",
        int,
        choices=(0, 1, 2),
        needs=(SLAB,),
    ),
    Flag(
        "screening",
        "how Born effective charges come about: uncoupled is a readout of their own "
        "(default: none)",
        choices=SCREENINGS,
    ),
    Flag(
        "screening_value",
        "factor from energy charges to response charges: a number, or auto for "
        "sqrt(1 + susceptibility) (default: auto)",
        auto_or_number,
        needs=(CHARGES,),
    ),
    Flag(
        "susceptibility",
        "electronic susceptibility of the macro-dipole relation along slab normals (default: 0)",
        float,
        needs=(CHARGES,),
    ),
    Flag(
        "dipole_axes",
        "Cartesian axes along which the dipole is a label; auto: the non-periodic ones "
        "(default: auto)",
        choices=("auto", *DIPOLE_AXES),
        needs=(CHARGES,),
    ),
    Flag(
        "becs_key",
        f"key of the Born effective charges, nine columns, field index first "
        f"(default: {LABEL_KEYS['becs_key']})",
        needs=(BORN_CHARGES,),
    ),
    Flag(
        "macro_dipole_weight",
        "weight of the squared dipole error per atom, e^2 A^2 (default: 1 where labelled)",
        float,
        needs=(CHARGES,),
        off=0.0,
    ),
    Flag(
        "born_effective_charges_weight",
        "weight of the mean squared error of the Born charges, e^2 (default: 1 where labelled)",
        float,
        needs=(BORN_CHARGES,),
        off=0.0,
    ),
    Flag(
        "charges_weight",
        "weight of the mean squared error of the charges, e^2 (default: 1 with --charges_key, "
        "else 0: charges of a population analysis are not those of the energy)",
        float,
        needs=(CHARGES,),
        off=0.0,
    ),
    Flag(
        "total_charge_weight",
        "weight of the penalty on the total charge, squared error per atom, e^2 (default: 1)",
        float,
        needs=(PENALTY,),
        off=0.0,
    ),
)

#: Flags of loss weights; each has a `--swa_` twin for stage two.
WEIGHT_FLAGS = tuple(flag.name for flag in FLAGS if flag.name.endswith("_weight"))
