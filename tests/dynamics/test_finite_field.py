"""An ion on a spring in a field: its place, its amplitude, and the energy that is conserved."""

import ase
import ase.units as units
import numpy as np
import pytest
from ase.constraints import FixAtoms
from ase.md.langevin import Langevin
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS

from harmonic import CHARGE, SPRING, Springs, ion
from mace_smile.dynamics import FiniteField
from mace_smile.errors import UserError
from mace_smile.physics.driving_fields import FieldExpression

FIELD = np.array([0.0, 0.0, 0.05])


class Run:
    """A run at constant energy, and what it goes through."""

    def __init__(
        self, atoms: ase.Atoms, field, steps: int, timestep: float = 0.5, **options
    ) -> None:
        self.atoms = atoms
        self.field = FiniteField(atoms.calc, field, **options)
        atoms.calc = self.field
        self.dynamics = VelocityVerlet(atoms, timestep * units.fs)
        self.field.follow(self.dynamics)
        self.times, self.z, self.energies, self.conserved = [], [], [], []
        self.dynamics.attach(self._store)
        self.dynamics.run(steps)

    def _store(self) -> None:
        self.times.append(self.field.time)
        self.z.append(self.atoms.positions[0, 2])
        kinetic = self.atoms.get_kinetic_energy()
        self.energies.append(self.atoms.get_potential_energy() + kinetic)
        self.conserved.append(self.field.enthalpy + kinetic)


def test_ion_swings_about_the_place_where_spring_and_field_balance():
    run = Run(ion(), FIELD, steps=250, timestep=1.0)
    middle = 0.5 * (max(run.z) + min(run.z)) - 1.0
    assert middle == pytest.approx(CHARGE * FIELD[2] / SPRING, rel=1e-3)


def test_ion_comes_to_rest_where_spring_and_field_balance():
    atoms = ion()
    atoms.calc = field = FiniteField(atoms.calc, FIELD)
    dynamics = Langevin(atoms, units.fs, temperature_K=0.0, friction=0.05 / units.fs, fixcm=False)
    field.follow(dynamics)
    dynamics.run(600)
    assert atoms.positions[0, 2] - 1.0 == pytest.approx(CHARGE * FIELD[2] / SPRING, rel=1e-6)
    # U = 1/2 k x^2 and H = U - Z E x at x = Z E / k
    energy = 0.5 * (CHARGE * FIELD[2]) ** 2 / SPRING
    assert atoms.get_potential_energy() == pytest.approx(energy, rel=1e-5)
    assert field.enthalpy == pytest.approx(-energy, rel=1e-5)


def test_driven_ion_has_the_amplitude_of_a_driven_oscillator():
    own, driven = np.sqrt(SPRING / 20.0) * units.fs, 0.02  # rad/fs
    run = Run(ion(), FieldExpression(f"0, 0, 0.05*cos({driven}*t)"), steps=1000, timestep=0.5)
    # x(t) = Z E / m (cos w t - cos w0 t) / (w0^2 - w^2), from rest
    times = np.array(run.times)
    factor = CHARGE * 0.05 / 20.0 * units.fs**2 / (own**2 - driven**2)
    expected = factor * (np.cos(driven * times) - np.cos(own * times))
    np.testing.assert_allclose(np.array(run.z) - 1.0, expected, atol=1e-3 * np.abs(expected).max())
    assert times[-1] == pytest.approx(500.0)


@pytest.mark.parametrize("slope", [0.0, 0.8])
@pytest.mark.parametrize("field", [FIELD, FieldExpression("0, 0, 0.05*sin(0.03*t)")])
def test_enthalpy_is_conserved_and_energy_is_not(field, slope):
    spread = []
    for timestep in (0.5, 0.25):
        atoms = ion(cell=4.0, slope=slope)
        atoms.set_momenta([[0.3, 0.1, 0.4]])
        run = Run(atoms, field, steps=int(150 / timestep), timestep=timestep)
        spread.append(np.ptp(run.conserved))
    assert np.ptp(run.energies) > 100 * spread[1]
    assert spread[1] < 2e-5
    assert spread[1] < 0.3 * spread[0]  # second order in the time step


