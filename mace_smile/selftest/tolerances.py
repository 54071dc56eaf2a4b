"""How exact each quantity must be, by precision.

A tolerance holds times the largest component of what is compared, where that is above 1; those of
energies are absolute, in eV an atom, beside the rounding of the whole energy. Finite
differences are taken in float64 in any case, of a copy of the model; what the float32 column
allows there is the rounding of the derivative itself. Symmetries of float64 allow for models
that were stored in float32, whose constants are rounded. A mesh (PME, P3M) breaks the symmetry
of space by its spacing, for which there is a column of its own.
"""

import torch

from mace_smile import quantities

DERIVATIVE = "derivative"
SYMMETRY = "symmetry"
MESH_SYMMETRY = "symmetry on a mesh"
#: Largest drift of the conserved energy over a run of molecular dynamics in meV/atom, both
#: precisions: what the integrator itself leaves is well below.
DRIFT = 0.5
#: The energy of PME jumps where an atom changes its mesh points, and differences see the jumps: up
#: to 17 times the error of the mesh times the largest electrostatic force were found, for
#: spacings from a sixth to a half of the smearing.
PME_JUMPS = 50.0
#: Largest error of a supercell in e where Born charges are approximated by phases, which get
#: better with the width of the cell: a property of the method.
PHASE_SUPERCELL = 0.1

#: Rounding of energies, in units of the precision times the energy: the sum of some thousand atoms.
ROUNDING = 200.0
#: What a mesh has a part in; charges and their derivatives know nothing of it.
ON_MESH = (quantities.ENERGY, quantities.FORCES, quantities.STRESS)

TOLERANCES: dict[str, dict[torch.dtype, dict[str, float]]] = {
    DERIVATIVE: {
        torch.float64: {
            quantities.FORCES: 1e-5,
            quantities.STRESS: 1e-6,
            quantities.BORN_EFFECTIVE_CHARGES: 1e-5,
            quantities.POLARIZABILITY: 1e-5,
        },
        torch.float32: {
            quantities.FORCES: 1e-3,
            quantities.STRESS: 1e-4,
            quantities.BORN_EFFECTIVE_CHARGES: 1e-3,
            quantities.POLARIZABILITY: 1e-3,
        },
    },
    SYMMETRY: {
        torch.float64: dict.fromkeys(quantities.BY_NAME, 1e-6),
        torch.float32: dict.fromkeys(quantities.BY_NAME, 5e-4) | {quantities.ENERGY: 1e-5},
    },
    MESH_SYMMETRY: {
        torch.float64: dict.fromkeys(quantities.BY_NAME, 1e-6) | dict.fromkeys(ON_MESH, 1e-3),
        torch.float32: dict.fromkeys(quantities.BY_NAME, 5e-4) | dict.fromkeys(ON_MESH, 2e-3),
    },
}


def tolerance(kind: str, dtype: torch.dtype, name: str) -> float:
    """The tolerance of a quantity, in its unit; energies are per atom.

    :param kind: ``DERIVATIVE``, ``SYMMETRY`` or ``MESH_SYMMETRY``.
    :param dtype: float32 or float64.
    :param name: of :mod:`mace_smile.quantities`.
    """
    return TOLERANCES[kind][dtype][name]
