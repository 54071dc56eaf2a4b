"""Vectors of neighbours in the head of Born effective charges."""

import ase
import numpy as np
import pytest
import torch

from helpers import R_MAX, make_backbone, make_batch, make_model
from mace_smile.model.edge_vectors import layer_irreps
from mace_smile.model.neighbour_vectors import NeighbourVectors

SPACING = 0.75 * R_MAX


def born_charges_of_a_chain(model, moved: int | None) -> np.ndarray:
    """Born charges of atom 0 of a bent chain of six, one of which is moved a little."""
    positions = SPACING * np.arange(6)[:, None] * np.array([[1.0, 0.0, 0.0]])
    positions[:, 1] = [0.0, 0.4, -0.1, 0.3, 0.0, 0.2]
    if moved is not None:
        positions[moved, 2] += 0.2
    atoms = ase.Atoms("OHOHOH", positions)
    output = model(make_batch([atoms], model), compute_force=False)
    return output["born_effective_charges"][0].detach().numpy()


@pytest.mark.parametrize("hidden_irreps", ["4x0e+4x1o", "4x0e"])
@pytest.mark.parametrize("n_layers", [1, 2])
def test_the_receptive_field_is_the_cutoff_times_the_layers(hidden_irreps, n_layers):
    model = make_model(hidden_irreps, n_layers).double()
    reference = born_charges_of_a_chain(model, None)
    for moved in range(1, 6):
        change = np.abs(born_charges_of_a_chain(model, moved) - reference).max()
        if moved <= n_layers:
            assert change > 1e-10
        else:
            assert change < 1e-14


@pytest.mark.parametrize("hidden_irreps", ["4x0e+4x1o", "4x0e"])
def test_what_a_neighbour_sees_turns_the_tensors_and_they_have_no_symmetry(hidden_irreps):
    """Two atoms and one that the first does not see: the vector of the second one is all."""
    layers = layer_irreps(make_backbone(hidden_irreps))
    torch.manual_seed(0)
    part = NeighbourVectors(layers, 3, 4, 8, 1.0).double()
    n_features = sum(irreps.dim for irreps in layers)
    node_feats = torch.zeros((3, n_features), dtype=torch.float64)
    node_attrs = torch.eye(3, dtype=torch.float64)
    vectors = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
    if part.has_feature_vectors:
        node_feats[1, part.vector_columns[1::3]] = 1.0  # along y
    edge_index = torch.tensor([[1, 2], [0, 1]])  # to atom 0 along x, to atom 1 along y
    radial = torch.ones((2, 8), dtype=torch.float64)
    tensor = part(node_feats, node_attrs, edge_index, vectors, radial)[0]
    other = torch.zeros_like(tensor, dtype=torch.bool)
    other[0, 1] = other[1, 0] = True
    assert torch.all(tensor[other].abs() > 1e-4)
    assert torch.all(tensor[~other] == 0.0)
    assert abs(tensor[0, 1] - tensor[1, 0]) > 1e-4
