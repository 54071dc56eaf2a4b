"""First and second derivatives of the sums against finite differences."""

from dataclasses import replace

import pytest
import torch

from coulomb import BOUNDARIES, Charged, energy, random_cell
from mace_smile.physics.electrostatics import Electrostatics
from mace_smile.physics.parameters import TERMS, choose_parameters

SUMS = ["ewald", "pme", "p3m"]


def small_module(method: str, terms: str) -> Electrostatics:
    """A sum as sharp as the differences need, of few vectors or mesh points.

    A slab's own cell is held in the derivatives, so what is left out must be small there.
    """
    return Electrostatics(choose_parameters(method, terms, cutoff=4.5, slab_vacuum=2.5))


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("method", SUMS)
def test_first_and_second_derivatives(method, terms, boundary):
    structure = random_cell(3, seed=4, net_charge=0.2, periodic=BOUNDARIES[boundary], length=3.6)
    module = small_module(method, terms)

    def function(charges, positions, cell):
        return energy(module, Charged(charges, positions, cell, structure.periodic))

    inputs = [
        value.clone().requires_grad_(True)
        for value in (structure.charges, structure.positions, structure.cell)
    ]
    assert torch.autograd.gradcheck(function, inputs, atol=2e-4)
    assert torch.autograd.gradgradcheck(function, inputs, atol=2e-3)


@pytest.mark.parametrize("boundary", ["periodic", "slab"])
@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("method", SUMS)
def test_stress_is_the_slope_of_the_energy(method, terms, boundary):
    """All strains of the cell; those in the plane for a slab."""
    structure = random_cell(12, net_charge=0.3, periodic=BOUNDARIES[boundary])
    module = Electrostatics(choose_parameters(method, terms, cutoff=6.0))

    def strained(strain: torch.Tensor) -> torch.Tensor:
        deform = torch.eye(3) + strain
        return energy(
            module,
            structure.change(positions=structure.positions @ deform, cell=structure.cell @ deform),
        )

    strain = torch.zeros((3, 3), requires_grad=True)
    (stress,) = torch.autograd.grad(strained(strain), strain)
    step, size = 1e-4, 3 if boundary == "periodic" else 2
    tolerance = 2e-6 * float(stress.abs().max())
    for index in ((row, column) for row in range(size) for column in range(size)):
        change = torch.zeros((3, 3))
        change[index] = step
        with torch.no_grad():
            slope = float(strained(change) - strained(-change)) / (2 * step)
        assert float(stress[index]) == pytest.approx(slope, abs=tolerance)


@pytest.mark.parametrize("boundary", ["periodic", "slab"])
@pytest.mark.parametrize("terms", TERMS)
def test_turning_everything_has_no_stress(boundary, terms):
    """The stress is symmetric, as the energy does not change under rotation."""
    structure = random_cell(12, net_charge=0.3, periodic=BOUNDARIES[boundary])
    module = Electrostatics(replace(choose_parameters("ewald", terms), lr_wavelength=0.7))
    strain = torch.zeros((3, 3), requires_grad=True)
    deform = torch.eye(3) + strain
    value = energy(
        module,
        structure.change(positions=structure.positions @ deform, cell=structure.cell @ deform),
    )
    (stress,) = torch.autograd.grad(value, strain)
    torch.testing.assert_close(stress, stress.T, rtol=0, atol=1e-6)
