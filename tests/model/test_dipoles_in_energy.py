"""Models whose atomic dipoles enter the energy: derivatives, scales, parts of the energy."""

import copy
import itertools

import numpy as np
import pytest
import torch
from e3nn.util.jit import compile as compile_model
from mace.tools.torch_tools import default_dtype

from coulomb import energy, random_cell, random_dipoles
from helpers import (
    GIVEN,
    STRUCTURES,
    bulk_water,
    energy_of,
    evaluate,
    make_batch,
    make_model,
    open_water,
    slab_water,
)
from mace_smile.errors import UserError
from mace_smile.model.long_range import DipoleHardness
from mace_smile.model.options import SmileOptions
from mace_smile.model.rescaling import with_screening_value
from mace_smile.physics.electrostatics import COULOMB_CONSTANT, Electrostatics
from mace_smile.physics.parameters import choose_parameters

SUMS = {
    "auto": {},
    "full, own list": {"coulomb_terms": "full", "coulomb_cutoff": 5.5},
    "learned p3m": {
        "electrostatics": "p3m",
        "long_range_readout": "learned",
        "long_range_channels": 2,
    },
}


def make_dipolar_model(**options):
    """A model whose atomic dipoles are of ordinary size, and in its energy."""
    both = {"dipole_head": "local", "dipoles_in_energy": True, "screening": "none"}
    model = make_model(n_layers=1, **{**both, **options})
    with torch.no_grad():
        model.charge_heads["atomic_dipoles"].gates.weight.mul_(60.0)
    return model


@pytest.fixture(scope="module", params=SUMS)
def model(request):
    with default_dtype(torch.float64):
        return make_dipolar_model(**SUMS[request.param])


@pytest.mark.parametrize("boundary", STRUCTURES)
def test_forces_are_derivatives_of_the_energy(model, boundary):
    atoms = STRUCTURES[boundary]()
    forces = evaluate(model, atoms)["forces"].detach().numpy()
    step, energies = 1e-3, []
    for sign in (2, 1, -1, -2):
        moved = atoms.copy()
        moved.positions[4, 2] += sign * step
        energies.append(energy_of(model, moved))
    slope = (-energies[0] + 8 * energies[1] - 8 * energies[2] + energies[3]) / (12 * step)
    assert -slope == pytest.approx(forces[4, 2], rel=4e-6, abs=4e-6)


def test_stress_is_the_derivative_of_the_energy(model):
    atoms = bulk_water()
    stress = evaluate(model, atoms, compute_stress=True)["stress"][0].detach().numpy()
    step = 1e-4
    for a, b in ((0, 0), (1, 2)):
        energies = []
        for sign in (2, 1, -1, -2):
            strain = np.eye(3)
            strain[a, b] += 0.5 * sign * step
            strain[b, a] += 0.5 * sign * step
            strained = atoms.copy()
            strained.set_cell(atoms.cell @ strain, scale_atoms=True)
            energies.append(energy_of(model, strained))
        slope = (-energies[0] + 8 * energies[1] - 8 * energies[2] + energies[3]) / (12 * step)
        assert slope / atoms.get_volume() == pytest.approx(stress[a, b], rel=1e-5, abs=1e-7)


