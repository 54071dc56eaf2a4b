"""The long-range energy inside a model: every method, readout, neighbour list and boundary."""

import copy

import numpy as np
import pytest
import torch
from e3nn.util.jit import compile as compile_model
from mace.tools.torch_tools import default_dtype

from helpers import (
    STRUCTURES,
    bulk_water,
    energy_of,
    evaluate,
    make_backbone,
    make_batch,
    make_model,
    open_water,
    slab_water,
)
from mace_smile.model.long_range import Hardness, LearnedReadout
from mace_smile.model.options import SmileOptions
from mace_smile.model.smile_mace import SmileMACE

SUMS = {
    "ewald": {"electrostatics": "ewald"},
    "p3m": {"electrostatics": "p3m"},
    "pme": {"electrostatics": "pme"},
    "full": {"coulomb_terms": "full"},
    "full, own list": {"coulomb_terms": "full", "coulomb_cutoff": 5.5},
    "learned": {"long_range_readout": "learned", "long_range_channels": 3},
    "learned p3m": {
        "electrostatics": "p3m",
        "long_range_readout": "learned",
        "long_range_channels": 2,
    },
}


@pytest.fixture(scope="module", params=SUMS)
def model(request):
    with default_dtype(torch.float64):
        return make_model(screening="none", **SUMS[request.param])


@pytest.mark.parametrize("boundary", STRUCTURES)
def test_forces_are_derivatives_of_the_energy(model, boundary):
    atoms = STRUCTURES[boundary]()
    forces = evaluate(model, atoms)["forces"].detach().numpy()
    step = 1e-3
    for atom, axis in ((0, 0), (4, 2), (7, 1)):
        energies = []
        for sign in (2, 1, -1, -2):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * step
            energies.append(energy_of(model, moved))
        slope = (-energies[0] + 8 * energies[1] - 8 * energies[2] + energies[3]) / (12 * step)
        assert -slope == pytest.approx(forces[atom, axis], rel=2e-6, abs=2e-6)


def test_stress_is_the_derivative_of_the_energy(model):
    atoms = bulk_water()
    stress = evaluate(model, atoms, compute_stress=True)["stress"][0].detach().numpy()
    step = 1e-4
    for a, b in ((0, 0), (1, 2), (0, 1)):
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


def test_a_mixed_batch_is_the_same_as_one_at_a_time(model):
    frames = [bulk_water(), open_water(), slab_water(), bulk_water()[:12]]
    output = model(make_batch(frames, model), compute_local_electric_field=True)
    start = 0
    for number, atoms in enumerate(frames):
        alone = evaluate(model, atoms, compute_local_electric_field=True)
        atoms_here = slice(start, start + len(atoms))
        for name in ("energy", "electrostatic_energy", "short_range_energy"):
            torch.testing.assert_close(output[name][number], alone[name][0], rtol=1e-11, atol=1e-11)
        for name in ("forces", "charges", "electrostatic_potential", "local_electric_field"):
            torch.testing.assert_close(
                output[name][atoms_here], alone[name], rtol=1e-10, atol=1e-10
            )
        start += len(atoms)


