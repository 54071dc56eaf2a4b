"""The ASE calculator: standard names, fields, and inputs that ASE does not watch."""

import numpy as np
import pytest
import torch
from ase.calculators.calculator import PropertyNotImplementedError
from ase.outputs import all_outputs

from helpers import GIVEN, STRUCTURES, evaluate, make_model, slab_water, water
from mace_smile.calculator import SmileCalculator
from mace_smile.errors import UserError

FIELD = [0.02, -0.03, 0.05]


@pytest.mark.parametrize("boundary", STRUCTURES)
def test_results_are_the_models_under_ase_names(boundary):
    model = make_model()
    atoms = STRUCTURES[boundary]()
    expected = evaluate(model, atoms, compute_stress=True)
    atoms.calc = SmileCalculator(model)
    assert atoms.get_potential_energy() == pytest.approx(expected["energy"].item())
    np.testing.assert_allclose(atoms.get_forces(), expected["forces"].detach(), atol=1e-10)
    np.testing.assert_allclose(
        atoms.get_dipole_moment(), expected["macro_dipole"][0].detach(), atol=1e-10
    )
    np.testing.assert_allclose(atoms.get_charges(), expected["charges"].detach(), atol=1e-10)
    born = atoms.calc.get_property("born_effective_charges")
    np.testing.assert_allclose(born, expected["born_effective_charges"].detach(), atol=1e-10)
    assert set(atoms.calc.results) <= set(all_outputs)
    for name in ("short_range_energy", "electrostatic_energy", "electrostatic_potential"):
        np.testing.assert_allclose(atoms.calc.outputs[name], expected[name].detach(), atol=1e-10)
        with pytest.raises(PropertyNotImplementedError):
            atoms.calc.get_property(name, atoms)
    assert "local_electric_field" not in atoms.calc.outputs
    properties = atoms.get_properties(["energy", "charges", "born_effective_charges"])
    assert properties["charges"].shape == (len(atoms),)


def test_stress_is_that_of_ase():
    """Derivative of the energy with respect to strain, by the volume of the given cell."""
    for boundary in ("periodic", "slab"):
        atoms = STRUCTURES[boundary]()
        atoms.calc = SmileCalculator(make_model())
        stress = atoms.get_stress()
        step = 1e-5
        energies = []
        for sign in (1, -1):
            strained = atoms.copy()
            strained.calc = atoms.calc
            strain = np.eye(3)
            strain[0, 0] += sign * step
            strained.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            energies.append(strained.get_potential_energy())
        difference = (energies[0] - energies[1]) / (2 * step) / atoms.get_volume()
        assert stress[0] == pytest.approx(difference, rel=1e-6)


def test_an_open_structure_has_no_stress():
    atoms = water(2)
    atoms.calc = SmileCalculator(make_model())
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_stress()


@pytest.mark.parametrize(
    ("method", "terms"), [("ewald", "long_range"), ("pme", "full"), ("p3m", "full")]
)
@pytest.mark.parametrize("boundary", STRUCTURES)
def test_potential_and_local_field_are_those_of_fixed_charges(boundary, method, terms):
    """The work on a charge that is moved alone, by finite differences."""
    atoms = STRUCTURES[boundary]()
    charges = np.random.default_rng(0).normal(size=len(atoms))
    atoms.arrays["electrode_charge"] = charges - charges.mean()
    atoms.arrays["electrode"] = np.ones(len(atoms))
    model = make_model(screening="none", electrostatics=method, coulomb_terms=terms, **GIVEN)
    atoms.calc = SmileCalculator(model, local_electric_field=True)
    atoms.get_potential_energy()
    charges, outputs = atoms.get_charges(), atoms.calc.outputs
    half = 0.5 * charges @ outputs["electrostatic_potential"]
    assert outputs["electrostatic_energy"] == pytest.approx(half)
    assert set(atoms.calc.results) <= set(all_outputs)
    expected = charges[5] * outputs["local_electric_field"][5]
    step = 1e-4
    for axis in range(3):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.calc = atoms.calc
            moved.positions[5, axis] += sign * step
            moved.get_potential_energy()
            energies.append(atoms.calc.outputs["electrostatic_energy"][0])
        force = (energies[1] - energies[0]) / (2 * step)
        assert force == pytest.approx(expected[axis], rel=1e-5, abs=1e-5)


