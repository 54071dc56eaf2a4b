"""Readouts on MACE node features: static charges and Born effective charges.

Both see the invariants of all layers. The Born-charge head also needs tensors, which
:class:`~mace_smile.model.edge_tensors.EdgeTensorHead` builds for any hidden irreps, ``max_L 0``
included.
"""

import math
from typing import Any, Dict, List

import torch
from e3nn import o3
from e3nn.util.jit import compile_mode

from mace_smile.model.edge_tensors import EdgeTensorHead
from mace_smile.model.edge_vectors import irrep_columns
from mace_smile.model.element_axes import ElementAxis
from mace_smile.model.neighbour_vectors import NeighbourVectors


@compile_mode("script")
class ChargeHead(torch.nn.Module):
    """Static charges before any shift: a two-layer readout and one value an element.

    :param layers: irreps of the node features, layer by layer.
    :param n_elements: number of chemical elements of the model.
    :param channels: width of the hidden layer.
    """

    element_axes = (ElementAxis("element_charges", 0),)
    columns: torch.Tensor

    def __init__(self, layers: List[o3.Irreps], n_elements: int, channels: int) -> None:
        super().__init__()
        columns = irrep_columns(layers, o3.Irrep("0e"))
        self.register_buffer("columns", torch.tensor(columns), persistent=False)
        self.hidden = torch.nn.Linear(len(columns), channels)
        self.output = torch.nn.Linear(channels, 1, bias=False)
        # Small charges at the start: the electrostatic energy begins near zero, yet every
        # parameter has a gradient at the first step.
        torch.nn.init.normal_(self.output.weight, std=0.1 / math.sqrt(channels))
        self.element_charges = torch.nn.Parameter(torch.zeros(n_elements))

    def forward(self, node_feats: torch.Tensor, node_attrs: torch.Tensor) -> torch.Tensor:
        """Charges of the atoms.

        :param node_feats: features of all layers, shape ``(n_atoms, n_features)``.
        :param node_attrs: one-hot elements, shape ``(n_atoms, n_elements)``.
        :return: shape ``(n_atoms,)``, in e.
        """
        hidden = torch.nn.functional.silu(self.hidden(node_feats[:, self.columns]))
        return self.output(hidden).squeeze(-1) + node_attrs @ self.element_charges


@compile_mode("script")
class BornChargeHead(EdgeTensorHead):
    """Born effective charges as an equivariant readout of their own (0e + 1e + 2e).

    They are the tensors of :class:`~mace_smile.model.edge_tensors.EdgeTensorHead` and, in models of
    two layers or more, those of :class:`~mace_smile.model.neighbour_vectors.NeighbourVectors`. What
    atom j gives to atom i is its element, its invariants and its vectors of all layers but the
    last, so the receptive field stays r_max times the number of layers.

    :param layers: irreps of the node features, layer by layer.
    :param n_elements: number of chemical elements of the model.
    :param channels: number of tensors and of vectors built at each atom.
    :param r_max: cutoff of the neighbours in A.
    :param avg_num_neighbors: normalisation of the sums over neighbours.
    """

    __constants__ = [*EdgeTensorHead.__constants__, "has_neighbour_vectors"]
    element_axes = (*EdgeTensorHead.element_axes, ElementAxis("element_charges", 0))

    def __init__(
        self,
        layers: List[o3.Irreps],
        n_elements: int,
        channels: int,
        r_max: float,
        avg_num_neighbors: float,
    ) -> None:
        super().__init__(layers, n_elements, channels, r_max, avg_num_neighbors)
        self.has_neighbour_vectors = len(layers) > 1
        if self.has_neighbour_vectors:
            self.neighbour_vectors = NeighbourVectors(
                layers, n_elements, channels, self.radial.out_dim, self.normalization
            )
        self.element_charges = torch.nn.Parameter(torch.zeros(n_elements))

    def forward(
        self,
        node_feats: torch.Tensor,
        node_attrs: torch.Tensor,
        edge_index: torch.Tensor,
        vectors: torch.Tensor,
        atomic_numbers: torch.Tensor,
    ) -> torch.Tensor:
        """Born effective charges of the atoms.

        :param node_feats: features of all layers, shape ``(n_atoms, n_features)``.
        :param node_attrs: one-hot elements, shape ``(n_atoms, n_elements)``.
        :param edge_index: sender and receiver of each edge, shape ``(2, n_edges)``.
        :param vectors: receiver minus sender, shape ``(n_edges, 3)``, in A.
        :param atomic_numbers: of the model's elements, shape ``(n_elements,)``.
        :return: shape ``(n_atoms, 3, 3)``, in e, field index first.
        """
        directions, radial = self.edge_geometry(node_attrs, edge_index, vectors, atomic_numbers)
        tensors = self.node_tensors(
            node_feats, node_attrs, edge_index, directions, radial, self.element_charges
        )
        if self.has_neighbour_vectors:
            tensors = tensors + self.neighbour_vectors(
                node_feats, node_attrs, edge_index, directions, radial
            )
        return tensors

    def __setstate__(self, state: Dict[str, Any]) -> None:
        """Restore a stored head; those of formats 1 to 5 know no vectors of neighbours."""
        super().__setstate__(  # type: ignore[no-untyped-call]
            {"has_neighbour_vectors": False, **state}
        )
