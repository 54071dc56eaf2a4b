"""Polarizabilities: symmetry, extensivity, and forces to second order in a field."""

import copy
import functools

import numpy as np
import pytest
import torch
from e3nn.util import jit
from scipy.constants import epsilon_0, physical_constants
from scipy.spatial.transform import Rotation
from torchpme.prefactors import eV_A

from helpers import STRUCTURES, evaluate, make_batch, make_model, water
from mace_smile.calculator import SmileCalculator
from mace_smile.errors import UserError
from mace_smile.model.options import SmileOptions

IRREPS = ["4x0e", "4x0e+4x1o", "4x0e+4x1o+4x2e"]
FIELD = np.array([0.3, -0.2, 0.5])


@functools.cache
def polarizable(hidden_irreps: str = "4x0e+4x1o", **options):
    return make_model(hidden_irreps, polarizability_head="local", **options).eval()


def polarizability(model, atoms) -> np.ndarray:
    return evaluate(model, atoms, compute_force=False)["polarizability"][0].detach().numpy()


def test_unit_is_that_of_the_documentation():
    """A polarizability volume in A^3 times 4 pi eps0, in e^2 A^2/eV; one of water is 1.45 A^3."""
    charge = physical_constants["elementary charge"][0]
    in_si = 4 * np.pi * epsilon_0 * 1e-30
    assert in_si / (charge**2 * 1e-20 / charge) == pytest.approx(1 / eV_A, rel=1e-6)
    bohr = physical_constants["Bohr radius"][0] * 1e10
    hartree = physical_constants["Hartree energy in eV"][0]
    assert bohr**2 / hartree == pytest.approx(bohr**3 / eV_A, rel=1e-6)
    assert bohr**2 / hartree == pytest.approx(0.0102908, rel=1e-5)


@pytest.mark.parametrize("hidden_irreps", IRREPS)
@pytest.mark.parametrize("boundary", STRUCTURES)
def test_turns_with_the_structure_and_is_symmetric(hidden_irreps, boundary):
    model, atoms = polarizable(hidden_irreps), STRUCTURES[boundary]()
    rotation = Rotation.random(random_state=0).as_matrix()
    turned = atoms.copy()
    turned.positions = atoms.positions @ rotation.T
    turned.set_cell(atoms.cell.array @ rotation.T)
    alpha = polarizability(model, atoms)
    np.testing.assert_allclose(
        polarizability(model, turned), rotation @ alpha @ rotation.T, atol=1e-10
    )
    mirrored = atoms.copy()
    mirrored.positions, cell = -atoms.positions, -atoms.cell.array
    mirrored.set_cell(cell)
    np.testing.assert_allclose(polarizability(model, mirrored), alpha, atol=1e-10)
    np.testing.assert_array_equal(alpha, alpha.T)
    assert np.abs(alpha - np.trace(alpha) / 3 * np.eye(3)).max() > 1e-3


def test_grows_with_the_structure():
    model, atoms = polarizable(), STRUCTURES["periodic"]()
    alpha = polarizability(model, atoms)
    np.testing.assert_allclose(
        polarizability(model, atoms.repeat((2, 1, 2))), 4 * alpha, atol=1e-10
    )
    one, other = water(1, seed=1), water(1, seed=2)
    far = one + other
    far.positions[3:] += 50.0
    added = polarizability(model, one) + polarizability(model, other)
    np.testing.assert_allclose(polarizability(model, far), added, atol=1e-10)


def test_structures_of_a_batch_do_not_mix():
    model = polarizable()
    frames = [create() for create in STRUCTURES.values()]
    together = model(make_batch(frames, model), compute_force=False)["polarizability"]
    for alpha, atoms in zip(together.detach().numpy(), frames, strict=True):
        np.testing.assert_allclose(alpha, polarizability(model, atoms), atol=1e-12)


@pytest.mark.parametrize("screening", ["uncoupled", "local"])
def test_scripted_model_gives_the_same(screening):
    model = polarizable(screening=screening)
    compiled = jit.compile(copy.deepcopy(model))
    fields = torch.tensor(np.array([FIELD, 2 * FIELD]))
    batch = make_batch([STRUCTURES["periodic"]()], model)
    with torch.no_grad():  # as an engine may
        expected = model(dict(batch), compute_force=False, polarizing_fields=fields)
        found = compiled(dict(batch), compute_force=False, polarizing_fields=fields)
    for name in ("polarizability", "second_order_forces", "born_effective_charges"):
        torch.testing.assert_close(found[name], expected[name], atol=1e-12, rtol=0.0)
    forces = found["second_order_forces"]
    torch.testing.assert_close(forces[1], 4 * forces[0], atol=1e-12, rtol=0.0)


