"""Potential of charged planes, point charges and dipoles between two vacua."""

import math

import pytest
import torch
from scipy.constants import e, epsilon_0

from mace_smile.physics.poisson import (
    ATOMS_AT_ONCE,
    INVERSE_VACUUM_PERMITTIVITY,
    planar_charge_density,
    potential_step,
    slab_potential,
    smooth_density,
    smooth_ramp,
    smooth_step,
)

AREA = 60.84


def neutral_slab(n_atoms: int = 40, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Heights (A), charges that add up to zero (e), and dipoles (e A)."""
    generator = torch.Generator().manual_seed(seed)
    heights = 10.0 * torch.rand(n_atoms, generator=generator) + 5.0
    charges = torch.randn(n_atoms, generator=generator)
    dipoles = 0.3 * torch.randn(n_atoms, generator=generator)
    return heights, charges - charges.mean(), dipoles


def test_vacuum_permittivity_is_that_of_codata():
    assert pytest.approx(e / epsilon_0 * 1e10, rel=1e-7) == INVERSE_VACUUM_PERMITTIVITY


def test_two_charged_planes_are_a_plate_capacitor():
    charge, distance = 0.05, 8.0
    heights = torch.tensor([3.0, 3.0 + distance])
    points = torch.linspace(-5.0, 20.0, 501)
    charges = torch.tensor([charge, -charge])
    potential = slab_potential(points, heights, charges, torch.zeros(2), 0.3, AREA)
    field = charge * e / (epsilon_0 * AREA * 1e-20) * 1e-10  # V/A, E = sigma / eps0
    between = (points > 5.0) & (points < 9.0)
    slope = torch.diff(potential[between]) / torch.diff(points[between])
    torch.testing.assert_close(slope, torch.full_like(slope, -field), rtol=1e-7, atol=0.0)
    torch.testing.assert_close(potential[points < 1.0], torch.zeros(int((points < 1.0).sum())))
    above = potential[points > 13.0]
    torch.testing.assert_close(above, torch.full_like(above, -field * distance), rtol=1e-7, atol=0)


def test_the_three_smooth_functions_are_derivatives_of_each_other():
    distance = torch.linspace(-3.0, 3.0, 61, requires_grad=True)
    ramp = smooth_ramp(distance, 0.4)
    (slope,) = torch.autograd.grad(ramp.sum(), distance, create_graph=True)
    torch.testing.assert_close(slope, smooth_step(distance, 0.4))
    (curvature,) = torch.autograd.grad(slope.sum(), distance)
    torch.testing.assert_close(curvature, smooth_density(distance, 0.4).detach())


def test_the_curvature_of_the_potential_is_the_charge_density():
    heights, charges, dipoles = neutral_slab()
    points = torch.linspace(0.0, 20.0, 101, requires_grad=True)
    potential = slab_potential(points, heights, charges, dipoles, 0.5, AREA)
    (slope,) = torch.autograd.grad(potential.sum(), points, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), points)
    density = planar_charge_density(points.detach(), heights, charges, dipoles, 0.5, AREA)
    assert density.abs().max() > 1e-3
    torch.testing.assert_close(curvature, -INVERSE_VACUUM_PERMITTIVITY * density)


def test_the_step_is_the_dipole_and_positive_dipoles_point_to_higher_potential():
    heights, charges, dipoles = neutral_slab()
    ends = torch.tensor([-20.0, 40.0])
    below, above = slab_potential(ends, heights, charges, dipoles, 0.5, AREA).tolist()
    dipole = float(charges @ heights + dipoles.sum())
    assert below == pytest.approx(0.0, abs=1e-9)
    assert above == pytest.approx(potential_step(dipole, AREA), rel=1e-10)
    # - below, + above: the dipole points up, and the potential is higher there.
    up = torch.tensor([-1.0, 1.0])
    assert slab_potential(ends, torch.tensor([5.0, 6.0]), up, torch.zeros(2), 0.5, AREA)[1] > 0
    assert (
        slab_potential(ends, torch.tensor([5.0]), torch.zeros(1), torch.ones(1), 0.5, AREA)[1] > 0
    )


def test_the_charge_density_has_the_charge_and_the_dipole():
    heights, charges, dipoles = neutral_slab()
    charges = charges + 0.1
    points = torch.linspace(-5.0, 25.0, 3001)
    density = planar_charge_density(points, heights, charges, dipoles, 0.5, AREA)
    total = AREA * torch.trapezoid(density, points)
    moment = AREA * torch.trapezoid(density * points, points)
    torch.testing.assert_close(total, charges.sum())
    torch.testing.assert_close(moment, charges @ heights + dipoles.sum())


def test_a_dipole_is_two_charges_close_together():
    points = torch.linspace(0.0, 10.0, 101)
    apart = 1e-4
    pair = torch.tensor([5.0 - apart / 2, 5.0 + apart / 2])
    charges = torch.tensor([-0.3 / apart, 0.3 / apart])
    one, dipole = torch.tensor([5.0]), torch.tensor([0.3])
    for function in (slab_potential, planar_charge_density):
        expected = function(points, pair, charges, torch.zeros(2), 0.5, AREA)
        found = function(points, one, torch.zeros(1), dipole, 0.5, AREA)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_the_potential_moves_with_the_slab():
    heights, charges, dipoles = neutral_slab()
    points = torch.linspace(0.0, 20.0, 101)
    here = slab_potential(points, heights, charges, dipoles, 0.5, AREA)
    there = slab_potential(points + 7.3, heights + 7.3, charges, dipoles, 0.5, AREA)
    torch.testing.assert_close(there, here)


def test_widths_of_gaussians_add_in_squares():
    heights, charges, dipoles = neutral_slab(6)
    points = torch.linspace(-5.0, 25.0, 3001)
    spacing = float(points[1] - points[0])
    narrow = slab_potential(points, heights, charges, dipoles, 0.3, AREA)
    kernel = smooth_density(spacing * torch.arange(-300, 301), 0.4) * spacing
    smoothed = torch.nn.functional.conv1d(narrow.view(1, 1, -1), kernel.view(1, 1, -1)).view(-1)
    wide = slab_potential(points, heights, charges, dipoles, math.hypot(0.3, 0.4), AREA)
    torch.testing.assert_close(smoothed, wide[300:-300], rtol=1e-6, atol=1e-6)


def test_many_atoms_are_summed_in_parts():
    n_atoms = 2 * ATOMS_AT_ONCE + 5
    heights, charges, dipoles = neutral_slab(n_atoms)
    points = torch.tensor([7.0, 12.0])
    for function in (slab_potential, planar_charge_density):
        whole = function(points, heights, charges, dipoles, 0.5, AREA)
        parts = sum(
            function(points, heights[k::3], charges[k::3], dipoles[k::3], 0.5, AREA)
            for k in range(3)
        )
        torch.testing.assert_close(whole, parts, rtol=1e-9, atol=1e-9)
