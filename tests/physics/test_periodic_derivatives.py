"""Born effective charges of environment-dependent charges, against finite differences in clusters.

The charges are those of a small message-passing network written here, in which every path of
edges can be followed.
"""

import itertools

import ase
import numpy as np
import pytest
import torch
from ase.neighborlist import neighbor_list

from helpers import bulk_water, open_water, slab_water
from mace_smile.physics.periodic_derivatives import (
    derivative_along_paths,
    derivative_of_moments,
    harmonic_weights,
    phase_moments,
)

CUTOFF = 3.0
N_FEATURES = 4


class Network:
    """Charges from ``n_layers`` rounds of messages within the cutoff."""

    def __init__(self, n_layers: int) -> None:
        generator = torch.Generator().manual_seed(3)
        self.embedding = torch.randn(11, N_FEATURES, generator=generator, dtype=torch.float64)
        self.mixing = [
            torch.randn(N_FEATURES, N_FEATURES, generator=generator, dtype=torch.float64)
            for _ in range(n_layers)
        ]

    def __call__(self, atoms: ase.Atoms):
        """Charges, positions, shifts, edges, vectors and the senders' features of each layer."""
        sender, receiver, cell_shifts = neighbor_list("ijS", atoms, CUTOFF)
        positions = torch.tensor(atoms.positions, requires_grad=True)
        shifts = torch.tensor(cell_shifts @ atoms.cell.array, requires_grad=True)
        edge_index = torch.tensor(np.stack([sender, receiver]))
        vectors = positions[receiver] - positions[sender] + shifts
        lengths = vectors.norm(dim=1, keepdim=True)
        radial = (1 - (lengths / CUTOFF) ** 2) ** 3 / lengths
        features = self.embedding[atoms.numbers]
        sent = []
        for number, mixing in enumerate(self.mixing):
            x = features[edge_index[0]]
            if number > 0:
                sent.append(x)
            messages = torch.zeros_like(features).index_add(0, edge_index[1], radial * (x @ mixing))
            features = torch.tanh(features + messages)
        return features.sum(dim=1), positions, shifts, edge_index, vectors.detach(), sent


def along_paths(network: Network, atoms: ase.Atoms) -> np.ndarray:
    """The sum over images by following paths, shape ``(n_atoms, 3, 3)``."""
    charges, positions, shifts, edge_index, vectors, sent = network(atoms)
    result = derivative_along_paths(
        charges, positions, shifts, edge_index, vectors, sent, training=False
    )
    return result.numpy()


def by_phases(network: Network, atoms: ase.Atoms, harmonics: int) -> np.ndarray:
    """The sum over images by phases, shape ``(n_atoms, 3, 3)``."""
    charges, positions, *_ = network(atoms)
    n_atoms = torch.tensor([0, len(atoms)])
    cells, periodic = torch.tensor(atoms.cell.array)[None], torch.tensor(atoms.pbc)[None]
    weights, coefficients = phase_moments(positions, cells, periodic, n_atoms, harmonics)
    return derivative_of_moments(charges, positions, weights, coefficients, training=False).numpy()


