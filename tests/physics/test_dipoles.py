"""Dipoles beside charges: limits of pairs of charges, torch-pme's dipoles, formulas."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torchpme import CalculatorDipole
from torchpme.potentials import PotentialDipole

from coulomb import (
    BOUNDARIES,
    OPEN,
    PERIODIC,
    SLAB,
    Charged,
    batch_of,
    energy,
    potential,
    random_cell,
    random_dipoles,
    random_rotation,
)
from mace_smile.physics.electrostatics import COULOMB_CONSTANT, Electrostatics
from mace_smile.physics.parameters import TERMS, choose_parameters

CONVERGED = {
    "long_range": choose_parameters("ewald", lr_wavelength=0.7),
    "full": choose_parameters("ewald", "full", cutoff=6.0, accuracy=1e-10),
}
SUMS = ["ewald", "pme", "p3m"]


def energy_of_pairs(
    module: Electrostatics, structure: Charged, dipoles: torch.Tensor, length: float
) -> torch.Tensor:
    """Energy with two charges in place of each dipole, some distance apart, in eV.

    Without the interaction of the three charges of an atom with each other.
    """
    n_atoms = len(dipoles)
    sizes = dipoles.norm(dim=1, keepdim=True)
    arms = torch.stack([torch.zeros_like(dipoles), dipoles / sizes, -dipoles / sizes])
    arms = 0.5 * length * arms  # (3, n_atoms, 3)
    charges = torch.stack([structure.charges, sizes / length, -sizes / length]).flatten(0, 1)
    places = (structure.positions + arms).flatten(0, 1)
    whole = batch_of([structure], module.real_space.cutoff if module.is_full else None)
    first, second = whole["edge_index"]
    kinds = torch.cartesian_prod(torch.arange(3), torch.arange(3)).T.unsqueeze(-1)
    edges = (kinds * n_atoms + torch.stack([first, second]).unsqueeze(1)).flatten(1)
    vectors = arms[kinds[1], second] - arms[kinds[0], first] + whole["edge_vectors"]
    total = module(
        charges,
        places,
        whole["cells"],
        whole["periodic"],
        torch.zeros(3 * n_atoms, dtype=torch.long),
        edges,
        vectors.flatten(0, 1),
    )
    # the sum takes the charges of an atom for those of three: the smooth part in a cell
    is_point = module.is_full and structure.periodic == OPEN
    smearing = float(module.potential.smearing)
    inner = Electrostatics(
        choose_parameters("ewald", "full" if is_point else "long_range", smearing=smearing)
    )
    own = inner(
        charges.view(3, n_atoms, 1).transpose(0, 1).flatten(0, 1),
        places.view(3, n_atoms, 3).transpose(0, 1).flatten(0, 1),
        torch.zeros((n_atoms, 3, 3)),
        torch.zeros((n_atoms, 3), dtype=torch.bool),
        torch.arange(n_atoms).repeat_interleave(3),
        edges[:, :0],
        vectors.flatten(0, 1)[:0],
    )
    own = own.view(n_atoms, 3, 1).transpose(0, 1).flatten(0, 1)
    return 0.5 * (charges * (total - own)).sum()


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("terms", TERMS)
def test_dipoles_are_the_limit_of_pairs_of_charges(terms, boundary):
    """Energy, forces, and the derivative by the dipoles, of which torques are made."""
    structure = random_cell(5, net_charge=0.3, periodic=BOUNDARIES[boundary])
    module = Electrostatics(CONVERGED[terms])
    inputs = [structure.positions, random_dipoles(structure)]

    def differentiated(function) -> list[torch.Tensor]:
        leaves = [value.clone().requires_grad_(True) for value in inputs]
        value = function(structure.change(positions=leaves[0]), leaves[1])
        return [value.detach(), *torch.autograd.grad(value, leaves)]

    expected = differentiated(lambda one, dipoles: energy(module, one, dipoles))
    first, second = (
        differentiated(
            lambda one, dipoles, length=length: energy_of_pairs(module, one, dipoles, length)
        )
        for length in (0.04, 0.02)
    )
    for value, coarse, fine in zip(expected, first, second, strict=True):
        scale = float(value.abs().max())
        errors = [float((found - value).abs().max()) / scale for found in (coarse, fine)]
        assert errors[0] < 2e-3
        assert errors[1] / errors[0] == pytest.approx(0.25, abs=0.01)
        torch.testing.assert_close((4 * fine - coarse) / 3, value, rtol=0, atol=2e-6 * scale)


@pytest.mark.parametrize("method", ["pme", "p3m"])
@pytest.mark.parametrize("periodic", [PERIODIC, SLAB])
def test_meshes_agree_with_the_ewald_sum(method, periodic):
    structure = random_cell(12, net_charge=0.3, periodic=periodic)
    dipoles = random_dipoles(structure)
    expected = potential(Electrostatics(CONVERGED["long_range"]), structure, dipoles=dipoles)
    found = potential(Electrostatics(choose_parameters(method)), structure, dipoles=dipoles)
    for columns in (slice(0, 1), slice(1, 4)):
        error = (found - expected)[:, columns].norm() / expected[:, columns].norm()
        assert 0 < float(error) < 1e-4


@pytest.mark.parametrize("terms", TERMS)
def test_dipoles_of_a_crystal_have_the_energy_torch_pme_gives(terms):
    """Energies, and their derivatives by positions, dipoles and cell."""
    structure = random_cell(6)
    parameters = CONVERGED[terms]
    module = Electrostatics(parameters)
    calculator = CalculatorDipole(
        PotentialDipole(smearing=parameters.smearing, prefactor=COULOMB_CONSTANT),
        full_neighbor_list=True,
        lr_wavelength=0.4 * parameters.lr_wavelength,  # it sums half as far as ours
    )

    def ours(one: Charged, dipoles: torch.Tensor) -> torch.Tensor:
        return energy(module, one.change(charges=torch.zeros_like(one.charges)), dipoles)

    def theirs(one: Charged, dipoles: torch.Tensor) -> torch.Tensor:
        batch = batch_of([one], parameters.cutoff if terms == "full" else None)
        pairs, vectors = batch["edge_index"].T, batch["edge_vectors"]
        fields = calculator(dipoles, one.cell, one.positions, pairs, vectors)
        return (dipoles * fields).sum()

    results = []
    for function in (ours, theirs):
        inputs = [structure.positions, random_dipoles(structure), structure.cell]
        leaves = [value.clone().requires_grad_(True) for value in inputs]
        value = function(structure.change(positions=leaves[0], cell=leaves[2]), leaves[1])
        results.append([value, *torch.autograd.grad(value, leaves)])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-7)


def test_field_in_a_cubic_crystal_of_dipoles_is_that_of_lorentz():
    """E = P / 3 eps0 at each site, in a cell whose boundary has no field of its own."""
    edge = 3.0
    crystal = Charged(torch.zeros((1, 1)), torch.zeros((1, 3)), edge * torch.eye(3))
    dipoles = torch.tensor([[0.2, -0.1, 0.4]])
    field = -potential(Electrostatics(CONVERGED["full"]), crystal, dipoles=dipoles)[:, 1:]
    expected = 4 * np.pi / 3 * COULOMB_CONSTANT * dipoles / edge**3
    torch.testing.assert_close(field, expected, rtol=1e-8, atol=0)


@pytest.mark.parametrize("terms", TERMS)
def test_a_single_open_dipole_has_no_energy(terms):
    atom = Charged(torch.tensor([[0.7]]), torch.zeros((1, 3)), torch.zeros((3, 3)), OPEN)
    dipoles = torch.tensor([[0.2, -0.1, 0.4]])
    found = potential(Electrostatics(CONVERGED[terms]), atom, dipoles=dipoles)
    assert found.tolist() == [[0.0] * 4]


@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("smearings", [(0.8, 1.2)])
def test_full_terms_do_not_depend_on_the_smearing(terms, smearings):
    """With long_range terms they do, which shows that the test can fail."""
    structure = random_cell(8, net_charge=0.4)
    energies = [
        energy(
            Electrostatics(choose_parameters("ewald", terms, cutoff=9.0, smearing=smearing)),
            structure,
            random_dipoles(structure),
        )
        for smearing in smearings
    ]
    difference = abs(float(energies[1] - energies[0])) / abs(float(energies[0]))
    assert (difference < 1e-6) == (terms == "full")


def differentiated(
    module: torch.nn.Module, structures: list[Charged], dipoles: list[torch.Tensor]
) -> list[torch.Tensor]:
    """Potentials and gradients, and derivatives of the energy by all that goes in."""
    arguments = batch_of(structures, module.real_space.cutoff if module.is_full else None)
    names = ("charges", "positions", "cells")
    inputs = [arguments[name].requires_grad_(True) for name in names]
    inputs.append(torch.cat(dipoles).requires_grad_(True))
    values = module(**arguments, dipoles=inputs[-1])
    total = (values * torch.cat([inputs[0], inputs[-1]], dim=1)).sum()
    gradients = torch.autograd.grad(total, inputs, allow_unused=True, materialize_grads=True)
    return [values.detach(), *gradients]


def assert_same(values: list[torch.Tensor], expected: list[torch.Tensor], tolerance: float) -> None:
    """Equal but for rounding, on the scale of the largest element."""
    for value, reference in zip(values, expected, strict=True):
        assert value.dtype == reference.dtype
        scale = float(reference.abs().max())
        torch.testing.assert_close(value, reference, rtol=0, atol=tolerance * scale)


def mixed() -> list[Charged]:
    """Structures of all boundaries, two channels of charges each."""
    return [
        random_cell(9, 1, 0.4, SLAB, n_channels=2),
        random_cell(12, 2, 0.3, n_channels=2),
        random_cell(6, 3, 0.2, OPEN, n_channels=2),
        random_cell(3, 4, n_channels=2),
        random_cell(11, 5, n_channels=2),
    ]


@pytest.mark.parametrize(
    ("terms", "dtype", "tolerance"),
    [
        ("long_range", torch.float64, 1e-12),
        ("full", torch.float64, 1e-12),
        ("full", torch.float32, 2e-5),
    ],
)
def test_batch_is_one_structure_at_a_time(terms, dtype, tolerance):
    """By direct and Ewald sums, and on meshes for the largest two."""
    parameters = replace(choose_parameters("auto", terms, cutoff=4.5), ewald_atoms=10)
    module = Electrostatics(parameters).to(dtype)
    structures = [one.to(dtype) for one in mixed()]
    dipoles = [random_dipoles(one, seed) for seed, one in enumerate(structures)]
    batched = differentiated(module, structures, dipoles)
    alone = [
        differentiated(module, [one], [own]) for one, own in zip(structures, dipoles, strict=True)
    ]
    expected = [torch.cat([results[number] for results in alone]) for number in range(5)]
    assert_same(batched, expected, tolerance)


@pytest.mark.parametrize("terms", TERMS)
def test_scripted_module_is_the_eager_one(terms):
    """The second and third call of a scripted module are optimised."""
    module = Electrostatics(replace(choose_parameters("auto", terms, cutoff=4.5), ewald_atoms=10))
    dipoles = [random_dipoles(one) for one in mixed()]
    scripted = torch.jit.script(module)
    expected = differentiated(module, mixed(), dipoles)
    for _ in range(3):
        assert_same(differentiated(scripted, mixed(), dipoles), expected, 1e-12)


@pytest.mark.parametrize("terms", TERMS)
def test_dipoles_leave_other_channels_as_they_are(terms):
    module = Electrostatics(CONVERGED[terms])
    structures = mixed()
    dipoles = torch.cat([random_dipoles(one) for one in structures])
    without = potential(module, *structures)
    found = potential(module, *structures, dipoles=dipoles)
    assert_same([found[:, 1]], [without[:, 1]], 1e-12)
    none = potential(module, *structures, dipoles=torch.zeros_like(dipoles))
    assert_same([none[:, :2]], [without], 1e-12)
    assert float((found[:, 0] - without[:, 0]).abs().max()) > 0.1


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("terms", TERMS)
def test_rotation_translation_and_images_change_nothing(terms, boundary):
    structure = random_cell(8, net_charge=0.4, periodic=BOUNDARIES[boundary])
    dipoles, module = random_dipoles(structure), Electrostatics(CONVERGED[terms])
    expected = potential(module, structure, dipoles=dipoles)
    rotation = -random_rotation(2)
    found = potential(module, structure.turned(rotation), dipoles=dipoles @ rotation)
    turned = torch.cat([expected[:, :1], expected[:, 1:] @ rotation], dim=1)
    assert_same([found], [turned], 1e-10)
    places = structure.positions + torch.tensor([1.0, 2.0, 30.0])
    images = torch.tensor(np.random.default_rng(0).integers(-2, 3, (8, 3)).astype(float))
    places = places + images * torch.tensor(structure.periodic) @ structure.cell
    moved = potential(module, structure.change(positions=places), dipoles=dipoles)
    assert_same([moved], [expected], 1e-9)


@pytest.mark.parametrize("terms", TERMS)
def test_slab_does_not_depend_on_its_own_vacuum(terms):
    slab = random_cell(net_charge=0.7, periodic=SLAB, length=4.5)
    dipoles = random_dipoles(slab)
    found, expected = (
        potential(
            Electrostatics(replace(CONVERGED[terms], slab_vacuum=vacuum)), slab, dipoles=dipoles
        )
        for vacuum in (3.0, 5.0)
    )
    assert_same([found], [expected], 1e-7)


@pytest.mark.parametrize(
    ("method", "terms", "boundary"),
    [
        *itertools.product(["ewald"], TERMS, BOUNDARIES),
        ("pme", "long_range", "periodic"),
        ("p3m", "long_range", "periodic"),
    ],
)
def test_first_and_second_derivatives(method, terms, boundary):
    """By charges, positions, cell and dipoles; a slab's own cell is held in them."""
    structure = random_cell(2, 4, 0.2, BOUNDARIES[boundary], length=3.6)
    module = Electrostatics(choose_parameters(method, terms, cutoff=4.5, slab_vacuum=2.5))

    def function(charges, positions, cell, dipoles):
        return energy(module, Charged(charges, positions, cell, structure.periodic), dipoles)

    values = [structure.charges, structure.positions, structure.cell, random_dipoles(structure)]
    inputs = [value.clone().requires_grad_(True) for value in values]
    assert torch.autograd.gradcheck(function, inputs, atol=2e-4, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, inputs, atol=2e-3, fast_mode=True)


