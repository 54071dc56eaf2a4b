"""The work of a field along a trajectory."""

import numpy as np
import pytest

from mace_smile.analysis.field_work import field_work
from mace_smile.errors import UserError

CELL = np.array([[8.0, 0.0, 0.0], [1.0, 7.0, 0.0], [0.5, -1.0, 9.0]])
PERIODIC = np.ones(3, dtype=bool)


def path(n_frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two atoms on smooth paths across the boundary, with dipole mu_a = (r_a + r_0^2) and its Z."""
    time = np.linspace(0.0, 1.0, n_frames)[:, None]
    atoms = [np.array([6.0, 1.0, 2.0]) * time, np.array([-2.0, 3.0, 1.0]) * time**2]
    positions = np.stack(atoms, axis=1)
    born = np.zeros((n_frames, 2, 3, 3))
    born[:] = np.eye(3)
    born[..., 2, 0] += 2 * positions[..., 0]  # field along z, displacement along x
    dipole = positions.sum(1)
    dipole[:, 2] += (positions[..., 0] ** 2).sum(1)
    return positions, born, dipole


def test_work_in_a_static_field_is_field_times_change_of_dipole():
    field = np.array([0.3, -0.2, 0.7])
    positions, born, dipole = path(200)
    fractions = positions @ np.linalg.inv(CELL)
    wrapped = (fractions % 1.0) @ CELL
    found = field_work(wrapped, born, field, CELL, PERIODIC)
    assert np.abs(wrapped - positions).max() > 1.0
    np.testing.assert_allclose(found, (dipole - dipole[0]) @ field, atol=1e-12)


def test_work_in_a_field_of_time_is_the_integral_of_its_power():
    errors = []
    for n_frames in (101, 201):
        time = np.linspace(0.0, 1.0, n_frames)
        positions, born, _ = path(n_frames)
        fields = np.zeros((n_frames, 3))
        fields[:, 0] = np.cos(5 * time)
        found = field_work(positions, born, fields, CELL, PERIODIC)
        # mu_x = 6 t - 2 t^2: the integral of cos(5 t) (6 - 4 t)
        exact = (6 - 4 * time) * np.sin(5 * time) / 5 + 4 * (1 - np.cos(5 * time)) / 25
        errors.append(np.abs(found - exact).max())
    assert errors[0] < 2e-3
    assert errors[1] < 0.3 * errors[0]


def test_arrays_that_do_not_fit_are_refused():
    positions, born, _ = path(4)
    with pytest.raises(UserError, match="born_charges"):
        field_work(positions, born[1:], np.zeros(3), CELL, PERIODIC)
    with pytest.raises(UserError, match="fields"):
        field_work(positions, born, np.zeros((3, 3)), CELL, PERIODIC)
