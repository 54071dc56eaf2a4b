"""The sums against formulas, known constants, each other and their derivatives."""

import itertools

import numpy as np
import pytest
import torch
from scipy.special import erf
from torchpme.prefactors import eV_A

from mace_smile.physics.electrostatics import (
    COULOMB_CONSTANT,
    Electrostatics,
    half_space_kvectors,
)

PERIODIC = {
    "periodic": torch.tensor([True, True, True]),
    "slab": torch.tensor([True, True, False]),
    "open": torch.tensor([False, False, False]),
}


def random_system(n_atoms=6, seed=0, net_charge=0.0):
    """Charges, positions and a triclinic in-plane cell; the third vector along z."""
    rng = torch.Generator().manual_seed(seed)
    charges = torch.randn(n_atoms, generator=rng)
    charges = charges - charges.mean() + net_charge / n_atoms
    positions = 4.0 * torch.rand((n_atoms, 3), generator=rng)
    cell = torch.tensor([[4.5, 0.0, 0.0], [0.9, 4.8, 0.0], [0.0, 0.0, 5.2]])
    return charges, positions, cell


def energy(module, charges, positions, cell, periodic):
    return 0.5 * (charges * module(charges, positions, cell, periodic)).sum()


def test_coulomb_constant_is_codata():
    from scipy import constants

    value = constants.e / (4 * np.pi * constants.epsilon_0) * 1e10
    assert eV_A == COULOMB_CONSTANT
    assert abs(COULOMB_CONSTANT / value - 1) < 1e-8


def test_half_space_holds_one_of_each_pair():
    _, _, cell = random_system()
    kvectors = half_space_kvectors(cell, 6.0)
    reciprocal = 2 * np.pi * np.linalg.inv(cell.numpy()).T
    everything = np.array(list(itertools.product(range(-9, 10), repeat=3))) @ reciprocal
    norms = np.linalg.norm(everything, axis=1)
    assert len(kvectors) == np.count_nonzero((norms <= 6.0) & (norms > 0)) / 2
    both = torch.cat([kvectors, -kvectors])
    assert len(torch.unique((both * 1e6).round(), dim=0)) == len(both)


def test_periodic_energy_is_the_formula_of_les():
    """S4 eq. 2, summed over all reciprocal vectors with numpy."""
    charges, positions, cell = random_system()
    sigma = 1.1
    value = energy(
        Electrostatics(sigma, sigma, 3.0), charges, positions, cell, PERIODIC["periodic"]
    )
    q, r, h = charges.numpy(), positions.numpy(), cell.numpy()
    volume = abs(np.linalg.det(h))
    numbers = np.array(list(itertools.product(range(-12, 13), repeat=3)))
    k = numbers[np.any(numbers != 0, axis=1)] @ (2 * np.pi * np.linalg.inv(h).T)
    k2 = (k**2).sum(1)
    structure_factor = np.exp(1j * k @ r.T) @ q
    expected = (
        2 * np.pi * eV_A / volume * (np.exp(-(sigma**2) * k2 / 2) / k2 * abs(structure_factor) ** 2)
    ).sum() - eV_A * (q**2).sum() / (np.sqrt(2 * np.pi) * sigma)
    assert float(value) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(
    ("positions", "charges", "cell", "madelung"),
    [
        # nearest-neighbour Madelung constants, Borwein et al. 2013, 10.1017/CBO9781139626804
        ([[0, 0, 0], [1, 1, 1]], [1, -1], [[0, 1, 1], [1, 0, 1], [1, 1, 0]], 1.747564594633182),
        ([[0, 0, 0], [0.5, 0.5, 0.5]], [1, -1], np.eye(3), 1.762674773070991),
        (
            [[0, 0, 0], [0.5, 0.5, 0.5]],
            [1, -1],
            [[0, 1, 1], [1, 0, 1], [1, 1, 0]],
            1.638055053388789,
        ),
    ],
    ids=["NaCl", "CsCl", "zincblende"],
)
def test_narrow_charges_have_the_madelung_energy(positions, charges, cell, madelung):
    """Gaussians that do not overlap act as point charges."""
    scale = 3.0
    positions = scale * torch.tensor(positions, dtype=torch.float64)
    cell = scale * torch.as_tensor(np.array(cell, dtype=float))
    charges = torch.tensor(charges, dtype=torch.float64)
    nearest = min(
        float(torch.linalg.norm(positions[1] - positions[0] + torch.tensor(n) @ cell))
        for n in itertools.product((-1.0, 0.0, 1.0), repeat=3)
    )
    module = Electrostatics(nearest / 7, nearest / 7, 3.0)
    value = energy(module, charges, positions, cell, PERIODIC["periodic"])
    assert float(value) == pytest.approx(-eV_A * madelung / nearest, rel=1e-7)


