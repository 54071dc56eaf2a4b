"""The table of names: every quantity this package reads, predicts or exports, written once.

Each entry says what the quantity is, whether it belongs to an atom or a structure, its
shape for one atom or structure, its unit, the key that holds its label in extended XYZ
files, and the name of the output in an exported metatomic model. The rest of the code
imports this module and uses ``quantities.CHARGES`` instead of a string.
"""

from dataclasses import dataclass

# Names of model outputs, of evaluation (with a prefix) and of the export.
ENERGY = "energy"  # (n_graphs,) eV
FORCES = "forces"  # (n_atoms, 3) eV/A
STRESS = "stress"  # (n_graphs, 3, 3) eV/A^3
SHORT_RANGE_ENERGY = "short_range_energy"  # (n_graphs,) eV, backbone and hardness
ELECTROSTATIC_ENERGY = "electrostatic_energy"  # (n_graphs,) eV, the long-range energy
ELECTROSTATIC_POTENTIAL = "electrostatic_potential"  # (n_atoms,) V, of all other charges
LOCAL_ELECTRIC_FIELD = "local_electric_field"  # (n_atoms, 3) V/A, of all other charges
CHARGES = "charges"  # (n_atoms,) e, energy scale
ATOMIC_DIPOLES = "atomic_dipoles"  # (n_atoms, 3) e A, response scale
RESPONSE_DIPOLE = "response_dipole"  # (n_graphs, 3) e A, response charges times r and dipoles
MACRO_DIPOLE = "macro_dipole"  # (n_graphs, 3) e A, the dipole DFT reports
SCREENING = "screening"  # (n_atoms,) 1, from charges to response charges
BORN_EFFECTIVE_CHARGES = "born_effective_charges"  # (n_atoms, 3, 3) e, field index first
ACOUSTIC_RESIDUAL = "acoustic_residual"  # (n_graphs, 3, 3) e, sum of raw Born charges less Q
POLARIZABILITY = "polarizability"  # (n_graphs, 3, 3) e^2 A^2/eV, d mu_a / d E_b at fixed atoms

# Names of labels that are not outputs, and of inputs.
DIPOLE = "dipole"  # MACE's name of the label of MACRO_DIPOLE
POLARIZATION = "polarization"  # (n_graphs, 3) e/A^2, the dipole of a periodic cell by its volume
DIPOLE_QUANTUM = "dipole_quantum"  # (n_graphs, 3, 3) e A, what a dipole label is defined modulo
DIPOLE_DIVISOR = "dipole_divisor"  # (n_graphs,) of squared dipole errors: atoms, A^4 or 1
TOTAL_CHARGE = "total_charge"  # (n_graphs,) e
GIVEN_CHARGES = "given_charges"  # (n_atoms,) e, bare charges of e.g. an electrode
GIVEN_MASK = "given_mask"  # (n_atoms,) non-zero where the given charge holds
COULOMB_EDGE_INDEX = "coulomb_edge_index"  # (2, n_edges) pairs of the real-space Coulomb sum
COULOMB_UNIT_SHIFTS = "coulomb_unit_shifts"  # (n_edges, 3) their cell shifts, whole numbers


@dataclass(frozen=True)
class Quantity:
    """One row of the table."""

    name: str
    """Name of the output or input in this package."""
    per_atom: bool
    """True for one value an atom, False for one value a structure."""
    shape: tuple[int, ...]
    """Shape of the value of one atom or of one structure."""
    unit: str
    """Unit, as metatomic's unit parser reads it; it knows no volt, which is eV/e."""
    key: str
    """Default key of the label in extended XYZ files."""
    metatomic: str
    """Name of the output in an exported model, empty where it is not exported."""
    meaning: str
    """One sentence on what it is, with its sign."""


TABLE: tuple[Quantity, ...] = (
    Quantity(ENERGY, False, (), "eV", "REF_energy", "energy", "total energy without a field"),
    Quantity(FORCES, True, (3,), "eV/A", "REF_forces", "", "minus the derivative of the energy"),
    Quantity(
        STRESS,
        False,
        (3, 3),
        "eV/A^3",
        "REF_stress",
        "",
        "derivative of the energy with respect to strain, by volume",
    ),
    Quantity(
        SHORT_RANGE_ENERGY,
        False,
        (),
        "eV",
        "",
        "mace_smile::short_range_energy",
        "energy of the MACE inside, isolated atoms included",
    ),
    Quantity(
        ELECTROSTATIC_ENERGY,
        False,
        (),
        "eV",
        "",
        "mace_smile::electrostatic_energy",
        "long-range part of the energy, self term removed",
    ),
    Quantity(
        ELECTROSTATIC_POTENTIAL,
        True,
        (),
        "eV/e",
        "",
        "mace_smile::electrostatic_potential",
        "potential at an atom of all other static charges (and dipoles), as they enter the energy",
    ),
    Quantity(
        LOCAL_ELECTRIC_FIELD,
        True,
        (3,),
        "eV/(e*A)",
        "",
        "mace_smile::local_electric_field",
        "field at an atom of all other static charges (and dipoles, where they enter the energy): "
        "minus the gradient of their potential",
    ),
    Quantity(
        CHARGES,
        True,
        (),
        "e",
        "REF_charges",
        "charge",
        "static charges, as they enter the electrostatic energy",
    ),
    Quantity(
        ATOMIC_DIPOLES,
        True,
        (3,),
        "e*A",
        "",
        "mace_smile::atomic_dipoles",
        "dipoles of atoms beside their charges, from - to +; fixed-electron scale",
    ),
    Quantity(
        RESPONSE_DIPOLE,
        False,
        (3,),
        "e*A",
        "",
        "mace_smile::response_dipole",
        "sum of response charges times positions and of atomic dipoles, from - to +; "
        "fixed-electron scale",
    ),
    Quantity(
        MACRO_DIPOLE,
        False,
        (3,),
        "e*A",
        "REF_dipole",
        "mace_smile::macro_dipole",
        "dipole of the cell as DFT reports it: response dipole, by 1 + chi along a slab normal",
    ),
    Quantity(
        SCREENING,
        True,
        (),
        "",
        "",
        "",
        "factor from charges to response charges, with screening global and local",
    ),
    Quantity(
        BORN_EFFECTIVE_CHARGES,
        True,
        (3, 3),
        "e",
        "REF_becs",
        "mace_smile::born_effective_charges",
        "Z[i, a, b] = d mu_a / d r_ib = d F_ib / d E_a, field index a first",
    ),
    Quantity(
        ACOUSTIC_RESIDUAL,
        False,
        (3, 3),
        "e",
        "",
        "",
        "sum of Born effective charges less the total charge, before anything is subtracted",
    ),
    Quantity(
        POLARIZABILITY,
        False,
        (3, 3),
        "e^2*A^2/eV",
        "REF_polarizability",
        "mace_smile::polarizability",
        "d mu_a / d E_b at fixed positions of the atoms, symmetric, sum over atoms",
    ),
    Quantity(
        POLARIZATION,
        False,
        (3,),
        "e/A^2",
        "",
        "",
        "label of periodic cells: dipole by volume, modulo the dipole quantum by volume",
    ),
    Quantity(TOTAL_CHARGE, False, (), "e", "total_charge", "", "net charge of the structure"),
    Quantity(GIVEN_CHARGES, True, (), "e", "", "", "charges that are given and not learned"),
    Quantity(GIVEN_MASK, True, (), "", "", "", "non-zero on the atoms whose charge is given"),
)

BY_NAME: dict[str, Quantity] = {quantity.name: quantity for quantity in TABLE}