def test_energies_add_up(model):
    output = evaluate(model, slab_water(), compute_local_electric_field=True)
    total = output["short_range_energy"] + output["electrostatic_energy"]
    torch.testing.assert_close(output["energy"], total, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(output["node_energy"].sum(), total[0], rtol=1e-12, atol=1e-12)
    if not model.has_learned_readout:
        charges = output["charges"] * output["electrostatic_potential"]
        dipoles = -(output["atomic_dipoles"] * output["local_electric_field"]).sum(dim=1)
        assert float(dipoles.detach().sum().abs()) > 0.01
        half = 0.5 * (charges + dipoles).sum()
        torch.testing.assert_close(half, output["electrostatic_energy"][0])


def test_a_mixed_batch_is_one_at_a_time_scripted_or_not(model):
    frames = [bulk_water(), open_water(), slab_water()]
    output = model(make_batch(frames, model), compute_local_electric_field=True)
    scripted = compile_model(copy.deepcopy(model))
    found = scripted(make_batch(frames, model), compute_local_electric_field=True)
    for name in ("energy", "forces", "electrostatic_potential", "local_electric_field"):
        torch.testing.assert_close(found[name], output[name], rtol=1e-10, atol=1e-10)
    start = 0
    for number, atoms in enumerate(frames):
        alone = evaluate(model, atoms, compute_local_electric_field=True)
        here = slice(start, start + len(atoms))
        for name in ("energy", "electrostatic_energy", "short_range_energy"):
            torch.testing.assert_close(output[name][number], alone[name][0], rtol=1e-11, atol=1e-11)
        for name in ("forces", "electrostatic_potential", "local_electric_field"):
            torch.testing.assert_close(output[name][here], alone[name], rtol=1e-10, atol=1e-10)
        start += len(atoms)


def test_dipoles_enter_the_energy_on_the_scale_of_its_charges():
    """A factor s of response charges, and half the dipoles with half the factor."""
    model, other = (make_dipolar_model(screening_value=value) for value in (2.0, 1.0))
    with torch.no_grad():
        other.charge_heads["atomic_dipoles"].gates.weight.mul_(0.5)
    first, second = (evaluate(one, slab_water()) for one in (model, other))
    assert float(second["atomic_dipoles"].detach().norm(dim=1).mean()) > 0.03
    for name in ("energy", "electrostatic_energy", "forces", "electrostatic_potential"):
        torch.testing.assert_close(first[name], second[name], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(first["response_dipole"], 2.0 * second["response_dipole"])


def test_dipoles_that_are_zero_change_nothing():
    model = make_dipolar_model(**GIVEN, susceptibility=0.4)
    both = {**GIVEN, "susceptibility": 0.4, "dipole_head": "local", "screening": "none"}
    other = make_model(n_layers=1, **both)
    names = other.state_dict()
    other.load_state_dict({k: v for k, v in model.state_dict().items() if k in names})
    assert abs(energy_of(model, slab_water()) - energy_of(other, slab_water())) > 1e-3
    with torch.no_grad():
        for one in (model, other):
            one.charge_heads["atomic_dipoles"].gates.weight.zero_()
    found, expected = (
        evaluate(one, slab_water(), compute_local_electric_field=True) for one in (model, other)
    )
    for name in ("energy", "forces", "electrostatic_potential", "local_electric_field"):
        torch.testing.assert_close(found[name], expected[name], rtol=1e-10, atol=1e-10)


def test_hardness_of_dipoles_starts_with_what_the_sum_leaves_out():
    """Together they are the sum over all reciprocal vectors, which is never negative."""
    structure, sigma = random_cell(6), 1.1
    structure = structure.change(charges=torch.zeros_like(structure.charges))
    dipoles = random_dipoles(structure)
    module = Electrostatics(choose_parameters("ewald", smearing=sigma))
    hardness = DipoleHardness(n_elements=1, smearing=sigma)
    found = energy(module, structure, dipoles) + hardness(dipoles, torch.ones(6, 1)).sum()
    cell = structure.cell.numpy()
    numbers = np.array(list(itertools.product(range(-12, 13), repeat=3)))
    k = numbers[np.any(numbers != 0, axis=1)] @ (2 * np.pi * np.linalg.inv(cell).T)
    squares = (k**2).sum(axis=1)
    factors = ((k @ dipoles.numpy().T) * np.exp(1j * k @ structure.positions.numpy().T)).sum(axis=1)
    kernel = np.exp(-(sigma**2) * squares / 2) / squares
    volume = abs(np.linalg.det(cell))
    expected = 2 * np.pi * COULOMB_CONSTANT / volume * (kernel * abs(factors) ** 2).sum()
    assert float(found.detach()) == pytest.approx(expected, rel=1e-7)
    hardness.relative.data[0] = 0.0
    assert hardness(dipoles, torch.ones(6, 1)).tolist() == [0.0] * 6


def test_every_parameter_has_a_gradient():
    model = make_dipolar_model()
    evaluate(model, bulk_water(), training=True)["forces"].square().sum().backward()
    for name, parameter in model.charge_heads.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_float32_is_close_to_float64():
    model = make_dipolar_model(coulomb_terms="full")
    expected = evaluate(model, bulk_water())
    found = copy.deepcopy(model).float()
    with default_dtype(torch.float32):
        output = evaluate(found, bulk_water())
    assert output["forces"].dtype == torch.float32
    torch.testing.assert_close(output["forces"].double(), expected["forces"], rtol=0, atol=2e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dipole_head": "none"}, "no atomic dipoles; use `dipole_head` local, or leave it out"),
        ({"electrostatics": "none"}, "no electrostatic energy; use `charge_head` local and"),
        ({"charge_head": "none"}, "no electrostatic energy; use `charge_head` local and"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SmileOptions(**{"dipole_head": "local", "dipoles_in_energy": True, **options})


def test_a_factor_cannot_be_set_afterwards():
    with pytest.raises(UserError, match="enter its energy as d / s.*--screening_value"):
        with_screening_value(make_dipolar_model(), 1.3)