@pytest.mark.parametrize("net_charge", [0.0, 0.7])
def test_slab_energy_is_the_sum_over_two_dimensions(net_charge):
    """Against the two-dimensional Ewald formula, its out-of-plane integral done numerically."""
    charges, positions, cell = random_system(net_charge=net_charge)
    sigma = 1.0
    value = energy(Electrostatics(sigma, sigma, 3.0), charges, positions, cell, PERIODIC["slab"])
    q, r = charges.numpy(), positions.numpy()
    area = np.linalg.norm(np.cross(cell[0].numpy(), cell[1].numpy()))
    plane = 2 * np.pi * np.linalg.inv(cell.numpy()[:2, :2]).T
    z = r[:, None, 2] - r[None, :, 2]
    kz = np.linspace(-16, 16, 8001)
    total = 0.0
    for n in itertools.product(range(-8, 9), repeat=2):
        if n == (0, 0):
            continue
        k = np.array(n) @ plane
        phase = np.cos((r[:, None, :2] - r[None, :, :2]) @ k)
        k2 = k @ k + kz**2
        kernel = np.exp(-(sigma**2) * k2 / 2) / k2
        integral = (kernel * np.cos(z[..., None] * kz)).sum(-1) * (kz[1] - kz[0])
        total += (q[:, None] * q[None, :] * phase * integral).sum() / area
    # the k = 0 part: interaction of charged sheets with a Gaussian profile
    sheets = z * erf(z / (np.sqrt(2) * sigma)) + sigma * np.sqrt(2 / np.pi) * np.exp(
        -(z**2) / (2 * sigma**2)
    )
    total += -np.pi / area * (q[:, None] * q[None, :] * sheets).sum()
    expected = eV_A * (total - (q**2).sum() / (np.sqrt(2 * np.pi) * sigma))
    assert float(value) == pytest.approx(expected, abs=2e-7)


@pytest.mark.parametrize("net_charge", [0.0, 0.7])
@pytest.mark.parametrize("wide", [1.0, 6.0])
def test_slab_energy_does_not_depend_on_the_models_own_vacuum(net_charge, wide):
    charges, positions, cell = random_system(net_charge=net_charge)
    cell = torch.cat([wide * cell[:2], cell[2:]])
    energies = [
        float(energy(Electrostatics(1.0, 1.0, vacuum), charges, positions, cell, PERIODIC["slab"]))
        for vacuum in (3.0, 6.0)
    ]
    assert energies[0] == pytest.approx(energies[1], abs=1e-6)


def test_slab_energy_is_the_same_along_each_axis_and_after_rotation():
    charges, positions, cell = random_system(net_charge=0.3)
    module = Electrostatics(1.0, 1.0, 3.0)
    expected = float(energy(module, charges, positions, cell, PERIODIC["slab"]))
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1)))[0]
    for shift in range(3):
        rolled = torch.roll(cell @ rotation, shift, dims=0)
        flags = torch.roll(PERIODIC["slab"], shift)
        value = energy(module, charges, positions @ rotation, rolled, flags)
        assert float(value) == pytest.approx(expected, rel=1e-12)