def test_energies_add_up(model):
    output = evaluate(model, slab_water())
    total = output["short_range_energy"] + output["electrostatic_energy"]
    torch.testing.assert_close(output["energy"], total, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(output["node_energy"].sum(), total[0], rtol=1e-12, atol=1e-12)
    if not model.has_learned_readout:
        half = 0.5 * (output["charges"] * output["electrostatic_potential"]).sum()
        torch.testing.assert_close(half, output["electrostatic_energy"][0])


def test_scripted_models_give_the_same(model):
    batch = make_batch([make() for make in STRUCTURES.values()], model)
    expected = model(dict(batch), compute_local_electric_field=True)
    scripted = compile_model(copy.deepcopy(model))
    found = scripted(dict(batch), compute_local_electric_field=True)
    for name in ("energy", "forces", "electrostatic_potential", "local_electric_field"):
        torch.testing.assert_close(found[name], expected[name], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("terms", ["long_range", "full"])
@pytest.mark.parametrize("boundary", STRUCTURES)
def test_the_local_field_times_the_charge_is_the_force_on_a_fixed_charge(boundary, terms):
    model = make_model(screening="none", coulomb_terms=terms)
    batch = make_batch([STRUCTURES[boundary]()], model)
    output = model(dict(batch), compute_local_electric_field=True)
    positions = batch["positions"].detach().requires_grad_(True)
    sender, receiver = batch["edge_index"]
    charges = output["charges"].detach()[:, None]
    potential = model.long_range.electrostatics(
        charges,
        positions,
        batch["cell"].view(-1, 3, 3),
        batch["pbc"].view(-1, 3),
        batch["batch"],
        batch["edge_index"],
        positions[receiver] - positions[sender] + batch["shifts"],
    )
    (gradient,) = torch.autograd.grad(0.5 * (charges * potential).sum(), positions)
    torch.testing.assert_close(charges * output["local_electric_field"], -gradient)


def test_the_learned_readout_is_zero_without_charges():
    readout = LearnedReadout(n_channels=3, width=8)
    torch.nn.init.normal_(readout.output.bias)
    charges, potentials = torch.zeros(5, 3), torch.randn(5, 3)
    assert torch.equal(readout(charges, potentials), torch.zeros(5))
    assert (readout(charges + 0.5, potentials) != 0).all()


def test_charges_that_grow_in_a_molecule_cost_little_at_the_start():
    """What neutral molecules have is the energy of a smooth and neutral density.

    The hardness starts with the energy of each Gaussian charge with itself, which the sum omits.
    """
    atoms = bulk_water()
    energies = {}
    for size in (0.0, 0.3, 0.6):
        model = make_model(screening="none")
        with torch.no_grad():
            head = model.charge_heads["charges"]
            head.output.weight.zero_()
            head.element_charges.copy_(torch.tensor([size, -2 * size, 0.0]))
        output = evaluate(model, atoms, compute_force=False)
        energies[size] = output["energy"].item() / len(atoms)
        left_out = output["electrostatic_energy"].item() / len(atoms)
    offset = energies[0.6] - energies[0.0]
    assert 0.0 < offset < -0.15 * left_out
    assert offset == pytest.approx(4 * (energies[0.3] - energies[0.0]), rel=1e-6)


def test_hardness_is_a_property_of_the_element():
    hardness = Hardness(n_elements=2, smearing=0.8)
    charges, elements = torch.tensor([0.5, -0.5, 0.0]), torch.eye(2)[[0, 1, 1]]
    self_energy = 14.399645 * 0.5**2 / (np.sqrt(2 * np.pi) * 0.8)  # the second term of S4 eq. 2
    torch.testing.assert_close(
        hardness(charges, elements),
        torch.tensor([self_energy, self_energy, 0.0]),
        rtol=1e-5,
        atol=0.0,
    )
    hardness.relative.data[1] = 0.5
    assert hardness(charges, elements)[1].item() == pytest.approx(0.5 * self_energy, rel=1e-5)


def test_an_isolated_atom_has_no_long_range_energy():
    """Alone it is neutral, so all its charges are zero, with a learned readout too."""
    model = make_model(screening="none", long_range_readout="learned", long_range_channels=3)
    atom = open_water()[:1]
    output = evaluate(model, atom)
    assert float(output["electrostatic_energy"].detach()) == 0.0
    assert float(output["charges"].detach()) == 0.0


@pytest.mark.parametrize("readout", ["physical", "learned"])
def test_the_sum_starts_near_zero_with_a_gradient_everywhere(readout):
    channels = 2 if readout == "learned" else 1
    options = SmileOptions(long_range_readout=readout, long_range_channels=channels)
    model = SmileMACE(make_backbone("16x0e"), options)
    atoms = bulk_water()
    output = evaluate(model, atoms, training=True)
    assert 0 < abs(float(output["electrostatic_energy"].detach())) / len(atoms) < 0.05
    output["forces"].square().sum().backward()
    for name, parameter in model.charge_heads.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("terms", ["long_range", "full"])
@pytest.mark.parametrize("boundary", STRUCTURES)
def test_float32_models_do_not_need_their_precision_to_be_the_default(boundary, terms):
    """Torch differentiates a float32 determinant in the default precision, and fails."""
    with default_dtype(torch.float32):
        model = make_model(coulomb_terms=terms)
        batch = make_batch([STRUCTURES[boundary]()], model)
        expected = model(dict(batch), compute_stress=True)
    assert torch.get_default_dtype() == torch.float64
    found = model(dict(batch), compute_stress=True)
    for name in ("forces", "stress"):
        assert torch.equal(found[name], expected[name])
