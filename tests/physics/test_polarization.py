"""Slabs made whole, dipoles and the macro-dipole relation."""

import numpy as np
import pytest
import torch
from ase.geometry import minkowski_reduce

from mace_smile.physics.polarization import (
    compute_dipole,
    nearest_branch,
    screen_along_normal,
    screen_slabs,
    slab_normal,
    wrap_at_vacuum_gap,
)

CELL = torch.tensor([[5.0, 0.0, 0.0], [1.0, 6.0, 0.0], [0.0, 0.0, 20.0]], dtype=torch.float64)


def slab_positions():
    generator = torch.Generator().manual_seed(0)
    return torch.rand((12, 3), generator=generator) * torch.tensor([5.0, 6.0, 7.0])


@pytest.mark.parametrize("height", [0.0, 4.0, 10.0, 16.0, -3.0])
def test_a_slab_cut_by_the_boundary_becomes_whole(height):
    whole = slab_positions() + torch.tensor([0.0, 0.0, height])
    cut = whole.clone()
    cut[:, 2] = cut[:, 2] % 20.0
    mended = wrap_at_vacuum_gap(cut, CELL, 2, 2.0)
    shift = mended - whole
    torch.testing.assert_close(shift, shift[:1].expand_as(shift), atol=1e-10, rtol=0)
    assert 0 <= float(mended[:, 2].mean()) <= 20 or height == 16.0


@pytest.mark.parametrize("height", [0.0, 6.0, 13.0])
def test_a_whole_slab_inside_the_cell_stays_where_it_is(height):
    positions = slab_positions() + torch.tensor([0.0, 0.0, height])
    torch.testing.assert_close(wrap_at_vacuum_gap(positions, CELL, 2, 2.0), positions)


def test_a_structure_without_a_gap_is_refused():
    generator = torch.Generator().manual_seed(0)
    positions = torch.rand((200, 3), generator=generator) @ CELL
    with pytest.raises(ValueError, match=r"no vacuum gap along cell axis 2.*enlarge the cell"):
        wrap_at_vacuum_gap(positions, CELL, 2, 2.0)


def test_wrapping_moves_atoms_with_the_strained_cell():
    positions = (slab_positions() + torch.tensor([0.0, 0.0, 16.0])) % 20.0
    strain = torch.zeros((3, 3), requires_grad=True)
    deform = torch.eye(3) + strain
    whole = wrap_at_vacuum_gap(positions @ deform, CELL @ deform, 2, 2.0)
    (gradient,) = torch.autograd.grad(whole[:, 2].sum(), strain)
    assert gradient[2, 2].item() == pytest.approx(whole[:, 2].sum().item())


def test_normal_is_perpendicular_to_the_plane():
    for axis in range(3):
        normal = slab_normal(CELL, axis)
        assert float(torch.linalg.norm(normal)) == pytest.approx(1.0)
        for other in {0, 1, 2} - {axis}:
            assert float(normal @ CELL[other]) == pytest.approx(0.0, abs=1e-12)


def test_dipole_points_from_minus_to_plus():
    charges = torch.tensor([-1.0, 1.0, 0.5])
    positions = torch.tensor([[0.0, 0, 0], [0, 0, 2], [3, 0, 0]])
    dipole = compute_dipole(charges, positions, torch.tensor([0, 0, 1]), 2)
    assert dipole.tolist() == [[0, 0, 2], [1.5, 0, 0]]


def test_screening_divides_the_normal_part_only():
    normal = torch.tensor([0.6, 0.0, 0.8])
    vector = torch.tensor([1.0, 2.0, 3.0])
    screened = screen_along_normal(vector, normal, 0.41)
    assert float(screened @ normal) == pytest.approx(float(vector @ normal) / 1.41)
    in_plane = vector - (vector @ normal) * normal
    torch.testing.assert_close(screened - (screened @ normal) * normal, in_plane)


def test_screening_of_a_batch_touches_slabs_only():
    cells = torch.stack([CELL, CELL, torch.zeros(3, 3, dtype=CELL.dtype)])
    periodic = torch.tensor([[True, True, False], [True, True, True], [False, False, False]])
    dipoles = torch.arange(9.0, dtype=CELL.dtype).reshape(3, 3) + 1.0
    chi = torch.tensor(0.41, dtype=CELL.dtype, requires_grad=True)
    screened = screen_slabs(dipoles, cells.requires_grad_(True), periodic, chi)
    torch.testing.assert_close(screened[1:], dipoles[1:])
    torch.testing.assert_close(screened[0], dipoles[0] / torch.tensor([1.0, 1.0, 1.41]))
    gradients = torch.autograd.grad(screened.sum(), [chi, cells])
    assert float(gradients[0]) == pytest.approx(-3.0 / 1.41**2)
    assert torch.isfinite(gradients[1]).all()


def brute_force(difference, quanta, reach=9):
    steps = torch.arange(-reach, reach + 1, dtype=quanta.dtype)
    candidates = difference - torch.cartesian_prod(steps, steps, steps) @ quanta
    return candidates[candidates.square().sum(dim=1).argmin()]


@pytest.mark.parametrize("periodic", [[True] * 3, [True, True, False], [False, True, True]])
@pytest.mark.parametrize("charge", [1.0, 2.0])
def test_nearest_branch_in_skewed_cells_is_that_of_brute_force(periodic, charge):
    """Rounding alone is wrong in many of them."""
    generator = torch.Generator().manual_seed(1)
    n_rounding_is_wrong = 0
    for _ in range(40):
        cell = 4.0 * torch.eye(3, dtype=torch.float64)
        cell = cell + 4.0 * torch.rand((3, 3), generator=generator, dtype=torch.float64)
        reduced = torch.tensor(np.asarray(minkowski_reduce(cell.numpy(), periodic)[0]))
        lattice = torch.where(torch.tensor(periodic)[:, None], reduced, torch.zeros_like(reduced))
        quanta = charge * lattice
        difference = 6.0 * torch.randn(3, generator=generator, dtype=torch.float64)
        found = nearest_branch(difference[None], quanta[None])[0]
        expected = brute_force(difference, quanta)
        torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)
        fractional = difference @ torch.linalg.pinv(quanta)
        rounded = difference - torch.round(fractional) @ quanta
        n_rounding_is_wrong += bool(rounded.norm() > found.norm() + 1e-6)
    assert n_rounding_is_wrong > 0


def test_nearest_branch_of_a_batch_has_the_gradient_of_the_difference():
    quanta = torch.stack([torch.zeros(3, 3, dtype=CELL.dtype), CELL])
    difference = torch.tensor([[30.0, 30, 30], [30.0, 30, 30]], dtype=CELL.dtype)
    difference.requires_grad_(True)
    nearest = nearest_branch(difference, quanta)
    assert nearest[0].tolist() == [30.0, 30.0, 30.0]
    torch.testing.assert_close(nearest[1].detach(), brute_force(difference[1].detach(), CELL))
    (gradient,) = torch.autograd.grad(nearest.square().sum(), difference)
    torch.testing.assert_close(gradient, 2.0 * nearest.detach())


def test_without_a_quantum_differences_stay_as_they_are():
    difference = torch.full((2, 3), 100.0)
    assert nearest_branch(difference, torch.zeros(2, 3, 3)) is difference
