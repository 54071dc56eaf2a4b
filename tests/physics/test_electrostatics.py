"""The sums in each boundary against formulas, each other and their limits."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import constants
from scipy.special import erf
from torchpme.prefactors import eV_A

from coulomb import (
    OPEN,
    PERIODIC,
    SLAB,
    Charged,
    energy_and_forces,
    energy_of,
    potential,
    random_cell,
    random_rotation,
)
from mace_smile.physics.electrostatics import COULOMB_CONSTANT, Electrostatics
from mace_smile.physics.parameters import TERMS, choose_parameters

EWALD = choose_parameters("ewald", lr_wavelength=0.8)
FULL = choose_parameters("ewald", "full", cutoff=6.0, accuracy=1e-9)
CONVERGED = {"long_range": EWALD, "full": FULL}


def test_coulomb_constant_is_codata():
    value = constants.e / (4 * np.pi * constants.epsilon_0) * 1e10
    assert eV_A == COULOMB_CONSTANT
    assert abs(COULOMB_CONSTANT / value - 1) < 1e-8


@pytest.mark.parametrize("net_charge", [0.0, 0.7])
def test_periodic_energy_is_the_formula_of_les(net_charge):
    """S4 eq. 2, summed over all reciprocal vectors with numpy, with the background's term."""
    structure = random_cell(net_charge=net_charge)
    sigma = 1.1
    value = energy_of(choose_parameters("ewald", smearing=sigma), structure)
    q, r = structure.charges[:, 0].numpy(), structure.positions.numpy()
    h = structure.cell.numpy()
    volume = abs(np.linalg.det(h))
    numbers = np.array(list(itertools.product(range(-12, 13), repeat=3)))
    k = numbers[np.any(numbers != 0, axis=1)] @ (2 * np.pi * np.linalg.inv(h).T)
    k2 = (k**2).sum(1)
    structure_factor = np.exp(1j * k @ r.T) @ q
    expected = (
        2 * np.pi * eV_A / volume * (np.exp(-(sigma**2) * k2 / 2) / k2 * abs(structure_factor) ** 2)
    ).sum() - eV_A * (q**2).sum() / (np.sqrt(2 * np.pi) * sigma)
    expected -= np.pi * eV_A * sigma**2 * net_charge**2 / volume
    assert value == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("net_charge", [0.0, 0.7])
def test_slab_energy_is_the_sum_over_two_dimensions(net_charge):
    """Against the two-dimensional Ewald formula, its out-of-plane integral done numerically."""
    structure = random_cell(net_charge=net_charge, periodic=SLAB, length=4.5)
    value = energy_of(EWALD, structure)
    q, r = structure.charges[:, 0].numpy(), structure.positions.numpy()
    cell, sigma = structure.cell.numpy(), EWALD.smearing
    area = np.linalg.norm(np.cross(cell[0], cell[1]))
    plane = 2 * np.pi * np.linalg.inv(cell[:2, :2]).T
    z = r[:, None, 2] - r[None, :, 2]
    kz = np.linspace(-10, 10, 1001)
    total = 0.0
    for n in itertools.product(range(-6, 7), repeat=2):
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
    assert value == pytest.approx(expected, abs=2e-7)


@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slab_is_the_periodic_sum_with_much_vacuum_and_the_dipole_term(axis, terms):
    """Yeh and Berkowitz 1999, 10.1063/1.479595; the vacuum is 20 times the slab."""
    slab = random_cell(12, periodic=SLAB)
    height = 20.0 * float(slab.cell[2, 2])
    tall = slab.change(cell=torch.stack([*slab.cell[:2], torch.tensor([0.0, 0.0, height])]))
    order = [(row - axis - 1) % 3 for row in range(3)]
    assert order[axis] == 2
    flat = slab.change(
        positions=slab.positions[:, order],
        cell=slab.cell[order][:, order],
        periodic=tuple(row != axis for row in range(3)),
    )
    periodic, forces = energy_and_forces(CONVERGED[terms], tall.change(periodic=PERIODIC))
    dipole = float((slab.charges[:, 0] * slab.positions[:, 2]).sum())
    volume = float(torch.linalg.det(tall.cell))
    periodic += 2 * np.pi * COULOMB_CONSTANT * dipole**2 / volume
    forces[:, 2] -= 4 * np.pi * COULOMB_CONSTANT * dipole / volume * slab.charges[:, 0]
    value, own_forces = energy_and_forces(CONVERGED[terms], flat)
    assert value == pytest.approx(periodic, rel=1e-8)
    torch.testing.assert_close(own_forces, forces[:, order], rtol=0, atol=2e-7)


