"""An ion on a spring between plates that are not connected: its frequency, and its energy."""

import ase
import ase.units as units
import numpy as np
import pytest
from ase.md.verlet import VelocityVerlet

from harmonic import CHARGE, INVERSE_EPS0, SPRING, frequency, ion
from mace_smile.dynamics import ConstantDisplacement, FiniteField
from mace_smile.errors import UserError

MASS = 20.0
SIDE = 3.5  # A


def run(atoms: ase.Atoms, displacement: ConstantDisplacement, steps: int, timestep: float = 0.1):
    """A run at constant energy: the field, places of the ion, and U + K of each step."""
    field = FiniteField(atoms.calc, displacement)
    atoms.calc = field
    dynamics = VelocityVerlet(atoms, timestep * units.fs)
    field.follow(dynamics)
    rows = []
    dynamics.attach(
        lambda: rows.append(
            (
                dynamics.get_time(),
                *atoms.positions[0],
                atoms.get_potential_energy() + atoms.get_kinetic_energy(),
                field.work,
                displacement.stored_energy(atoms, field.electric_field),
                field.electric_field[2],
            )
        )
    )
    dynamics.run(steps)
    return np.array(rows)


@pytest.mark.parametrize("permittivity", [1.0, 2.5])
def test_frequency_is_the_longitudinal_one(permittivity):
    atoms = ion(SIDE)
    atoms.positions += 0.05
    displacement = ConstantDisplacement(permittivity=permittivity, initial_dipole=0.05 * CHARGE)
    rows = run(atoms, displacement, steps=1200, timestep=0.4)
    stiffer = CHARGE**2 * INVERSE_EPS0 / (permittivity * SIDE**3)
    longitudinal = np.sqrt((SPRING + stiffer) / MASS)
    transverse = np.sqrt(SPRING / MASS)
    assert longitudinal > 1.2 * transverse
    assert frequency(rows[:, 0], rows[:, 3]) == pytest.approx(longitudinal, rel=1e-4)
    assert frequency(rows[:, 0], rows[:, 1]) == pytest.approx(transverse, rel=1e-4)
    # It swings about the place without polarization: mu_0 was that of the displaced ion.
    assert rows[:, 3].max() + rows[:, 3].min() == pytest.approx(2.0, abs=1e-4)


@pytest.mark.parametrize("slope", [0.0, 0.8])
def test_internal_energy_is_conserved(slope):
    spread = []
    for timestep in (0.2, 0.1):
        atoms = ion(SIDE, slope=slope)
        atoms.set_momenta([[0.2, 0.1, 0.5]])
        displacement = ConstantDisplacement(0.4, permittivity=1.8)
        rows = run(atoms, displacement, int(60 / timestep), timestep)
        spread.append(np.ptp(rows[:, 4] + rows[:, 6]))
        # G = U + 1/2 V eps0 eps E^2 and U - W are the same up to a constant.
        np.testing.assert_allclose(np.ptp(rows[:, 6] + rows[:, 5]), 0.0, atol=1e-12)
    assert np.ptp(rows[:, 4]) > 30 * spread[1]
    assert spread[1] < 2e-5
    assert spread[1] < 0.3 * spread[0]


def test_forces_are_minus_the_gradient_of_the_internal_energy():
    displacement = ConstantDisplacement(0.4, permittivity=1.8)
    atoms = ion(SIDE)
    field = FiniteField(atoms.calc, displacement)
    atoms.calc = field
    field.follow(VelocityVerlet(atoms, units.fs))

    def internal_energy(z: float) -> float:
        atoms.positions[0, 2] = 1.0 + z
        energy = atoms.get_potential_energy()
        dipole = np.array([0.0, 0.0, CHARGE * z])
        return energy + displacement.stored_energy(atoms, displacement.field(atoms, 0.0, dipole))

    step = 1e-4
    expected = -(internal_energy(0.1 + step) - internal_energy(0.1 - step)) / (2 * step)
    atoms.positions[0, 2] = 1.1
    assert atoms.get_forces()[0, 2] == pytest.approx(expected, rel=1e-6)


def test_equilibrium_is_that_of_an_ion_in_a_capacitor():
    held, permittivity = 0.4, 1.8
    atoms = ion(SIDE)
    rows = run(atoms, ConstantDisplacement(held, permittivity), steps=500, timestep=0.4)
    # k x = Z (D/eps0 - Z x / (eps0 V)) / eps
    stiffer = CHARGE**2 * INVERSE_EPS0 / (permittivity * SIDE**3)
    expected = CHARGE * held / permittivity / (SPRING + stiffer)
    assert 0.5 * (rows[:, 3].max() + rows[:, 3].min()) - 1.0 == pytest.approx(expected, rel=1e-3)


def test_work_of_a_changing_displacement_is_counted():
    atoms = ion(SIDE)
    rows = run(atoms, ConstantDisplacement(lambda t: 0.02 * t, 1.8), steps=500)
    conserved = rows[:, 4] - rows[:, 5]
    assert np.ptp(rows[:, 4]) > 1e3 * np.ptp(conserved)
    assert np.ptp(rows[:, 4]) > 0.02


def test_field_in_a_film_is_that_of_its_thickness():
    atoms = ion(SIDE)
    atoms.pbc = [True, True, False]
    dipole = np.array([0.3, 0.1, 0.7])
    film = ConstantDisplacement(0.2, permittivity=2.0, thickness=5.0)
    expected = (0.2 - 0.7 / (SIDE**2 * 5.0) * INVERSE_EPS0) / 2.0
    np.testing.assert_allclose(film.field(atoms, 0.0, dipole), [0, 0, expected], atol=1e-14)
    assert film.stored_energy(atoms, np.array([0, 0, 0.1])) == pytest.approx(
        0.5 * SIDE**2 * 5.0 * 2.0 * 0.01 / INVERSE_EPS0
    )


def test_field_is_along_the_normal_of_a_tilted_cell():
    atoms = ase.Atoms("Ne", cell=[[4, 0, 0], [1, 4, 0], [0.5, 0.7, 5]], pbc=True)
    displacement = ConstantDisplacement(0.2, axis=0)
    normal = np.cross(atoms.cell[1], atoms.cell[2])
    field = displacement.field(atoms, 0.0, np.zeros(3))
    np.testing.assert_allclose(field, 0.2 * normal / np.linalg.norm(normal))
    assert displacement.volume(atoms) == pytest.approx(atoms.get_volume())


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"permittivity": 0.5}, "`permittivity` is 0.5 but must be at least 1"),
        ({"axis": 3}, "`axis` is 3"),
        ({"thickness": -1.0}, "`thickness` is -1.0"),
        ({"external_field": np.nan}, "`external_field` is nan"),
    ],
)
def test_bad_options_are_refused(options, match):
    with pytest.raises(UserError, match=match):
        ConstantDisplacement(**options)


def test_structures_without_a_volume_or_a_dipole_are_refused():
    atoms = ion()
    with pytest.raises(UserError, match="needs the two other cell vectors"):
        ConstantDisplacement().normal(atoms)
    atoms.set_cell([4, 4, 4])
    atoms.pbc = [True, True, False]
    with pytest.raises(UserError, match="give ConstantDisplacement the `thickness`"):
        ConstantDisplacement().volume(atoms)
    atoms.calc = FiniteField(atoms.calc, ConstantDisplacement(thickness=3.0, initial_dipole=None))
    with pytest.raises(UserError, match="the model has no dipole"):
        atoms.get_forces()
    with pytest.raises(UserError, match="stands for the electrons"):
        FiniteField(atoms.calc, ConstantDisplacement(), field_order=2)
