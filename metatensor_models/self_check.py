"""A file is written only when it gives, loaded anew, what the model in memory gives."""

from pathlib import Path

import numpy as np
from metatomic.torch import AtomisticModel, load_atomistic_model

from metatensor_models.field_check import check_fields
from metatensor_models.fields import Vector
from metatensor_models.trial import TOLERANCES, compare, evaluate, trial_structures


def check_exported(
    path: str | Path, eager: AtomisticModel | None, fields: dict[str, Vector]
) -> None:
    """Compare a written file with the model in memory, on small trial structures.

    All outputs and the forces of each variant must agree, and the force of each field must be
    Z^T E, and half the gradient of E . alpha E where the field acts to second order.

    :param path: the exported file.
    :param eager: the model before compilation, with the same interface; None where there is none.
    :param fields: name and vector in V/A of each field.
    :raises SelfCheckError: when they differ.
    """
    written = load_atomistic_model(path)
    tolerance = TOLERANCES[written.capabilities().dtype]
    module = written.module
    given = module.given_numbers.tolist()
    directions = [
        np.array(field)
        for field, is_along in zip(fields.values(), module.along_normal, strict=True)
        if is_along
    ]
    structures = trial_structures(
        written,
        module.boundary,
        int(module.slab_axis),
        bool(fields) and module.field_kind == "vacuum",
        given,
        tilt_along(directions, int(module.slab_axis)),
    )
    for atoms in structures:
        found = evaluate(written, atoms, fields)
        if eager is not None:
            for name, values in evaluate(eager, atoms).items():
                compare(name, found[name], values, tolerance)
        check_fields(written, found, atoms, fields)


def tilt_along(directions: list[np.ndarray], axis: int) -> np.ndarray | None:
    """Rotation that takes a Cartesian axis to the fields of voltages, which need such slabs.

    :param directions: fields, each of shape ``(3,)``, parallel or zero.
    :param axis: number of the Cartesian axis.
    :return: shape ``(3, 3)``; None where there is no such field.
    """
    longest = max(directions, key=lambda field: float(np.linalg.norm(field)), default=np.zeros(3))
    if not longest.any():
        return None
    normal = longest / np.linalg.norm(longest)
    others = np.linalg.svd(normal[None])[2][1:]  # two unit vectors across the normal
    rows = np.insert(others, axis, normal, axis=0)
    if np.linalg.det(rows) < 0:
        rows[(axis + 1) % 3] *= -1.0
    rotation: np.ndarray = rows.T
    return rotation
