"""The table of our command-line flags: what each means, allows, and needs to have an effect.

All flags default to None, "not given": a flag that was given and would have no effect can then be
refused with a sentence. What holds when a flag is absent is the default of the field of the same
name in :class:`~mace_smile.model.options.SmileOptions`, or written in the help text.
"""

from mace_smile import quantities
from mace_smile.model.options import (
    BOUNDARIES,
    CHARGE_HEADS,
    COULOMB_TERMS,
    DIPOLE_HEADS,
    ELECTROSTATICS,
    LONG_RANGE_READOUTS,
    NET_CHARGES,
    TOTAL_CHARGE_CONSTRAINTS,
)
from mace_smile.training.flag import Flag, learned_or_number, true_or_false
from mace_smile.training.polarizability_flags import POLARIZABILITY_FLAGS
from mace_smile.training.requirements import (
    ATOMIC_DIPOLES,
    BORN_CHARGES,
    CHARGES,
    DIPOLE,
    ENERGY,
    EWALD,
    FULL,
    GIVEN_CHARGES,
    GIVEN_MASK,
    KNOWN_NET_CHARGE,
    LEARNED,
    MESH,
    PENALTY,
    PERIODIC,
    QUANTUM,
    REPEATED,
    SLAB,
    SMEARED,
)
from mace_smile.training.screening_flags import SCREENING_FLAGS

#: Flags that say where a label is: name of the label in a configuration, key when not given.
LABEL_KEYS = {
    "dipole_key": quantities.BY_NAME[quantities.MACRO_DIPOLE].key,
    "becs_key": quantities.BY_NAME[quantities.BORN_EFFECTIVE_CHARGES].key,
    "charges_key": quantities.BY_NAME[quantities.CHARGES].key,
    "polarizability_key": quantities.BY_NAME[quantities.POLARIZABILITY].key,
    "total_charge_key": quantities.BY_NAME[quantities.TOTAL_CHARGE].key,
}

#: What the squared error of a dipole may be divided by.
NORMS = ("per_atom", "per_area", "total")
#: Values of `--dipole_quantum`, and of `--dipole_axes` beside ``auto``.
DIPOLE_QUANTA = ("none", "1", "2")
DIPOLE_AXES = ("x", "y", "z", "xy", "xz", "yz", "xyz")


