"""Voltages across a slab: sign, normal, and what is no voltage."""

import ase
import numpy as np
import pytest
import torch

from exported import build, forces
from helpers import make_model, slab_water
from mace_smile.errors import UserError
from metatensor_models.voltages import (
    Voltage,
    fields_of_voltages,
    join_fields,
    normal_of_cell,
    parse_voltages,
)

BIAS = {"bias": Voltage(2.0, 20.0)}
TILTED = np.array([[6.2, 0.0, 0.0], [0.8, 6.4, 0.0], [0.0, 0.0, 18.0]])


def rotation(angle: float) -> np.ndarray:
    """About the x axis."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def test_a_potential_that_rises_along_the_normal_pushes_positive_charges_back():
    for axis in range(3):
        (field,) = fields_of_voltages(BIAS, "slab", axis, None).values()
        assert field == tuple(-0.1 * np.eye(3)[axis])


def test_normal_is_that_of_the_cell_and_points_along_its_third_vector():
    cell = TILTED @ rotation(0.3).T
    normal = rotation(0.3) @ [0, 0, 1]
    np.testing.assert_allclose(normal_of_cell(cell, 2), normal, atol=1e-14)
    left_handed = cell[[1, 0, 2]]
    np.testing.assert_allclose(normal_of_cell(left_handed, 2), normal, atol=1e-14)
    without = cell * [[1], [1], [0]]  # ASE's slab without a third vector: right-handed
    np.testing.assert_allclose(normal_of_cell(without, 2), normal, atol=1e-14)
    (field,) = fields_of_voltages(BIAS, "slab", 2, cell).values()
    np.testing.assert_allclose(field, -0.1 * normal, atol=1e-14)


def test_a_slab_along_another_normal_is_refused_by_the_model():
    torch.set_default_dtype(torch.float64)
    fields = {"bias": (0.0, 0.0, -0.1), "other": (0.1, 0.0, 0.0)}
    exported = build(make_model(), boundary="slab", fields=fields, voltages=BIAS)
    atoms = slab_water()
    before = forces(exported, atoms, "energy/bias")
    turned = ase.Atoms(
        atoms.numbers,
        atoms.positions @ rotation(0.3).T,
        cell=atoms.cell.array @ rotation(0.3).T,
        pbc=atoms.pbc,
    )
    forces(exported, turned, "energy/other")
    with pytest.raises(torch.jit.Error, match="the normal of the slab is not along it"):
        forces(exported, turned, "energy/bias")
    assert np.isfinite(before).all()


@pytest.mark.parametrize(
    ("texts", "length", "message"),
    [
        (["1"], None, "add --length L"),
        ([], 5.0, "no effect without --voltage"),
        (["1"], 0.0, "`--length` is 0 but must be positive"),
        (["1"], float("nan"), "must be positive"),
        (["a/b=1"], 5.0, "must read V or NAME=V"),
        (["a=x"], 5.0, "a finite number in V"),
        (["a=1", "a=2"], 5.0, "names 'a' twice"),
        (["1", "2"], 5.0, "names 'voltage' twice"),
    ],
)
def test_malformed_voltages_are_refused(texts, length, message):
    with pytest.raises(UserError, match=message):
        parse_voltages(texts, length)


def test_boundaries_without_a_normal_and_names_of_fields_are_refused():
    for boundary in ("auto", "periodic", "open"):
        with pytest.raises(UserError, match="along the normal of a slab"):
            fields_of_voltages(BIAS, boundary, 2, None)
    with pytest.raises(UserError, match="has no area across axis 2"):
        fields_of_voltages(BIAS, "slab", 2, np.zeros((3, 3)))
    with pytest.raises(UserError, match="both name 'z'"):
        join_fields({"z": (0.0, 0.0, 1.0)}, {"z": (0.0, 0.0, 2.0)})