def replicated(atoms: ase.Atoms, reach: float) -> tuple[ase.Atoms, np.ndarray]:
    """All images within ``reach`` of the cell, as an open cluster, and the number of each atom."""
    images = []
    for axis in range(3):
        if not atoms.pbc[axis]:
            images.append([0])
            continue
        height = 1.0 / np.linalg.norm(np.linalg.inv(atoms.cell.array)[:, axis])
        count = int(np.ceil(reach / height)) + 1
        images.append(sorted(range(-count, count + 1), key=abs))
    places = np.concatenate(
        [
            atoms.positions + np.array(image) @ atoms.cell.array
            for image in itertools.product(*images)
        ]
    )
    near = np.zeros(len(places), dtype=bool)
    for position in atoms.positions:
        near |= np.linalg.norm(places - position, axis=1) < reach
    numbers = np.tile(np.arange(len(atoms)), len(places) // len(atoms))[near]
    return ase.Atoms(atoms.numbers[numbers], places[near]), numbers


def by_differences(network: Network, atoms: ase.Atoms, atom: int, axis: int) -> np.ndarray:
    """Moment of the change of all charges when one atom of a large cluster moves, ``(3,)``."""
    cluster, numbers = replicated(atoms, 2 * len(network.mixing) * CUTOFF)
    moved = int(np.nonzero(numbers == atom)[0][0])
    place = cluster.positions[moved].copy()
    # Beyond the receptive field charges do not change, and those of the surface differ.
    inside = np.linalg.norm(cluster.positions - place, axis=1) < len(network.mixing) * CUTOFF + 0.1
    step, moments = 1e-4, []
    for sign in (2, 1, -1, -2):
        cluster.positions[moved, axis] = place[axis] + sign * step
        charges = network(cluster)[0].detach().numpy()
        reference = cluster.positions - place
        reference[moved] = 0.0
        moments.append((charges[:, None] * reference)[inside].sum(axis=0))
    return (-moments[0] + 8 * moments[1] - 8 * moments[2] + moments[3]) / (12 * step)


@pytest.mark.parametrize(
    ("make", "n_layers"),
    [(bulk_water, 1), (bulk_water, 2), (open_water, 3), (slab_water, 3)],
)
def test_following_paths_is_exact_in_cells_of_any_size(make, n_layers):
    """The cells are 6 A wide, and charges depend on atoms up to 3 A a layer away."""
    network, atoms = Network(n_layers), make()
    found = along_paths(network, atoms)
    for atom, axis in ((0, 0), (7, 2)):
        expected = by_differences(network, atoms, atom, axis)
        np.testing.assert_allclose(found[atom, :, axis], expected, atol=1e-8)


def test_following_paths_gives_the_same_in_a_supercell():
    network, atoms = Network(2), bulk_water()
    cell = along_paths(network, atoms)
    supercell = along_paths(network, atoms.repeat((2, 1, 2)))
    for start in range(0, len(supercell), len(atoms)):
        np.testing.assert_allclose(supercell[start : start + len(atoms)], cell, atol=1e-12)


def test_following_paths_does_not_depend_on_wrapping():
    network, atoms = Network(2), bulk_water()
    cell = along_paths(network, atoms)
    moved = atoms.copy()
    moved.positions[::2] += atoms.cell[0] - 2 * atoms.cell[2]
    np.testing.assert_allclose(along_paths(network, moved), cell, atol=1e-12)


def test_phases_converge_with_the_number_of_harmonics():
    network, atoms = Network(1), bulk_water().repeat(3)
    exact = along_paths(network, atoms)
    errors = [np.abs(by_phases(network, atoms, number) - exact).max() for number in (1, 2, 3)]
    assert errors[1] < 0.2 * errors[0]
    assert errors[2] < 0.3 * errors[1]


def test_phases_do_not_depend_on_wrapping():
    network, atoms = Network(2), bulk_water()
    moved = atoms.copy()
    moved.positions[::2] += atoms.cell[0] - 2 * atoms.cell[2]
    np.testing.assert_allclose(
        by_phases(network, moved, 3), by_phases(network, atoms, 3), atol=1e-12
    )


@pytest.mark.parametrize("make", [open_water, slab_water])
def test_axes_that_are_not_periodic_are_exact_with_phases(make):
    network, atoms = Network(2), make()
    exact, phases = along_paths(network, atoms), by_phases(network, atoms, 1)
    axes = slice(None) if make is open_water else slice(2, 3)
    np.testing.assert_allclose(phases[:, axes], exact[:, axes], atol=1e-11)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_harmonics_cancel_the_leading_errors_of_the_sine(number):
    x = 1e-2
    expansion = sum(
        weight * np.sin((n + 1) * x) / (n + 1) for n, weight in enumerate(harmonic_weights(number))
    )
    assert abs(expansion - x) < 2 * x ** (2 * number + 1)
    assert abs(expansion - x) > 1e-3 * x ** (2 * number + 1)


def test_both_forms_can_be_trained():
    """The derivative of the result by a parameter equals its finite difference."""
    atoms = bulk_water()

    def total(network: Network, method: str) -> torch.Tensor:
        charges, positions, shifts, edge_index, vectors, sent = network(atoms)
        if method == "paths":
            result = derivative_along_paths(
                charges, positions, shifts, edge_index, vectors, sent, training=True
            )
        else:
            cells, periodic = torch.tensor(atoms.cell.array)[None], torch.tensor([[True] * 3])
            ptr = torch.tensor([0, len(atoms)])
            moments = phase_moments(positions, cells, periodic, ptr, 2)
            result = derivative_of_moments(charges, positions, *moments, training=True)
        return (result**2).sum()

    for method in ("paths", "phases"):
        network = Network(2)
        parameter = network.mixing[0].requires_grad_()
        (gradient,) = torch.autograd.grad(total(network, method), parameter)
        parameter.requires_grad_(False)
        step, values = 1e-5, []
        for sign in (1, -1):
            parameter[1, 2] += sign * step
            values.append(float(total(network, method).detach()))
            parameter[1, 2] -= sign * step
        assert float(gradient[1, 2]) == pytest.approx(
            (values[0] - values[1]) / (2 * step), rel=1e-5
        )
