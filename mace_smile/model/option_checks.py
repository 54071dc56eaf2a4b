"""Checks of the hyperparameters of a model: values that are allowed, fields that go together.

The fields are those of :class:`~mace_smile.model.options.SmileOptions`, which calls the checks.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ase.data import atomic_numbers

if TYPE_CHECKING:
    from mace_smile.model.options import SmileOptions

LENGTHS = ("smearing", "lr_wavelength", "mesh_spacing", "coulomb_cutoff", "slab_vacuum")
COUNTS = (
    "charge_channels",
    "dipole_channels",
    "born_channels",
    "polarizability_channels",
    "long_range_channels",
)


def check_choices(options: "SmileOptions", choices: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse words that are no values of their fields.

    :param choices: allowed values of each field.
    :raises ValueError: naming the field, its value and the allowed ones.
    """
    for field, allowed in choices.items():
        value = getattr(options, field)
        if value not in allowed:
            raise ValueError(f"`{field}` is '{value}' but must be one of {', '.join(allowed)}")


def check_numbers(options: "SmileOptions") -> None:
    """Refuse numbers out of range, names of no element, and fields without their partner.

    :raises ValueError: naming the field, its value and the remedy.
    """
    for field in LENGTHS:
        value = getattr(options, field)
        if value is not None and not (math.isfinite(value) and value > 0):
            raise ValueError(f"`{field}` is {value} but must be positive and finite")
    for field in COUNTS:
        if getattr(options, field) < 1:
            raise ValueError(f"`{field}` is {getattr(options, field)} but must be at least 1")
    if options.long_range_channels > 1 and options.long_range_readout != "learned":
        raise ValueError(
            f"`long_range_channels` is {options.long_range_channels} but the physical readout has "
            "one charge an atom; use `long_range_readout` learned"
        )
    if (options.given_charges_key is None) != (options.given_mask_key is None):
        raise ValueError(
            f"`given_charges_key` is {options.given_charges_key} and `given_mask_key` is "
            f"{options.given_mask_key}: give both or none"
        )
    if options.slab_axis not in (0, 1, 2):
        raise ValueError(f"`slab_axis` is {options.slab_axis} but must be 0, 1 or 2")
    if options.phase_harmonics not in (1, 2, 3):
        raise ValueError(f"`phase_harmonics` is {options.phase_harmonics} but must be 1, 2 or 3")
    for field in ("susceptibility", "given_susceptibility"):
        value = getattr(options, field)
        if value is not None and not (math.isfinite(value) and value > -1.0):
            raise ValueError(
                f"`{field}` is {value} but must be above -1: the dipole is divided by 1 + {field}"
            )
    for symbol in options.dipole_elements or ():
        if symbol not in atomic_numbers:
            raise ValueError(
                f"`dipole_elements` names '{symbol}', which is no chemical symbol; give symbols "
                "such as O or O,Mg"
            )


def check_screening(options: "SmileOptions") -> None:
    """Refuse factors that are none, and derivatives of charges that are not there.

    :raises ValueError: naming the field, its value and the remedy.
    """
    value = options.screening_value
    if value is not None and not (math.isfinite(value) and value != 0.0):
        raise ValueError(f"`screening_value` is {value} but must be finite and not zero")
    if options.has_coupled_screening and not options.has_dipole:
        raise ValueError(
            f"`screening` is '{options.screening}' but the model has neither charges nor dipoles "
            "to differentiate; use `charge_head` local, or `screening` uncoupled"
        )
    if options.has_local_screening and not options.has_charges:
        raise ValueError(
            "`screening` is 'local' but the model has no charges to screen; use `charge_head` "
            "local, or `screening` global"
        )
    if options.learn_screening_value and not (
        options.screening == "global" and options.has_charges
    ):
        raise ValueError(
            "`learn_screening_value` needs charges and `screening` global; give "
            "`screening_value` a number"
        )


def check_dipoles_in_energy(options: "SmileOptions") -> None:
    """Refuse dipoles in an energy that is not there, and dipoles that are not there.

    :raises ValueError: saying what is missing, with the remedy.
    """
    if options.dipoles_in_energy and not options.has_atomic_dipoles:
        raise ValueError(
            "`dipoles_in_energy` is True but the model has no atomic dipoles; use `dipole_head` "
            "local, or leave it out"
        )
    if options.dipoles_in_energy and not options.has_electrostatics:
        raise ValueError(
            "`dipoles_in_energy` is True but the model has no electrostatic energy; use "
            "`charge_head` local and `electrostatics` auto, or leave it out"
        )
