"""Tensors of atoms from vectors of their neighbours.

The charge of a neighbour j changes with a displacement of atom i along directions that the
surroundings of j know, and moves along the edge from j to i. Such a tensor is a product of a vector
of j and the direction of the edge, in either order:

.. math::

    \\sum_j u_{ij} \\otimes \\hat r_{ij} + \\sum_j \\hat r_{ij} \\otimes w_{ij}, \\qquad
    u_{ij} = \\sum_c g_{ic} \\, f^c(r_{ij}, j) \\, V_j^c

with w alike. Products of vectors of atom i alone cannot stand for it.
"""

import math
from typing import List

import torch
from e3nn import o3
from e3nn.util.jit import compile_mode

from mace_smile.model.edge_vectors import irrep_columns
from mace_smile.model.element_axes import ElementAxis


@compile_mode("script")
class NeighbourVectors(torch.nn.Module):
    """Sums over neighbours of products of their vectors and the directions of the edges.

    The vectors are mixed from the features of all layers but the last, so the receptive field stays
    r_max times the number of layers; where these have none (``max_L 0``), they are sums over the
    edges of the neighbour with weights that know elements and distances.

    :param layers: irreps of the node features, layer by layer; at least two.
    :param n_elements: number of chemical elements of the model.
    :param channels: number of vectors of each neighbour.
    :param n_radial: number of radial functions.
    :param normalization: factor of each sum over neighbours.
    """

    # TorchScript sees `Final` in the class itself only, not in a base class.
    __constants__ = ["has_feature_vectors", "channels", "normalization"]
    element_axes = (
        ElementAxis("vector_elements.weight", 1),
        ElementAxis("sender_weights.weight", 1),
        ElementAxis("gates.weight", 1, are_last=True),
    )
    vector_columns: torch.Tensor
    scalar_columns: torch.Tensor
    sender_columns: torch.Tensor

    def __init__(
        self,
        layers: List[o3.Irreps],
        n_elements: int,
        channels: int,
        n_radial: int,
        normalization: float,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.normalization = normalization
        for name, of_layers, irrep in (
            ("vector_columns", layers[:-1], "1o"),
            ("sender_columns", layers[:-1], "0e"),
            ("scalar_columns", layers, "0e"),
        ):
            columns = torch.tensor(irrep_columns(of_layers, o3.Irrep(irrep)), dtype=torch.long)
            self.register_buffer(name, columns, persistent=False)
        n_vectors = len(self.vector_columns) // 3
        self.has_feature_vectors = n_vectors > 0
        if not self.has_feature_vectors:
            n_vectors = channels
            self.vector_radial = torch.nn.Linear(n_radial, channels, bias=False)
            self.vector_elements = torch.nn.Linear(n_elements, channels, bias=False)
            torch.nn.init.normal_(self.vector_radial.weight)
            torch.nn.init.normal_(self.vector_elements.weight)
        self.mixing = torch.nn.Linear(n_vectors, 2 * channels, bias=False)
        n_given = n_elements + len(self.sender_columns)
        self.radial_weights = torch.nn.Linear(n_radial, 2 * channels, bias=False)
        self.sender_weights = torch.nn.Linear(n_given, 2 * channels, bias=False)
        self.gates = torch.nn.Linear(len(self.scalar_columns) + n_elements, 2 * channels)
        torch.nn.init.normal_(self.radial_weights.weight)
        torch.nn.init.normal_(self.sender_weights.weight, std=1.0 / math.sqrt(n_given * channels))

    def neighbour_vectors(
        self,
        node_feats: torch.Tensor,
        node_attrs: torch.Tensor,
        edge_index: torch.Tensor,
        directions: torch.Tensor,
        radial: torch.Tensor,
    ) -> torch.Tensor:
        """Vectors of all atoms as neighbours, shape ``(n_atoms, 2 channels, 3)``.

        :param node_feats: and the others as in :meth:`forward`.
        """
        n_atoms = node_feats.shape[0]
        if self.has_feature_vectors:
            of_atoms = node_feats[:, self.vector_columns].reshape(n_atoms, -1, 3)
        else:
            weights = self.vector_radial(radial) * self.vector_elements(node_attrs)[edge_index[0]]
            of_edges = (self.normalization * weights).unsqueeze(-1) * directions.unsqueeze(1)
            of_atoms = torch.zeros(
                (n_atoms, self.channels, 3), dtype=of_edges.dtype, device=of_edges.device
            ).index_add(0, edge_index[1], of_edges)
        return self.mixing(of_atoms.transpose(1, 2)).transpose(1, 2)

    def forward(
        self,
        node_feats: torch.Tensor,
        node_attrs: torch.Tensor,
        edge_index: torch.Tensor,
        directions: torch.Tensor,
        radial: torch.Tensor,
    ) -> torch.Tensor:
        """Tensors of the atoms, shape ``(n_atoms, 3, 3)``.

        :param node_feats: features of all layers, shape ``(n_atoms, n_features)``.
        :param node_attrs: one-hot elements, shape ``(n_atoms, n_elements)``.
        :param edge_index: sender and receiver of each edge, shape ``(2, n_edges)``.
        :param directions: unit vectors from sender to receiver, shape ``(n_edges, 3)``.
        :param radial: functions of the distances, zero at the cutoff, ``(n_edges, n_radial)``.
        """
        sender, receiver = edge_index[0], edge_index[1]
        vectors = self.neighbour_vectors(node_feats, node_attrs, edge_index, directions, radial)
        given = torch.cat([node_attrs, node_feats[:, self.sender_columns]], dim=-1)
        known = torch.cat([node_feats[:, self.scalar_columns], node_attrs], dim=-1)
        # Weights of the sender go with its vectors, so that few tensors of edges are needed.
        vectors = vectors * self.sender_weights(given).unsqueeze(-1)
        weights = self.radial_weights(radial) * self.gates(known)[receiver] * self.normalization
        of_edges = vectors[sender]  # (n_edges, 2 channels, 3)
        first = torch.bmm(weights[:, None, : self.channels], of_edges[:, : self.channels])
        second = torch.bmm(weights[:, None, self.channels :], of_edges[:, self.channels :])
        products = first.transpose(1, 2) * directions.unsqueeze(1)
        products = products + directions.unsqueeze(2) * second
        zeros = torch.zeros(
            (node_feats.shape[0], 3, 3), dtype=products.dtype, device=products.device
        )
        return zeros.index_add(0, receiver, products)
