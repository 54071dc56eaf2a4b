"""Forces of a field from Born effective charges that are not symmetric."""

import pytest
import torch

from mace_smile.physics.response import field_forces, force_carrier


def test_field_index_comes_first():
    """A dipole along x that answers to a displacement along y gives a force along y."""
    born = torch.zeros((1, 3, 3))
    born[0, 0, 1] = 0.7
    force = field_forces(born, torch.tensor([2.0, 0.0, 0.0]))
    assert force.tolist() == [[0.0, 1.4, 0.0]]


CELLS = {
    "periodic": [[5.0, 0.3, 0.0], [0.0, 6.0, 0.2], [0.4, 0.0, 7.0]],
    "slab": [[5.0, 0.3, 0.0], [0.1, 6.0, 0.0], [0.0, 0.0, 0.0]],
    "open": [[0.0, 0.0, 0.0]] * 3,
}


@pytest.mark.parametrize("boundary", CELLS)
def test_force_carrier_has_no_value_but_the_force(boundary):
    generator = torch.Generator().manual_seed(0)
    positions = torch.rand((4, 3), generator=generator) * 4
    forces = torch.randn((4, 3), generator=generator)
    cell = torch.tensor(CELLS[boundary])
    positions.requires_grad_(True)
    carrier = force_carrier(positions, cell, forces)
    assert carrier.tolist() == [0.0] * 4
    (gradient,) = torch.autograd.grad(carrier.sum(), positions)
    torch.testing.assert_close(-gradient, forces)


@pytest.mark.parametrize("boundary", ["periodic", "slab"])
def test_force_carrier_leaves_the_stress_alone(boundary):
    """Along periodic axes a strain changes no fractional coordinate."""
    generator = torch.Generator().manual_seed(0)
    positions = torch.rand((4, 3), generator=generator) * 4
    strain = torch.zeros((3, 3), requires_grad=True)
    deform = torch.eye(3) + strain
    cell = torch.tensor(CELLS[boundary])
    carrier = force_carrier(positions @ deform, cell @ deform, torch.randn((4, 3)))
    (gradient,) = torch.autograd.grad(carrier.sum(), strain)
    checked = gradient if boundary == "periodic" else gradient[:2, :2]
    torch.testing.assert_close(checked, torch.zeros_like(checked), atol=1e-10, rtol=0)