FLAGS: tuple[Flag, ...] = (
    Flag("charge_head", "static charges of the atoms (default: local)", choices=CHARGE_HEADS),
    Flag(
        "dipole_head",
        "dipoles of the atoms beside their charges, or instead of them (default: none)",
        choices=DIPOLE_HEADS,
    ),
    Flag(
        "dipole_elements",
        "elements that carry atomic dipoles, such as O or O,Mg (default: all)",
        needs=(ATOMIC_DIPOLES,),
    ),
    Flag(
        "dipoles_in_energy",
        "whether atomic dipoles enter the electrostatic energy beside the charges: True or False "
        "(default: False)",
        true_or_false,
        choices=(True, False),
        needs=(ATOMIC_DIPOLES, ENERGY),
        off=False,
    ),
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
        needs=(DIPOLE, GIVEN_MASK),
    ),
    Flag(
        "given_mask_key",
        "key of the mask that is non-zero on the atoms whose charge is given",
        needs=(DIPOLE, GIVEN_CHARGES),
    ),
    Flag(
        "electrostatics",
        "sum of the electrostatic energy: ewald (for small structures), pme or p3m (a mesh, linear "
        "in the number of atoms), auto (ewald or p3m, by the number of atoms), or none "
        "(default: auto)",
        choices=ELECTROSTATICS,
        needs=(CHARGES,),
        off="none",
    ),
    Flag(
        "coulomb_terms",
        "long_range: Gaussian charges, smooth nearby; full: 1 / r (default: long_range)",
        choices=COULOMB_TERMS,
        needs=(ENERGY,),
    ),
    Flag(
        "smearing",
        "width of the Gaussian charges in A; with full terms it only splits the sum (default: 1 "
        "with long_range, the cutoff / 5.5 with full)",
        float,
        needs=(ENERGY, SMEARED),
    ),
    Flag(
        "lr_wavelength",
        "shortest wavelength of the Ewald sum in A (default: the smearing, or from "
        "--electrostatics_accuracy)",
        float,
        needs=(ENERGY, EWALD, REPEATED),
    ),
    Flag(
        "mesh_spacing",
        "largest distance of mesh points in A (default: a third of the smearing with auto, a "
        "quarter with p3m, a sixth with pme, or from --electrostatics_accuracy)",
        float,
        needs=(ENERGY, MESH, REPEATED),
    ),
    Flag(
        "electrostatics_accuracy",
        "relative error of the forces of the sum, from which smearing (full terms), wavelength and "
        "mesh are set where they are not given (default: none, the defaults of each)",
        float,
        needs=(ENERGY, REPEATED),
    ),
    Flag(
        "coulomb_cutoff",
        "range of the real-space part of full terms in A, with a neighbour list of its own "
        "(default: --r_max and MACE's list)",
        float,
        needs=(ENERGY, FULL, REPEATED),
    ),
    Flag(
        "long_range_readout",
        "energy from charges and potentials: physical is half of charge times potential, learned "
        "adds a learned function of them (default: physical)",
        choices=LONG_RANGE_READOUTS,
        needs=(ENERGY,),
    ),
    Flag(
        "long_range_channels",
        "charges of each atom in the learned readout, the static one included (default: 1)",
        int,
        needs=(ENERGY, LEARNED),
        off=1,
    ),
    Flag(
        "net_charge",
        "what to do about a net charge in a cell that is periodic along three axes: warn, with the "
        "size of its effect, or error (default: warn)",
        choices=NET_CHARGES,
        needs=(ENERGY, KNOWN_NET_CHARGE, PERIODIC),
    ),
    Flag(
        "boundary",
        "auto takes it from the pbc of each structure: three axes, two or none (default: auto)",
        choices=BOUNDARIES,
        needs=(DIPOLE,),
    ),
    Flag(
        "slab_axis",
        "cell axis along the slab normal, wanted by --boundary slab",
        int,
        choices=(0, 1, 2),
        needs=(SLAB,),
    ),
    *SCREENING_FLAGS,
    *POLARIZABILITY_FLAGS,
    Flag(
        "susceptibility",
        "electronic susceptibility along slab normals: a number above -1, or learned, which starts "
        "at 0 (default: 0)",
        learned_or_number,
        needs=(DIPOLE,),
    ),
    Flag(
        "given_susceptibility",
        "the same for the dipole of the given charges: a number above -1, or learned (default: "
        "that of all the rest)",
        learned_or_number,
        needs=(DIPOLE, GIVEN_CHARGES),
    ),
    Flag(
        "dipole_axes",
        "Cartesian axes along which the dipole is a label; auto: the non-periodic ones, and all of "
        "a polarization label (default: auto)",
        choices=("auto", *DIPOLE_AXES),
        needs=(DIPOLE,),
    ),
    Flag(
        "dipole_quantum",
        "charge in e of the quantum modulo which dipoles along periodic axes are labels; 2 where "
        "all electrons are paired (default: none, they are no labels)",
        choices=DIPOLE_QUANTA,
        needs=(DIPOLE,),
        off="none",
    ),
    Flag(
        "polarization_key",
        "key of the polarization (e/A^2) of cells that are periodic along three axes; times the "
        "volume it is their dipole label (default: none)",
        needs=(DIPOLE, QUANTUM),
    ),
    Flag(
        "becs_key",
        f"key of the Born effective charges, nine columns (default: {LABEL_KEYS['becs_key']})",
        needs=(BORN_CHARGES,),
    ),
    Flag(
        "macro_dipole_weight",
        "weight of the squared dipole error by --macro_dipole_norm (default: 1 where labelled)",
        float,
        needs=(DIPOLE,),
        off=0.0,
    ),
    Flag(
        "macro_dipole_norm",
        "what the squared dipole error is divided by: per_atom, the number of atoms (e^2 A^2); "
        "per_area, the squared area of a slab (e^2/A^2); total, nothing (default: per_atom)",
        choices=NORMS,
        needs=(DIPOLE,),
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