@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("net_charge", [0.0, 0.7])
@pytest.mark.parametrize("wide", [1.0, 4.0])
def test_slab_energy_does_not_depend_on_its_own_vacuum(net_charge, wide, terms):
    slab = random_cell(net_charge=net_charge, periodic=SLAB, length=4.5)
    slab = slab.change(cell=torch.cat([wide * slab.cell[:2], slab.cell[2:]]))
    energies = [
        energy_of(replace(CONVERGED[terms], slab_vacuum=vacuum), slab) for vacuum in (3.0, 5.0)
    ]
    assert energies[0] == pytest.approx(energies[1], abs=1e-6)


@pytest.mark.parametrize("terms", TERMS)
def test_slab_energy_is_the_same_along_each_axis_after_rotation(terms):
    slab = random_cell(net_charge=0.3, periodic=SLAB)
    expected = energy_of(CONVERGED[terms], slab)
    turned = slab.turned(random_rotation(1))
    for shift in range(3):
        rolled = turned.change(
            cell=torch.roll(turned.cell, shift, dims=0),
            periodic=tuple(np.roll(SLAB, shift).tolist()),
        )
        assert energy_of(CONVERGED[terms], rolled) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("third", [[0.0, 0.0, 0.0], [9.0, -7.0, 3.0], [0.0, 0.0, -50.0]])
def test_slab_energy_does_not_depend_on_the_third_cell_vector(third):
    slab = random_cell(net_charge=0.3, periodic=SLAB)
    other = slab.change(cell=torch.stack([*slab.cell[:2], torch.tensor(third)]))
    assert energy_of(EWALD, other) == pytest.approx(energy_of(EWALD, slab), rel=1e-13)


def test_charged_slab_does_not_depend_on_where_it_lies():
    slab = random_cell(net_charge=0.3, periodic=SLAB)
    moved = slab.change(positions=slab.positions + torch.tensor([1.0, 2.0, 300.0]))
    assert energy_of(EWALD, moved) == pytest.approx(energy_of(EWALD, slab), rel=1e-10)


@pytest.mark.parametrize("terms", TERMS)
def test_open_energy_is_the_pair_sum(terms):
    structure = random_cell(net_charge=0.4, periodic=OPEN)
    sigma = 0.8
    value = energy_of(choose_parameters("ewald", terms, smearing=sigma), structure)
    expected = 0.0
    for i, j in itertools.combinations(range(len(structure.charges)), 2):
        distance = float(torch.linalg.norm(structure.positions[i] - structure.positions[j]))
        pair = erf(distance / (np.sqrt(2) * sigma)) if terms == "long_range" else 1.0
        expected += eV_A * float(structure.charges[i] * structure.charges[j]) * pair / distance
    assert value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("net_charge", [0.0, 0.7])
def test_open_energy_is_the_limit_of_large_periodic_boxes(net_charge, terms):
    """The error in a cubic box is a series in 1/L, 1/L^3, 1/L^5 (Makov and Payne 1995)."""
    structure = random_cell(4, net_charge=net_charge)
    parameters = choose_parameters("ewald", terms, smearing=2.0, cutoff=12.5)
    lengths = np.array([30.0, 36.0, 42.0, 48.0])
    energies = [
        energy_of(parameters, structure.change(cell=length * torch.eye(3))) for length in lengths
    ]
    powers = lengths[:, None] ** -np.array([0.0, 1.0, 3.0, 5.0])
    limit = np.linalg.solve(powers, energies)[0]
    expected = energy_of(parameters, structure.change(periodic=OPEN))
    assert limit == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("terms", TERMS)