def test_open_energy_is_the_pair_sum():
    charges, positions, cell = random_system(net_charge=0.4)
    sigma = 0.8
    value = energy(Electrostatics(sigma, sigma, 3.0), charges, positions, cell, PERIODIC["open"])
    expected = 0.0
    for i, j in itertools.combinations(range(len(charges)), 2):
        distance = float(torch.linalg.norm(positions[i] - positions[j]))
        pair = erf(distance / (np.sqrt(2) * sigma)) / distance
        expected += eV_A * float(charges[i] * charges[j]) * pair
    assert float(value) == pytest.approx(expected, rel=1e-12)


def test_open_energy_is_the_limit_of_large_periodic_boxes():
    """The leading error of a neutral dipole in a cubic box falls as 1 / L^3."""
    charges, positions, _ = random_system(n_atoms=4)
    module = Electrostatics(2.0, 2.0, 3.0)
    lengths = (60.0, 90.0)
    small, large = (
        float(energy(module, charges, positions, length * torch.eye(3), PERIODIC["periodic"]))
        for length in lengths
    )
    weight = (lengths[1] / lengths[0]) ** 3
    extrapolated = (weight * large - small) / (weight - 1)
    expected = float(energy(module, charges, positions, torch.eye(3), PERIODIC["open"]))
    assert extrapolated == pytest.approx(expected, rel=1e-6)


def test_a_single_open_atom_has_no_energy():
    module = Electrostatics(1.0, 1.0, 3.0)
    one = torch.tensor([0.7])
    potential = module(one, torch.zeros((1, 3)), torch.zeros((3, 3)), PERIODIC["open"])
    assert potential.tolist() == [0.0]


def test_left_handed_cells_give_the_same_energy():
    charges, positions, cell = random_system()
    module = Electrostatics(1.0, 1.0, 3.0)
    for name in ("periodic", "slab"):
        value = energy(module, charges, positions, cell, PERIODIC[name])
        flipped = cell[[1, 0, 2]]
        assert float(energy(module, charges, positions, flipped, PERIODIC[name])) == pytest.approx(
            float(value), rel=1e-12
        )


@pytest.mark.parametrize("boundary", PERIODIC)
def test_first_and_second_derivatives(boundary):
    charges, positions, cell = random_system(n_atoms=3, net_charge=0.2)
    module = Electrostatics(1.0, 2.0, 3.0)  # few reciprocal vectors: the derivatives are exact

    def function(q, r, h):
        return energy(module, q, r, h, PERIODIC[boundary])

    inputs = [x.clone().requires_grad_(True) for x in (charges, positions, cell)]
    # With so few vectors the slab energy depends on the height of its own cell, which is
    # held fixed in the derivative: differentiate it by the charges only.
    if boundary == "slab":
        inputs[1].requires_grad_(False)
        inputs[2].requires_grad_(False)
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


def test_slab_forces_and_in_plane_stress_are_finite_differences():
    charges, positions, cell = random_system(net_charge=0.3)
    module = Electrostatics(1.0, 1.0, 3.0)
    positions.requires_grad_(True)
    strain = torch.zeros((3, 3), requires_grad=True)

    def strained(strain, positions):
        deform = torch.eye(3) + strain
        return energy(module, charges, positions @ deform, cell @ deform, PERIODIC["slab"])

    forces, stress = torch.autograd.grad(strained(strain, positions), (positions, strain))
    step = 1e-4
    with torch.no_grad():
        for index in ((0, 2), (3, 0), (5, 2)):
            change = torch.zeros_like(positions)
            change[index] = step
            difference = strained(strain, positions + change) - strained(strain, positions - change)
            assert float(difference) / (2 * step) == pytest.approx(float(forces[index]), rel=1e-6)
        for index in ((0, 0), (0, 1), (1, 1)):
            change = torch.zeros((3, 3))
            change[index] = step
            difference = strained(change, positions) - strained(-change, positions)
            assert float(difference) / (2 * step) == pytest.approx(float(stress[index]), rel=1e-6)


def test_one_periodic_axis_is_refused():
    charges, positions, cell = random_system()
    module = Electrostatics(1.0, 1.0, 3.0)
    with pytest.raises(ValueError, match="periodic along one axis only"):
        module(charges, positions, cell, torch.tensor([False, True, False]))
