"""FiniteField around the two calculators of a model: its ``.model`` and its exported file."""

from pathlib import Path

import ase
import ase.units as units
import numpy as np
import pytest
import torch
from ase.md.verlet import VelocityVerlet
from metatomic.torch import ModelOutput
from metatomic_ase import MetatomicCalculator

from exported import FIELDS, write_model
from helpers import STRUCTURES, make_model, slab_water, water
from mace_smile.calculator import SmileCalculator
from mace_smile.dynamics import ConstantDisplacement, FiniteField, exported_calculator
from mace_smile.errors import UserError
from mace_smile.physics.driving_fields import FieldExpression

FIELD = "tilted"
VECTOR = np.array(FIELDS[FIELD])
TOLERANCE = 1e-8  # eV/A
BORN_CHARGES = "mace_smile::born_effective_charges"


@pytest.fixture(autouse=True)
def _unoptimized():
    """Let TorchScript run as it is: optimizing it for each shape takes longer than the runs."""
    with torch.jit.optimized_execution(False):
        yield


class Calculators:
    """Calculators of one model, its ``.model`` and its file; each is made once."""

    def __init__(self, folder: Path, **options) -> None:
        self.smile = make_model("2x0e+2x1o", n_layers=1, **options)
        self.path = write_model(folder, self.smile, boundary="auto")
        self.model = SmileCalculator(self.smile)
        self.exported = exported_calculator(self.path)
        self.variant = exported_calculator(self.path, variant=FIELD)


@pytest.fixture(scope="module")
def uncoupled(tmp_path_factory) -> Calculators:
    torch.set_default_dtype(torch.float64)  # before conftest.py does
    return Calculators(tmp_path_factory.mktemp("uncoupled"))


@pytest.fixture(scope="module")
def polarizable(tmp_path_factory) -> Calculators:
    torch.set_default_dtype(torch.float64)
    options = {"screening": "local", "polarizability_head": "local"}
    return Calculators(tmp_path_factory.mktemp("polarizable"), **options)


@pytest.fixture
def calculators(request) -> Calculators:
    """The kind that a test is parametrized with."""
    return request.getfixturevalue(request.param)


def plain(atoms: ase.Atoms) -> ase.Atoms:
    """Without given charges."""
    atoms = atoms.copy()
    atoms.arrays = {key: atoms.arrays[key] for key in ("numbers", "positions")}
    return atoms


@pytest.mark.parametrize("boundary", STRUCTURES)
def test_all_ways_to_a_field_give_the_same_forces(uncoupled, boundary):
    atoms = plain(STRUCTURES[boundary]())
    # The stock calculator, without FiniteField.
    expected = uncoupled.variant.get_property("forces", atoms)
    for field in (
        FiniteField(uncoupled.exported, VECTOR),
        FiniteField(uncoupled.variant),
        FiniteField(uncoupled.model, VECTOR),
        FiniteField(uncoupled.model, FieldExpression("0.03, -0.02, 0.04")),
    ):
        np.testing.assert_allclose(field.get_forces(atoms), expected, atol=TOLERANCE, rtol=0)
    without = uncoupled.exported.get_property("forces", atoms)
    assert np.abs(expected - without).max() > 1e-4
    energies = [calculator.get_potential_energy(atoms) for calculator in (field, uncoupled.model)]
    assert energies[0] == energies[1]


def test_all_ways_to_a_field_of_second_order_give_the_same_forces(polarizable):
    atoms = periodic_water()
    expected = polarizable.variant.get_property("forces", atoms)
    first_order = FiniteField(polarizable.exported, VECTOR, field_order=1).get_forces(atoms)
    assert np.abs(first_order - expected).max() > 1e-6
    for field in (FiniteField(polarizable.variant), FiniteField(polarizable.model, VECTOR)):
        np.testing.assert_allclose(field.get_forces(atoms), expected, atol=TOLERANCE, rtol=0)
    polarizable.model.electric_field = None
    again = FiniteField(polarizable.model, VECTOR, field_order=1).get_forces(atoms)
    np.testing.assert_allclose(again, first_order, atol=TOLERANCE, rtol=0)


def periodic_water() -> ase.Atoms:
    """Two water molecules in a triclinic periodic cell."""
    atoms = water(2, seed=2)
    atoms.set_cell([[6.2, 0, 0], [0.7, 4.3, 0], [-0.4, 0.5, 4.1]])
    atoms.pbc = True
    return atoms


def conserved(atoms, field: FiniteField, timestep: float, time: float = 8.0) -> np.ndarray:
    """U + K, and U - W + K, of each step of a run at constant energy, in eV."""
    atoms = atoms.copy()
    atoms.set_momenta(0.3 * np.random.default_rng(1).normal(size=(len(atoms), 3)))
    atoms.calc = field
    dynamics = VelocityVerlet(atoms, timestep * units.fs)
    field.follow(dynamics)
    rows = []

    def store() -> None:
        kinetic = atoms.get_kinetic_energy()
        rows.append((atoms.get_potential_energy() + kinetic, field.enthalpy + kinetic))

    dynamics.attach(store)
    dynamics.run(round(time / timestep))
    return np.array(rows)