def test_dipole_is_that_of_the_whole_path_across_cells():
    atoms = ase.Atoms("Ne", [[1.0, 1.0, 1.0]], cell=[3.0, 3.0, 3.0], pbc=True, masses=[20.0])

    class Free(Springs):
        def calculate(self, *arguments, **options):
            super().calculate(*arguments, **options)
            self.results["forces"] *= 0.0

    atoms.calc = Free(atoms.positions)
    atoms.set_velocities([[0.0, 0.0, 0.05 / units.fs]])
    field = FiniteField(atoms.calc, [0.0, 0.0, 0.0])
    atoms.calc = field
    dynamics = VelocityVerlet(atoms, units.fs)
    field.follow(dynamics)
    dynamics.attach(atoms.wrap)  # the user wraps atoms at each step
    dynamics.run(200)
    assert 0.0 <= atoms.positions[0, 2] < 3.0
    np.testing.assert_allclose(field.dipole_change, [0.0, 0.0, CHARGE * 10.0], atol=1e-9)


def test_wrapping_between_steps_changes_neither_field_nor_time():
    def final(wrap: bool) -> np.ndarray:
        atoms = ion(cell=4.0)
        atoms.positions += [0.0, 0.0, 2.9]  # near the face
        atoms.calc = Springs(atoms.positions)
        atoms.calc = field = FiniteField(atoms.calc, FieldExpression("0, 0, 0.5*sin(0.1*t)"))
        dynamics = VelocityVerlet(atoms, 0.5 * units.fs)
        field.follow(dynamics)
        if wrap:
            dynamics.attach(atoms.wrap)
        dynamics.run(150)
        return np.array([field.work, *field.dipole_change, field.enthalpy])

    assert abs(final(False)[0]) > 1e-3
    np.testing.assert_allclose(final(True), final(False), atol=1e-10)


def test_looking_at_forces_and_other_structures_counts_nothing():
    atoms = ion()
    atoms.calc = field = FiniteField(atoms.calc, FieldExpression("0, 0, 0.05*cos(0.02*t)"))
    dynamics = VelocityVerlet(atoms, 0.5 * units.fs)
    field.follow(dynamics)

    def look() -> None:
        for shift in (0.0, 0.3, -0.2):
            copy = atoms.copy()
            copy.positions += shift
            copy.calc = field
            copy.get_forces()
            copy.get_potential_energy()
            atoms.get_forces()

    dynamics.attach(look)
    dynamics.run(100)
    undisturbed = Run(ion(), FieldExpression("0, 0, 0.05*cos(0.02*t)"), steps=100)
    assert field.work == undisturbed.field.work
    np.testing.assert_array_equal(atoms.positions, undisturbed.atoms.positions)


def test_one_evaluation_a_step():
    atoms = ion()
    springs = atoms.calc
    Run(atoms, FIELD, steps=50)
    assert springs.calls == 51


def test_fixed_atoms_feel_the_field_and_do_no_work():
    atoms = ase.Atoms("Ne2", [[0.0, 0.0, 0.0], [5.0, 0.0, 0.0]])
    atoms.calc = Springs(atoms.positions)
    atoms.set_constraint(FixAtoms([0]))
    run = Run(atoms, FIELD, steps=100)
    raw = atoms.get_forces(apply_constraint=False)
    np.testing.assert_allclose(raw[0], CHARGE * FIELD)
    assert not atoms.get_forces()[0].any()
    np.testing.assert_allclose(
        run.field.dipole_change, [0, 0, CHARGE * atoms.positions[1, 2]], atol=1e-12
    )
    assert np.ptp(run.conserved) < 1e-5


def test_time_goes_on_when_nothing_moves():
    atoms = ion()
    atoms.set_constraint(FixAtoms([0]))
    run = Run(atoms, FieldExpression("0, 0, 0.001*t"), steps=10, timestep=1.0)
    assert run.field.time == pytest.approx(10.0)
    assert run.field.electric_field[2] == pytest.approx(0.01)
    assert atoms.get_forces(apply_constraint=False)[0, 2] == pytest.approx(CHARGE * 0.01)


