"""Outputs of a model under a symmetry: turned, reordered, repeated, and compared."""

import numpy as np
import torch

from mace_smile import quantities
from mace_smile.selftest.finding import Finding, compare
from mace_smile.selftest.tolerances import (
    MESH_SYMMETRY,
    ON_MESH,
    ROUNDING,
    SYMMETRY,
    tolerance,
)

Outputs = dict[str, np.ndarray]

#: What symmetries hold for, and how it turns: as a scalar, a vector or a tensor.
RANKS = {
    quantities.ENERGY: 0,
    quantities.FORCES: 1,
    quantities.STRESS: 2,
    quantities.CHARGES: 0,
    quantities.ATOMIC_DIPOLES: 1,
    quantities.BORN_EFFECTIVE_CHARGES: 2,
    quantities.POLARIZABILITY: 2,
}
#: Quantities of a structure that grow with it.
EXTENSIVE = (quantities.ENERGY, quantities.POLARIZABILITY)


def turned(outputs: Outputs, rotation: np.ndarray) -> Outputs:
    """Outputs of a structure that was turned, from those of the structure.

    :param rotation: shape ``(3, 3)``, acts on columns.
    """
    result = {}
    for name, rank in RANKS.items():
        if name in outputs:
            value = outputs[name]
            if rank > 0:
                value = value @ rotation.T
            result[name] = rotation @ value if rank == 2 else value
    return result


def of_atoms(outputs: Outputs, order: np.ndarray) -> Outputs:
    """Outputs with the atoms in another order, or repeated.

    :param order: numbers of atoms.
    """
    return {
        name: outputs[name][order] if quantities.BY_NAME[name].per_atom else outputs[name]
        for name in RANKS
        if name in outputs
    }


def compare_outputs(
    check: str,
    found: Outputs,
    expected: Outputs,
    dtype: torch.dtype,
    has_mesh: bool,
    without: tuple[str, ...] = (),
) -> list[Finding]:
    """A finding for each quantity that symmetries hold for.

    :param found: of the changed structure.
    :param expected: what symmetry wants.
    :param dtype: of the model.
    :param has_mesh: whether one of both comes from a sum over a mesh.
    :param without: quantities to leave out.
    """
    kind = MESH_SYMMETRY if has_mesh else SYMMETRY
    findings = []
    for name in RANKS:
        if name not in expected or name in without:
            continue
        values = [np.asarray(outputs[name], dtype=float) for outputs in (found, expected)]
        quantity, unit = name.replace("_", " "), quantities.BY_NAME[name].unit
        allowed = tolerance(kind, dtype, name)
        if name in EXTENSIVE:
            values = [values[0] / _size(found), values[1] / _size(expected)]
            quantity += " per atom"
        if name == quantities.ENERGY:
            # Energies of isolated atoms are large and say nothing; what they leave is rounding.
            allowed += ROUNDING * torch.finfo(dtype).eps * float(np.abs(values[1]).max())
            values = [values[0] - values[1], np.zeros_like(values[1])]
        note = "on a mesh" if has_mesh and name in ON_MESH else ""
        findings.append(compare(check, quantity, unit, values[0], values[1], allowed, note))
    return findings


def _size(outputs: Outputs) -> int:
    """Number of atoms."""
    return len(outputs[quantities.FORCES])
