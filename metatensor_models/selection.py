"""Which outputs can be had for a selection of atoms, as domain decomposition asks for them."""

from typing import List

from metatomic.torch import System


def count_atoms(systems: List[System]) -> int:
    """Number of atoms of all structures."""
    count = 0
    for system in systems:
        count += len(system)
    return count


def check_selection(
    has_global_charges: bool,
    wants_dipole: bool,
    wants_coupled_born_charges: bool,
    wants_second_order: bool,
) -> None:
    """Refuse a selection of atoms where an output depends on all of them.

    :param has_global_charges: whether charges depend on all atoms.
    :param wants_dipole: whether the dipole or polarizability of a structure was asked for.
    :param wants_coupled_born_charges: whether Born effective charges, or a field, were asked for
        that depend on charges of other atoms.
    :param wants_second_order: whether a field was asked for that acts on a polarizability.
    :raises NotImplementedError: with the remedy.
    """
    if has_global_charges:
        raise NotImplementedError(
            "this model has charges that depend on all atoms (long range, exact total "
            "charge or charges given by atom index), so it cannot run on a selection of "
            "atoms, nor on a domain with ghost atoms; use one domain (one MPI rank)"
        )
    if wants_dipole:
        raise NotImplementedError(
            "a dipole belongs to all atoms of a structure, as does a polarizability, so it cannot "
            "be computed for a selection; ask for the charges, or leave `selected_atoms` out"
        )
    if wants_coupled_born_charges:
        raise NotImplementedError(
            "the Born effective charge of an atom depends on the charges of others here "
            "(--screening global or local, or --acoustic_sum_rule subtract), so neither it nor a "
            "field can be had for a selection of atoms; use one domain (one MPI rank), or a model "
            "with --screening uncoupled"
        )
    if wants_second_order:
        raise NotImplementedError(
            "in a field the polarizability of all atoms acts on each, so a field to second order "
            "cannot be had for a selection of atoms; use one domain (one MPI rank), or export with "
            "--field_order 1"
        )