def test_a_local_field_without_electrostatics_is_refused():
    model = make_model(electrostatics="none")
    with pytest.raises(UserError, match="the model has no electrostatics"):
        SmileCalculator(model, local_electric_field=True)


@pytest.mark.parametrize("screening", ["uncoupled", "local"])
@pytest.mark.parametrize("boundary", STRUCTURES)
def test_a_field_pulls_with_the_born_charges(boundary, screening):
    atoms = STRUCTURES[boundary]()
    atoms.calc = SmileCalculator(make_model(screening=screening))
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    born = atoms.calc.results["born_effective_charges"]
    atoms.calc.electric_field = FIELD
    pulled = atoms.get_forces()
    np.testing.assert_allclose(pulled - forces, np.einsum("iab,a->ib", born, FIELD), atol=1e-10)
    assert np.abs(pulled - forces).max() > 1e-4
    assert atoms.get_potential_energy() == energy


def test_a_field_without_born_charges_is_refused():
    for options in ({"charge_head": "none", "electrostatics": "none"}, {}):
        model = make_model(screening="none", **options)
        with pytest.raises(UserError, match="no Born effective charges .*--screening global"):
            SmileCalculator(model, electric_field=FIELD)


@pytest.mark.parametrize("field", [[0.1], [0.0, 0.0, np.nan]])
def test_a_field_must_be_three_numbers(field):
    with pytest.raises(UserError, match="three finite numbers"):
        SmileCalculator(make_model(), electric_field=field)


def test_changed_charges_are_not_served_from_the_cache():
    atoms = slab_water()
    atoms.calc = SmileCalculator(make_model(**GIVEN))
    first = atoms.get_potential_energy()
    atoms.arrays["electrode_charge"][-2:] = [0.4, -0.4]
    second = atoms.get_potential_energy()
    assert second != pytest.approx(first)
    atoms.info["total_charge"] = 1.0
    assert atoms.get_potential_energy() != pytest.approx(second)


def test_missing_given_charges_are_told_once():
    atoms = slab_water()
    del atoms.arrays["electrode_charge"], atoms.arrays["electrode"]
    atoms.calc = SmileCalculator(make_model(**GIVEN))
    with pytest.warns(UserWarning, match="given charges 'electrode_charge', which the atoms do"):
        atoms.get_potential_energy()
    atoms.rattle(0.01, seed=1)
    atoms.get_potential_energy()


def test_models_load_from_files_in_either_precision(tmp_path):
    model = make_model()
    path = tmp_path / "small.model"
    torch.save(model, path)
    atoms = water(3)
    forces = {}
    for dtype in ("float64", "float32"):
        atoms.calc = SmileCalculator(path, default_dtype=dtype)
        forces[dtype] = atoms.get_forces()
    assert forces["float32"].dtype == np.float32
    np.testing.assert_allclose(forces["float32"], forces["float64"], atol=1e-4)
    with pytest.raises(UserError, match="must be float32 or float64"):
        SmileCalculator(path, default_dtype="float16")


def test_a_total_charge_that_is_no_number_is_refused():
    atoms = water(2)
    atoms.calc = SmileCalculator(make_model())
    for value in ("much", np.nan):
        atoms.info["total_charge"] = value
        with pytest.raises(UserError, match="must be one finite number"):
            atoms.get_potential_energy()


def test_the_total_charge_is_read_where_training_read_it():
    atoms = water(2)
    atoms.info["Q"] = -1.0
    atoms.calc = SmileCalculator(make_model(total_charge_key="Q"))
    assert atoms.get_charges().sum() == pytest.approx(-1.0)


def test_the_head_is_chosen_by_name_and_not_by_its_place():
    model = make_model()
    found = []
    for heads in (["Default"], ["other", "Default"], ["one", "two"]):
        model.heads = heads
        if "Default" not in heads:
            with pytest.raises(UserError, match="no head was chosen: the model has one, two"):
                SmileCalculator(model)
            with pytest.raises(UserError, match="there is no head 'three': the model has one"):
                SmileCalculator(model, head="three")
        head = None if "Default" in heads else "two"
        calculator = SmileCalculator(model, head=head)
        found.append(int(calculator._batch(STRUCTURES["open"]())["head"]))
    assert found == [0, 1, 1]


def test_a_device_that_is_missing_is_named(tmp_path):
    torch.save(make_model(), tmp_path / "small.model")
    with pytest.raises(UserError, match="the device 'nonsense' cannot be used"):
        SmileCalculator(tmp_path / "small.model", device="nonsense")
