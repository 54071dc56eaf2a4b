"""The background that neutralises a charged cell: its size, and where it is told."""

import warnings

import numpy as np
import pytest
import torch

from helpers import bulk_water, evaluate, make_model, slab_water
from mace_smile.calculator import SmileCalculator
from mace_smile.errors import UserError
from mace_smile.evaluation.evaluator import ModelEvaluator
from mace_smile.model.net_charge import BackgroundEnergy, NetChargeRule
from mace_smile.model.options import SmileOptions
from mace_smile.physics.electrostatics import COULOMB_CONSTANT, Electrostatics
from mace_smile.physics.parameters import choose_parameters

PERIODIC = (True, True, True)


def test_background_is_what_the_sum_has_when_no_wave_is_left():
    """Charges much wider than the cell feel the background and their own self term only."""
    smearing, side, scale = 20.0, 5.0, 1.3
    charge = 2.0 / scale
    charges = torch.tensor([[0.75 * charge], [0.25 * charge]])
    potential = Electrostatics(choose_parameters(smearing=smearing))(
        charges,
        torch.tensor([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]]),
        side * torch.eye(3)[None],
        torch.ones((1, 3), dtype=torch.bool),
        torch.zeros(2, dtype=torch.long),
        torch.zeros((2, 0), dtype=torch.long),
        torch.zeros((0, 3)),
    )
    energy = 0.5 * float((charges * potential).sum())
    self_term = COULOMB_CONSTANT * float((charges**2).sum()) / (np.sqrt(2 * np.pi) * smearing)
    rule = NetChargeRule.of_model(SmileOptions(smearing=smearing, screening_value=scale), 5.0)
    expected = rule.background_energy(2.0, side * np.eye(3), PERIODIC).background
    assert energy + self_term == pytest.approx(expected, rel=1e-10)
    assert expected < -100.0


@pytest.mark.parametrize("terms", ["long_range", "full"])
def test_images_are_those_of_the_sum_in_a_cubic_cell(terms):
    """One charge, whose energy in the open is that of its own smeared self: none."""
    side, scale = 15.0, 1.3
    charges = torch.tensor([[2.0 / scale]])
    edges = (torch.zeros((2, 0), dtype=torch.long), torch.zeros((0, 3)))
    potential = Electrostatics(choose_parameters(terms=terms))(
        charges,
        torch.zeros((1, 3)),
        side * torch.eye(3)[None],
        torch.ones((1, 3), dtype=torch.bool),
        torch.zeros(1, dtype=torch.long),
        *edges,
    )
    rule = NetChargeRule.of_model(SmileOptions(coulomb_terms=terms, screening_value=scale), 5.0)
    images = rule.background_energy(2.0, side * np.eye(3), PERIODIC).images
    assert images == pytest.approx(0.5 * float((charges * potential).sum()), rel=1e-5)


def test_background_belongs_to_charged_cells_with_three_periodic_axes():
    rule = NetChargeRule.of_model(SmileOptions(), 5.0)
    cell = 10.0 * np.eye(3)
    energies = rule.background_energy(1.0, cell, PERIODIC)
    assert energies.background == pytest.approx(-0.045238, rel=1e-4)
    assert rule.background_energy(1.0, cell[[1, 0, 2]], PERIODIC) == energies  # left-handed
    for charge, pbc in ((0.0, PERIODIC), (None, PERIODIC), (1.0, (True, True, False))):
        assert rule.background_energy(charge, cell, pbc) is None


@pytest.mark.parametrize(
    ("options", "has_background"),
    [
        ({"boundary": "periodic"}, True),
        ({"boundary": "slab"}, False),
        ({"boundary": "open"}, False),
        ({"electrostatics": "none"}, False),
        ({"total_charge_constraint": "none"}, False),
        ({"coulomb_terms": "full"}, True),
    ],
)
def test_boundary_and_constraint_of_the_model_count(options, has_background):
    rule = NetChargeRule.of_model(SmileOptions(**options), 5.0)
    energies = rule.background_energy(1.0, 10.0 * np.eye(3), PERIODIC)
    assert (energies is not None) == has_background


def test_background_term_is_told_only_where_the_smearing_is_physics():
    rule = NetChargeRule.of_model(SmileOptions(coulomb_terms="full"), 5.0)
    energies = rule.energies(1.0, 1000.0)
    assert (
        energies.describe() == "the images with the background change the energy by about -2.04 eV"
    )
    text = NetChargeRule.of_model(SmileOptions(), 5.0).energies(1.0, 1000.0).describe("up to ")
    assert text == (
        "the background term is up to -0.0452 eV, and the images with the background change the "
        "energy by up to about -2.04 eV"
    )


def test_largest_energies_may_be_those_of_different_structures():
    energies = [BackgroundEnergy(-1.0, -0.3), BackgroundEnergy(-2.0, -0.1)]
    assert BackgroundEnergy.largest(energies) == BackgroundEnergy(-2.0, -0.3)
    assert BackgroundEnergy.largest([BackgroundEnergy(-1.0)]) == BackgroundEnergy(-1.0)


def charged(create=bulk_water, charge=1.0):
    atoms = create()
    atoms.info["total_charge"] = charge
    return atoms


def test_calculator_tells_once():
    atoms = charged()
    atoms.calc = SmileCalculator(make_model())
    term = -np.pi * COULOMB_CONSTANT / atoms.get_volume()
    images = -2.837297 * COULOMB_CONSTANT / (2.0 * np.cbrt(atoms.get_volume()))
    message = f"term is {term:.3g} eV, and the images .* {images:.3g} eV; energies of cells"
    with pytest.warns(UserWarning, match=message):
        atoms.get_potential_energy()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*net charge")
        atoms.rattle(0.01)
        atoms.get_potential_energy()
        for neutral in (charged(charge=0.0), bulk_water(), charged(slab_water)):
            neutral.calc = SmileCalculator(make_model())
            neutral.get_potential_energy()


def test_calculator_refuses_where_the_model_says_so():
    atoms = charged()
    atoms.calc = SmileCalculator(make_model(net_charge="error"))
    with pytest.raises(UserError, match="make the structure neutral .*--net_charge warn"):
        atoms.get_potential_energy()
    for atoms in (charged(slab_water), bulk_water()):
        atoms.calc = SmileCalculator(make_model(net_charge="error"))
        atoms.get_potential_energy()


def test_evaluation_tells_once_and_refuses_with_the_number_of_the_frame():
    frames = [bulk_water(), charged(), charged()]
    with pytest.warns(UserWarning, match="frame 1 has a net charge of 1 e") as record:
        list(ModelEvaluator(make_model()).outputs(frames))
    assert sum("net charge" in str(warning.message) for warning in record) == 1
    with pytest.raises(UserError, match="frame 1: structure H16O8 .*the net charge is 1 e"):
        list(ModelEvaluator(make_model(net_charge="error")).outputs(frames))


def test_energy_of_a_charged_cell_is_finite():
    assert np.isfinite(evaluate(make_model(), charged())["energy"].item())