def test_results_have_names_that_ase_knows(tmp_path):
    from ase.calculators.calculator import all_properties
    from ase.io import read

    run = Run(ion(cell=5.0), FIELD, steps=5)
    assert set(run.field.results) <= set(all_properties)
    properties = run.atoms.get_properties(["energy", "forces", "born_effective_charges"])
    assert properties["energy"] == run.atoms.get_potential_energy()
    run.atoms.write(tmp_path / "frame.traj")
    stored = read(tmp_path / "frame.traj")
    assert stored.calc.results["free_energy"] == run.field.enthalpy
    np.testing.assert_array_equal(stored.get_forces(), run.atoms.get_forces())


def test_stress_that_the_model_has_not_is_refused_by_ase():
    from ase.calculators.calculator import PropertyNotImplementedError

    atoms = ion()
    atoms.calc = FiniteField(atoms.calc, FIELD)
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_stress()


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ([0.0, 0.1], r"\[0.0, 0.1\] but must be three finite numbers"),
        ([0.0, 0.1, np.nan], "three finite numbers in V/A"),
        ("up", "three finite numbers in V/A"),
        (None, "`field` is missing"),
    ],
)
def test_a_field_that_is_none_is_refused(value, match):
    with pytest.raises(UserError, match=match):
        FiniteField(Springs([[0.0, 0.0, 0.0]]), value)


def test_a_calculator_without_born_charges_is_refused():
    from ase.calculators.emt import EMT

    atoms = ase.Atoms("Cu2", [[0, 0, 0], [0, 0, 2.5]])
    atoms.calc = FiniteField(EMT(), FIELD)
    with pytest.raises(UserError, match="EMT computes no born_effective_charges"):
        atoms.get_forces()


def test_minimisers_and_other_calculators_are_refused():
    atoms = ion()
    field = FiniteField(atoms.calc, FIELD)
    with pytest.raises(UserError, match="set `atoms.calc` to the FiniteField"):
        field.follow(VelocityVerlet(atoms, units.fs))
    atoms.calc = field
    with pytest.raises(UserError, match="BFGS is no molecular dynamics"):
        field.follow(BFGS(atoms, logfile=None))
    with pytest.raises(UserError, match="follows no dynamics"):
        _ = field.enthalpy


def test_what_changes_along_the_way_must_be_followed():
    atoms = ion()
    atoms.calc = FiniteField(atoms.calc, FieldExpression("0, 0, 0.1*t"))
    atoms.get_forces()
    atoms.rattle(0.1)
    with pytest.raises(UserError, match=r"call follow\(dynamics\) before the run"):
        atoms.get_forces()


def test_another_structure_or_cell_is_refused():
    run = Run(ion(cell=5.0), FIELD, steps=1)
    other = ase.Atoms("Ne2", [[0, 0, 0], [2.0, 0, 0]], cell=[5, 5, 5], pbc=True)
    other.calc = run.field
    with pytest.raises(UserError, match="of 1 atoms and was asked for one of 2"):
        other.get_forces()
    run.atoms.set_cell([5.1, 5.0, 5.0])
    with pytest.raises(UserError, match="cell has changed"):
        run.atoms.get_forces()


def test_order_and_dipole_that_cannot_be_had_are_refused():
    with pytest.raises(UserError, match="no polarizability"):
        FiniteField(Springs([[0, 0, 0]]), FIELD, field_order=2)
    with pytest.raises(UserError, match="`field_order` is 3"):
        FiniteField(Springs([[0, 0, 0]]), FIELD, field_order=3)
    with pytest.raises(UserError, match="`dipole` is 'model'"):
        FiniteField(Springs([[0, 0, 0]]), FIELD, dipole="model")
    atoms = ion()
    atoms.calc = FiniteField(atoms.calc, FIELD, dipole="response")
    with pytest.raises(UserError, match="screening global or local"):
        atoms.get_forces()