def test_a_single_open_atom_has_no_energy(terms):
    atom = Charged(torch.tensor([[0.7]]), torch.zeros((1, 3)), torch.zeros((3, 3)), OPEN)
    module = Electrostatics(CONVERGED[terms])
    assert potential(module, atom).tolist() == [[0.0]]


@pytest.mark.parametrize("terms", TERMS)
def test_fragments_far_apart_interact_as_points(terms):
    first, second = (
        # rounded, so that moving them far away does not change their shape
        one.change(positions=torch.round(one.positions * 2**20) / 2**20)
        for one in (random_cell(4, 1, 0.8, OPEN), random_cell(5, 2, -0.5, OPEN))
    )
    far = torch.tensor([3e6, 4e6, 0.0])
    both = Charged(
        torch.cat([first.charges, second.charges]),
        torch.cat([first.positions, second.positions + far]),
        first.cell,
        OPEN,
    )
    parameters = CONVERGED[terms]
    parts = energy_of(parameters, first) + energy_of(parameters, second)
    interaction = energy_of(parameters, both) - parts
    assert interaction == pytest.approx(-0.4 * COULOMB_CONSTANT / 5e6, rel=1e-5)


@pytest.mark.parametrize("method", ["ewald", "pme", "p3m"])
@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("periodic", [PERIODIC, SLAB])
def test_left_handed_cells_give_the_same_energy(periodic, terms, method):
    structure = random_cell(10, net_charge=0.3, periodic=periodic)
    left = structure.change(cell=structure.cell[[1, 0, 2]])
    parameters = choose_parameters(method, terms)
    value, forces = energy_and_forces(parameters, left)
    expected, expected_forces = energy_and_forces(parameters, structure)
    assert value == pytest.approx(expected, rel=1e-11)
    torch.testing.assert_close(forces, expected_forces, rtol=0, atol=1e-10)


@pytest.mark.parametrize("net_charge", [0.0, 0.7])
@pytest.mark.parametrize("periodic", [PERIODIC, SLAB, OPEN])
def test_full_terms_do_not_depend_on_the_smearing(periodic, net_charge):
    structure = random_cell(10, net_charge=net_charge, periodic=periodic)
    results = [
        energy_and_forces(choose_parameters("ewald", "full", cutoff=9.0, smearing=sigma), structure)
        for sigma in (0.8, 1.2)
    ]
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-7)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("place", [0.9, 1.0])
def test_nothing_jumps_where_the_real_space_part_ends(place):
    """A splitting too wide for the cutoff: without the switching, the energy jumps by 0.1 eV."""
    parameters = choose_parameters("ewald", "full", cutoff=5.0, smearing=2.5)

    def pair(distance: float) -> tuple[float, torch.Tensor]:
        positions = torch.tensor([[0.3, 0.2, 0.1], [0.3, 0.2, 0.1 + distance]])
        charges = torch.tensor([[1.0], [-1.0]])
        return energy_and_forces(parameters, Charged(charges, positions, 14.0 * torch.eye(3)))

    step = 1e-6
    (below, below_forces), (above, above_forces) = (
        pair(place * parameters.cutoff + sign * step) for sign in (-1, 1)
    )
    slope = -float(0.5 * (below_forces + above_forces)[1, 2])
    assert above - below == pytest.approx(2 * step * slope, abs=1e-10)
    torch.testing.assert_close(below_forces, above_forces, rtol=0, atol=2e-5)


def test_one_periodic_axis_is_refused():
    structure = random_cell(periodic=(False, True, False))
    with pytest.raises(ValueError, match="periodic along one axis only.*none, two or three"):
        potential(Electrostatics(EWALD), structure)


@pytest.mark.parametrize("periodic", [PERIODIC, SLAB])
@pytest.mark.parametrize("method", ["ewald", "p3m"])
def test_cells_without_volume_are_refused(periodic, method):
    structure = random_cell(periodic=periodic)
    flat = structure.change(cell=structure.cell[[0, 0, 2]])
    module = Electrostatics(choose_parameters(method))
    with pytest.raises(ValueError, match="span no volume; give three independent cell vectors"):
        potential(module, flat)
