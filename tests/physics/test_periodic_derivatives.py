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
from scipy.spatial import cKDTree

from helpers import bulk_water, open_water, slab_water
from mace_smile.physics.path_derivatives import derivative_along_paths
from mace_smile.physics.periodic_derivatives import (
    derivative_of_moments,
    filled_cell,
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
        if atoms.pbc.any():
            sender, receiver, cell_shifts = neighbor_list("ijS", atoms, CUTOFF)
        else:  # many times faster in a large cluster
            pairs = cKDTree(atoms.positions).query_pairs(CUTOFF, output_type="ndarray")
            sender, receiver = np.concatenate([pairs, pairs[:, ::-1]]).T
            cell_shifts = np.zeros((len(sender), 3))
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


def along_paths(
    network: Network, atoms: ase.Atoms, harmonics: int = 0, training: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """The sum over images by following paths, ``(n_atoms, 3, 3)``, and the other result.

    :param harmonics: of waves along periodic axes; 0 for displacements as they are.
    """
    charges, _, shifts, edge_index, vectors, sent = network(atoms)
    axes, is_wave = torch.eye(3), torch.zeros(3, dtype=torch.bool)
    if harmonics > 0:
        is_wave = torch.tensor(atoms.pbc)
        axes = filled_cell(torch.tensor(atoms.cell.array), is_wave)
    return derivative_along_paths(
        charges,
        shifts,
        edge_index,
        sent,
        vectors @ torch.linalg.inv(axes),
        axes.expand(len(atoms), 3, 3),
        is_wave.expand(len(vectors), 3),
        max(harmonics, 1),
        training,
    )


def unfolded(network: Network, atoms: ase.Atoms) -> np.ndarray:
    """The sum over images with displacements as they are, shape ``(n_atoms, 3, 3)``."""
    return along_paths(network, atoms)[0].numpy()


def by_moments(
    network: Network, atoms: ase.Atoms, harmonics: int, training: bool = False
) -> torch.Tensor:
    """The sum over images by phases of positions, shape ``(n_atoms, 3, 3)``."""
    charges, positions, *_ = network(atoms)
    n_atoms = torch.tensor([0, len(atoms)])
    cells, periodic = torch.tensor(atoms.cell.array)[None], torch.tensor(atoms.pbc)[None]
    moments = phase_moments(positions, cells, periodic, n_atoms, harmonics)
    return derivative_of_moments(charges, positions, *moments, training)


def cluster_around(atoms: ase.Atoms, atom: int, reach: float) -> tuple[ase.Atoms, int]:
    """All images within ``reach`` of an atom, as an open cluster, and the number of the atom."""
    images = []
    for axis in range(3):
        if not atoms.pbc[axis]:
            images.append([0])
            continue
        height = 1.0 / np.linalg.norm(np.linalg.inv(atoms.cell.array)[:, axis])
        count = int(np.ceil(reach / height)) + 1
        images.append(range(-count, count + 1))
    places = np.concatenate(
        [
            atoms.positions + np.array(image) @ atoms.cell.array
            for image in itertools.product(*images)
        ]
    )
    distances = np.linalg.norm(places - atoms.positions[atom], axis=1)
    near = distances < reach
    numbers = np.tile(atoms.numbers, len(places) // len(atoms))
    return ase.Atoms(numbers[near], places[near]), int(np.argmin(distances[near]))


def by_differences(network: Network, atoms: ase.Atoms, atom: int, axis: int) -> np.ndarray:
    """Moment of the change of all charges when one atom of a large cluster moves, ``(3,)``."""
    cluster, moved = cluster_around(atoms, atom, 2 * len(network.mixing) * CUTOFF + 0.2)
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


def shallow_slab() -> ase.Atoms:
    """A slab whose third cell vector is shorter than the receptive field."""
    atoms = slab_water(height=4.0)
    atoms.set_cell([[6.2, 0, 0], [0.8, 6.4, 0], [0.5, -0.3, 4.0]])
    return atoms


@pytest.mark.parametrize("make", [bulk_water, open_water, slab_water, shallow_slab])
@pytest.mark.parametrize("n_layers", [1, 2, 3])
def test_following_paths_is_exact_in_cells_of_any_size(make, n_layers):
    """The cells are 6 A wide, and charges depend on atoms up to 3 A a layer away."""
    network, atoms = Network(n_layers), make()
    found = unfolded(network, atoms)
    for atom, axis in ((0, 0), (7, 2)):
        expected = by_differences(network, atoms, atom, axis)
        np.testing.assert_allclose(found[atom, :, axis], expected, atol=1e-8)


@pytest.mark.parametrize("n_layers", [1, 2, 3, 4])
@pytest.mark.parametrize("make", [bulk_water, open_water, slab_water, shallow_slab])
def test_waves_along_paths_equal_phases_of_positions(make, n_layers):
    network, atoms = Network(n_layers), make()
    for harmonics in (1, 2, 3):
        found, _ = along_paths(network, atoms, harmonics)
        expected = by_moments(network, atoms, harmonics)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("harmonics", [0, 2])
def test_following_paths_gives_the_derivative_of_the_sum(harmonics):
    network, atoms = Network(3), slab_water()
    charges, positions, *_ = network(atoms)
    (expected,) = torch.autograd.grad(charges.sum(), positions)
    found = along_paths(network, atoms, harmonics)[1]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_following_paths_gives_the_same_in_a_supercell():
    network, atoms = Network(2), bulk_water()
    cell = unfolded(network, atoms)
    supercell = unfolded(network, atoms.repeat((2, 1, 2)))
    for start in range(0, len(supercell), len(atoms)):
        np.testing.assert_allclose(supercell[start : start + len(atoms)], cell, atol=1e-12)


@pytest.mark.parametrize("harmonics", [0, 3])
def test_following_paths_does_not_depend_on_wrapping(harmonics):
    network, atoms = Network(2), bulk_water()
    cell, _ = along_paths(network, atoms, harmonics)
    moved = atoms.copy()
    moved.positions[::2] += atoms.cell[0] - 2 * atoms.cell[2]
    found, _ = along_paths(network, moved, harmonics)
    torch.testing.assert_close(found, cell, rtol=0, atol=1e-12)


def test_waves_converge_with_the_number_of_harmonics():
    network, atoms = Network(1), bulk_water().repeat(3)
    exact, _ = along_paths(network, atoms)
    errors = [
        float((along_paths(network, atoms, number)[0] - exact).abs().max()) for number in (1, 2, 3)
    ]
    assert errors[1] < 0.2 * errors[0]
    assert errors[2] < 0.3 * errors[1]


@pytest.mark.parametrize("make", [open_water, slab_water])
def test_axes_that_are_not_periodic_are_exact_with_waves(make):
    network, atoms = Network(2), make()
    exact, waves = along_paths(network, atoms)[0], along_paths(network, atoms, 1)[0]
    axes = slice(None) if make is open_water else slice(2, 3)
    torch.testing.assert_close(waves[:, axes], exact[:, axes], rtol=0, atol=1e-12)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_harmonics_cancel_the_leading_errors_of_the_sine(number):
    x = 1e-2
    expansion = sum(
        weight * np.sin((n + 1) * x) / (n + 1) for n, weight in enumerate(harmonic_weights(number))
    )
    assert abs(expansion - x) < 2 * x ** (2 * number + 1)
    assert abs(expansion - x) > 1e-3 * x ** (2 * number + 1)


@pytest.mark.parametrize("harmonics", [None, 0, 2])
def test_all_forms_can_be_trained(harmonics):
    """The derivative of the result by a parameter equals its finite difference."""
    atoms = bulk_water()

    def total(network: Network) -> torch.Tensor:
        if harmonics is None:
            return by_moments(network, atoms, 2, training=True).square().sum()
        return along_paths(network, atoms, harmonics, training=True)[0].square().sum()

    network = Network(3)
    parameter = network.mixing[0].requires_grad_()
    (gradient,) = torch.autograd.grad(total(network), parameter)
    parameter.requires_grad_(False)
    step, values = 1e-5, []
    for sign in (1, -1):
        parameter[1, 2] += sign * step
        values.append(float(total(network).detach()))
        parameter[1, 2] -= sign * step
    assert float(gradient[1, 2]) == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5)
