"""What a field must do in an exported model, worked out anew from its Born charges."""

from collections.abc import Mapping

import ase
import numpy as np
from metatomic.torch import AtomisticModel

from metatensor_models.fields import Vector
from metatensor_models.trial import BORN_CHARGES, TOLERANCES, compare


def slab_normal_of(model: AtomisticModel, atoms: ase.Atoms) -> np.ndarray:
    """Unit normal of a slab as the model sees it, shape ``(3,)``; its sign has no meaning."""
    axis = int(model.module.slab_axis)
    if model.module.boundary != "slab":
        axis = int(np.argmin(atoms.pbc))
    cross = np.cross(atoms.cell[(axis + 1) % 3], atoms.cell[(axis + 2) % 3])
    normal: np.ndarray = cross / np.linalg.norm(cross)
    return normal


def acting_fields(model: AtomisticModel, atoms: ase.Atoms, field: Vector) -> np.ndarray:
    """The field that acts on each atom: a field in vacuum divided by 1 + chi along the normal.

    :param field: as it is given, in V/A.
    :return: shape ``(n_atoms, 3)``, in V/A.
    """
    fields = np.tile(np.array(field), (len(atoms), 1))
    if model.module.field_kind != "vacuum":
        return fields
    chi, given_chi = model.module.susceptibilities
    mask = model.module.given_mask.numpy()
    chis = np.where(mask != 0, given_chi, chi) if len(mask) else np.full(len(atoms), chi)
    normal = slab_normal_of(model, atoms)
    along = (fields @ normal)[:, None] * normal
    inside: np.ndarray = fields - along * (chis / (1.0 + chis))[:, None]
    return inside


def check_fields(
    model: AtomisticModel,
    found: Mapping[str, np.ndarray],
    atoms: ase.Atoms,
    fields: Mapping[str, Vector],
) -> dict[str, float]:
    """Refuse a file whose fields do not exert Z^T E (and the second order, where they have one).

    :param found: all outputs of the file for the structure.
    :param atoms: the structure.
    :param fields: name and vector in V/A of each field.
    :return: the largest force of each field in eV/A.
    :raises SelfCheckError: when a force is another.
    """
    tolerance = TOLERANCES[model.capabilities().dtype]
    largest: dict[str, float] = {}
    for name, field in fields.items():
        acting = acting_fields(model, atoms, field)
        forces = np.einsum("iab,ia->ib", found[BORN_CHARGES], acting)
        if model.module.field_order == 2:
            forces = forces + found[f"second order/{name}"]
        compare("force of a field", found[f"forces/{name}"], found["forces"] + forces, tolerance)
        largest[name] = float(np.abs(found[f"forces/{name}"] - found["forces"]).max())
    return largest