@pytest.mark.parametrize(
    ("calculators", "kind", "field", "order"),
    [
        ("uncoupled", "exported", 5 * VECTOR, None),
        ("uncoupled", "exported", ConstantDisplacement(0.8, permittivity=1.8), None),
        ("uncoupled", "variant", None, None),
        ("polarizable", "variant", None, None),
        ("polarizable", "exported", 5 * VECTOR, 1),
        ("polarizable", "model", 5 * VECTOR, None),
        ("polarizable", "model", FieldExpression("0, 0.3*sin(0.3*t), 0.3"), None),
    ],
    indirect=["calculators"],
)
def test_enthalpy_is_conserved_in_a_periodic_run(calculators, kind, field, order):
    spread = []
    for timestep in (1.0, 0.5):
        calculators.model.electric_field = None
        follower = FiniteField(getattr(calculators, kind), field, field_order=order)
        rows = conserved(periodic_water(), follower, timestep)
        spread.append(np.ptp(rows[:, 1]))
    assert abs(follower.work) > 5 * spread[1]
    assert spread[1] < 0.35 * spread[0]  # second order in the time step


@pytest.mark.parametrize("kind", ["model", "exported"])
def test_response_dipole_and_path_agree_in_an_open_structure(polarizable, kind):
    changes = []
    polarizable.model.electric_field = None
    for dipole in ("accumulated", "response"):
        calculator = getattr(polarizable, kind)
        field = FiniteField(calculator, 5 * VECTOR, field_order=1, dipole=dipole)
        conserved(water(2), field, 0.25, time=3.0)
        changes.append(field.dipole_change)
    assert np.abs(changes[1]).max() > 1e-3
    np.testing.assert_allclose(changes[0], changes[1], rtol=1e-3, atol=1e-5)


def test_constant_displacement_takes_the_dipole_of_a_short_range_film(tmp_path):
    model = make_model("2x0e+2x1o", n_layers=1, electrostatics="none")
    atoms = plain(slab_water())
    displacement = ConstantDisplacement(0.3, 1.8, thickness=9.0, initial_dipole=None)
    calculator = SmileCalculator(model)
    calculator.get_property("dipole", atoms)
    dipole = calculator.outputs["response_dipole"][0]
    expected = displacement.field(atoms, 0.0, np.array([0, 0, dipole[2]]))
    for source in (
        calculator,
        exported_calculator(write_model(tmp_path, model, boundary="slab")),
    ):
        atoms.calc = field = FiniteField(source, displacement)
        field.follow(VelocityVerlet(atoms, units.fs))
        np.testing.assert_allclose(field.electric_field, expected, atol=1e-10)


def test_work_of_a_field_in_vacuum_is_that_of_what_is_left_inside(tmp_path):
    model = make_model("2x0e+2x1o", n_layers=1, susceptibility=0.5)
    options = {"boundary": "slab", "field_kind": "vacuum"}
    path = write_model(tmp_path, model, **options)
    atoms = plain(slab_water())
    vacuum = FiniteField(exported_calculator(path, variant=FIELD))
    inside = FiniteField(exported_calculator(path), [0.03, -0.02, 0.04 / 1.5])
    np.testing.assert_allclose(
        vacuum.get_forces(atoms), inside.get_forces(atoms), atol=TOLERANCE, rtol=0
    )
    ends = []
    for field in (vacuum, inside):
        copy = atoms.copy()
        copy.calc = field
        dynamics = VelocityVerlet(copy, units.fs)
        field.follow(dynamics)
        dynamics.run(3)
        ends.append(field.work)
    assert ends[0] == pytest.approx(ends[1], rel=1e-6)


def test_calculators_that_do_not_fit_are_refused(polarizable, tmp_path):
    path = polarizable.path
    with pytest.raises(UserError, match="has the field"):
        FiniteField(SmileCalculator(polarizable.smile, electric_field=VECTOR), VECTOR)
    with pytest.raises(UserError, match="does not ask for 'mace_smile::born_effective_charges'"):
        FiniteField(MetatomicCalculator(path), VECTOR)
    with pytest.raises(UserError, match="already applies its field 'tilted'"):
        FiniteField(polarizable.variant, VECTOR)
    with pytest.raises(UserError, match="second order only in fields of its own"):
        FiniteField(polarizable.exported, VECTOR)
    with pytest.raises(UserError, match="has no field 'up'; it has z05, tilted"):
        exported_calculator(path, variant="up")
    with pytest.raises(UserError, match="there is no file 'absent.pt'"):
        exported_calculator("absent.pt")
    (tmp_path / "text.pt").write_text("no model")
    with pytest.raises(UserError, match="cannot be read as an exported model"):
        exported_calculator(tmp_path / "text.pt")
    atoms = plain(slab_water())
    atoms.calc = FiniteField(polarizable.exported, ConstantDisplacement(thickness=9.0))
    with pytest.raises(UserError, match="contains the depolarization of the slab already"):
        atoms.get_forces()


def test_a_model_without_born_charges_is_refused(tmp_path):
    model = make_model("2x0e+2x1o", n_layers=1, screening="none")
    path = write_model(tmp_path, model, boundary="auto", fields={})
    with pytest.raises(UserError, match="has no Born effective charges"):
        exported_calculator(path)
    atoms = periodic_water()
    atoms.calc = FiniteField(SmileCalculator(model), VECTOR)
    with pytest.raises(UserError, match="computes no born_effective_charges"):
        atoms.get_forces()


def test_outputs_of_each_structure_instead_of_each_atom_are_refused(uncoupled):
    calculator = MetatomicCalculator(
        uncoupled.path, additional_outputs={BORN_CHARGES: ModelOutput(sample_kind="system")}
    )
    atoms = periodic_water()
    atoms.calc = FiniteField(calculator, VECTOR)
    with pytest.raises(UserError, match="must be asked for each atom"):
        atoms.get_forces()