def enthalpy(atoms, field: np.ndarray) -> float:
    """H = U - E . mu - 1/2 E . alpha E in eV, from what the calculator reports."""
    calculator = atoms.calc
    energy = atoms.get_potential_energy()
    alpha = calculator.outputs["polarizability"][0]
    return energy - field @ calculator.outputs["response_dipole"][0] - 0.5 * field @ alpha @ field


@pytest.mark.parametrize("screening", ["global", "local"])
def test_forces_in_a_field_are_those_of_the_enthalpy(screening):
    """Open structures, whose dipole has the Born charges as its derivative."""
    model = polarizable(screening=screening, screening_value=1.3)
    atoms = STRUCTURES["open"]()
    atoms.calc = SmileCalculator(model, electric_field=FIELD)
    forces = atoms.get_forces()
    first = SmileCalculator(model, electric_field=FIELD, field_order=1)
    assert np.abs(forces - first.get_forces(atoms)).max() > 1e-3
    step = 1e-4
    for atom, axis in ((0, 0), (4, 1), (8, 2)):
        enthalpies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.calc = atoms.calc
            moved.positions[atom, axis] += sign * step
            enthalpies.append(enthalpy(moved, FIELD))
        expected = (enthalpies[1] - enthalpies[0]) / (2 * step)
        assert forces[atom, axis] == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("boundary", STRUCTURES)
def test_second_order_is_quadratic_and_leaves_energy_and_stress(boundary):
    atoms = STRUCTURES[boundary]()
    model = polarizable()
    results = {}
    for factor in (-1, 0, 1):
        calculator = SmileCalculator(model, electric_field=factor * FIELD)
        calculator.calculate(atoms)
        results[factor] = calculator.results
    even = 0.5 * (results[1]["forces"] + results[-1]["forces"]) - results[0]["forces"]
    step, atom = 1e-4, 5
    for axis in range(3):
        halves = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * step
            halves.append(0.5 * FIELD @ polarizability(model, moved) @ FIELD)
        difference = (halves[0] - halves[1]) / (2 * step)
        assert even[atom, axis] == pytest.approx(difference, abs=1e-8)
    assert np.abs(even).max() > 1e-4
    for name in {"energy", "stress"} & set(results[0]):
        np.testing.assert_array_equal(results[1][name], results[0][name])


def test_dipole_in_a_field_is_the_derivative_of_the_enthalpy():
    """It is mu + alpha E, and alpha = -d2H/dE2."""
    model = polarizable(screening="local")
    atoms = STRUCTURES["open"]()
    atoms.calc = SmileCalculator(model, electric_field=FIELD)
    dipole = atoms.get_dipole_moment()
    alpha = atoms.calc.outputs["polarizability"][0]
    h = 1e-2
    for axis in range(3):
        values = []
        for sign in (1, 0, -1):
            field = FIELD + sign * h * np.eye(3)[axis]
            atoms.calc.electric_field = field
            values.append(enthalpy(atoms, field))
        assert dipole[axis] == pytest.approx((values[2] - values[0]) / (2 * h), abs=1e-9)
        curvature = (2 * values[1] - values[0] - values[2]) / h**2
        assert alpha[axis, axis] == pytest.approx(curvature, abs=1e-8)
    first = SmileCalculator(model, electric_field=FIELD, field_order=1)
    np.testing.assert_allclose(dipole - first.get_dipole_moment(atoms), alpha @ FIELD, atol=1e-12)


def test_orders_the_model_does_not_have_are_refused():
    with pytest.raises(UserError, match="no polarizability; use 1, or train with --polarizab"):
        SmileCalculator(make_model(), electric_field=FIELD, field_order=2)
    with pytest.raises(UserError, match="`field_order` is 3 but must be 1 or 2"):
        SmileCalculator(polarizable(), field_order=3)
    with pytest.raises(UserError, match="no Born effective charges to couple"):
        SmileCalculator(polarizable(screening="none"), electric_field=FIELD)


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="`polarizability_head` is 'global' but must be one of"):
        SmileOptions(polarizability_head="global")
    with pytest.raises(ValueError, match="`polarizability_channels` is 0"):
        SmileOptions(polarizability_channels=0)