@pytest.mark.parametrize("terms", TERMS)
def test_nothing_jumps_where_the_real_space_part_ends(terms):
    """A splitting too wide for the cutoff: without the switching, the energy would jump."""
    parameters = choose_parameters("ewald", terms, cutoff=5.0, smearing=2.5)
    module, dipoles = Electrostatics(parameters), torch.tensor([[0.0, 0.2, 0.5], [0.3, 0.0, -0.4]])

    def pair(distance: float) -> tuple[float, torch.Tensor]:
        places = torch.tensor([[0.3, 0.2, 0.1], [0.3, 0.2, 0.1 + distance]], requires_grad=True)
        one = Charged(torch.tensor([[1.0], [-1.0]]), places, 14.0 * torch.eye(3))
        value = energy(module, one, dipoles)
        return float(value.detach()), torch.autograd.grad(value, places)[0]

    step = 1e-6
    (below, low), (above, high) = (pair(5.0 + sign * step) for sign in (-1, 1))
    slope = float(0.5 * (low + high)[1, 2])
    assert above - below == pytest.approx(2 * step * slope, abs=1e-10)
    torch.testing.assert_close(low, high, rtol=0, atol=2e-5)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("method", SUMS)
def test_potential_and_gradient_are_derivatives_by_charges_and_dipoles(method, terms, boundary):
    """What atom i does to atom j is what j does to i."""
    structure = random_cell(7, net_charge=0.4, periodic=BOUNDARIES[boundary])
    module = Electrostatics(choose_parameters(method, terms, cutoff=4.5))
    charges = structure.charges.clone().requires_grad_(True)
    dipoles = random_dipoles(structure).requires_grad_(True)
    structure = structure.change(charges=charges)
    derivatives = torch.autograd.grad(energy(module, structure, dipoles), [charges, dipoles])
    expected = potential(module, structure, dipoles=dipoles).detach()
    assert_same([torch.cat(derivatives, dim=1)], [expected], 1e-11)
