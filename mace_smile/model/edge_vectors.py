"""Vectors of atoms, built from their edges and from node features: what equivariant heads share.

Node features of the last layer hold no vectors, and with ``max_L 0`` none do. Vectors are
therefore sums over the neighbours j of the directions :math:`\\hat r` of the edges,

.. math::

    V_i^c = \\sum_j w^c(r_{ij}, j) \\, \\hat r_{ij} ,

plus mixed vectors of the features where there are any.
"""

import math
from typing import ClassVar, List, Tuple

import torch
from e3nn import o3
from mace.modules import ScaleShiftMACE
from mace.modules.blocks import RadialEmbeddingBlock

from mace_smile.model.element_axes import ElementAxis


def layer_irreps(backbone: ScaleShiftMACE) -> List[o3.Irreps]:
    """Irreps of the node features of each layer, in the order they are concatenated."""
    return [o3.Irreps(product.linear.irreps_out) for product in backbone.products]


def irrep_columns(layers: List[o3.Irreps], irrep: o3.Irrep) -> List[int]:
    """Columns of the concatenated node features that hold an irrep, layer by layer."""
    columns: List[int] = []
    start = 0
    for irreps in layers:
        for (_, ir), part in zip(irreps, irreps.slices(), strict=True):
            if ir == irrep:
                columns.extend(range(start + part.start, start + part.stop))
        start += irreps.dim
    return columns


class EdgeVectorHead(torch.nn.Module):
    """A readout that builds vectors at each atom; subclasses say what becomes of them.

    What a neighbour gives is its element and its invariants of all layers but the last, so the
    receptive field stays r_max times the number of layers.

    :param layers: irreps of the node features, layer by layer.
    :param n_elements: number of chemical elements of the model.
    :param channels: number of vectors built at each atom.
    :param n_weights: weights of each edge; the first ``channels`` are those of its vectors.
    :param r_max: cutoff of the neighbours in A.
    :param avg_num_neighbors: normalisation of the sums over neighbours.
    """

    # TorchScript sees `Final` in the class itself only, not in a base class.
    __constants__ = ["has_feature_vectors"]
    element_axes: ClassVar[Tuple[ElementAxis, ...]] = (ElementAxis("sender_weights.weight", 1),)
    scalar_columns: torch.Tensor
    sender_columns: torch.Tensor
    vector_columns: torch.Tensor

    def __init__(
        self,
        layers: List[o3.Irreps],
        n_elements: int,
        channels: int,
        n_weights: int,
        r_max: float,
        avg_num_neighbors: float,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.normalization = factor_of_sums(avg_num_neighbors)
        sender_scalars = irrep_columns(layers[:-1], o3.Irrep("0e"))
        vectors = irrep_columns(layers, o3.Irrep("1o"))
        self.register_columns("scalar_columns", irrep_columns(layers, o3.Irrep("0e")))
        self.register_columns("sender_columns", sender_scalars)
        self.register_columns("vector_columns", vectors)
        self.radial = RadialEmbeddingBlock(r_max=r_max, num_bessel=8, num_polynomial_cutoff=5)
        self.radial_weights = torch.nn.Linear(self.radial.out_dim, n_weights, bias=False)
        self.sender_weights = torch.nn.Linear(
            n_elements + len(sender_scalars), n_weights, bias=False
        )
        self.has_feature_vectors = len(vectors) > 0
        if self.has_feature_vectors:
            self.feature_vectors = torch.nn.Linear(len(vectors) // 3, channels, bias=False)

    def register_columns(self, name: str, columns: List[int]) -> None:
        """Keep columns of the node features as a buffer that is no part of the weights."""
        self.register_buffer(name, torch.tensor(columns, dtype=torch.long), persistent=False)

    def reset_edge_weights(self) -> None:
        """Weights of edges of ordinary size, so that all vectors take part from the first step."""
        std = 1.0 / math.sqrt(self.sender_weights.in_features)
        torch.nn.init.normal_(self.sender_weights.weight, std=std)
        torch.nn.init.normal_(self.radial_weights.weight)

    def edge_geometry(
        self,
        node_attrs: torch.Tensor,
        edge_index: torch.Tensor,
        vectors: torch.Tensor,
        atomic_numbers: torch.Tensor,
    ) -> Tuple[torch.Tensor, torch.Tensor]:
        """Directions and radial functions of the edges.

        :param node_attrs: one-hot elements, shape ``(n_atoms, n_elements)``.
        :param edge_index: sender and receiver of each edge, shape ``(2, n_edges)``.
        :param vectors: receiver minus sender, shape ``(n_edges, 3)``, in A.
        :param atomic_numbers: of the model's elements, shape ``(n_elements,)``.
        :return: unit vectors ``(n_edges, 3)``, and functions of the distances that are zero at the
            cutoff, ``(n_edges, n_radial)``.
        """
        lengths = torch.linalg.norm(vectors, dim=-1, keepdim=True)
        radial, _ = self.radial(lengths, node_attrs, edge_index, atomic_numbers)
        return vectors / (lengths + 1e-9), radial

    def edge_weights(
        self,
        node_feats: torch.Tensor,
        node_attrs: torch.Tensor,
        edge_index: torch.Tensor,
        radial: torch.Tensor,
    ) -> torch.Tensor:
        """Weights of the edges, shape ``(n_edges, n_weights)``.

        :param node_feats: features of all layers, shape ``(n_atoms, n_features)``.
        :param node_attrs: one-hot elements, shape ``(n_atoms, n_elements)``.
        :param edge_index: sender and receiver of each edge, shape ``(2, n_edges)``.
        :param radial: from :meth:`edge_geometry`.
        """
        given = torch.cat([node_attrs, node_feats[:, self.sender_columns]], dim=-1)
        weights = self.radial_weights(radial) * self.sender_weights(given)[edge_index[0]]
        return weights * self.normalization

    def mixed_vectors(self, node_feats: torch.Tensor) -> torch.Tensor:
        """Vectors of the features, mixed, shape ``(n_atoms, channels, 3)``; zero without any.

        :param node_feats: features of all layers, shape ``(n_atoms, n_features)``.
        """
        n_atoms = node_feats.shape[0]
        if self.has_feature_vectors:
            features = node_feats[:, self.vector_columns].reshape(n_atoms, -1, 3).transpose(1, 2)
            return self.feature_vectors(features).transpose(1, 2)
        return torch.zeros(
            (n_atoms, self.channels, 3), dtype=node_feats.dtype, device=node_feats.device
        )

    def node_vectors(
        self,
        node_feats: torch.Tensor,
        weights: torch.Tensor,
        directions: torch.Tensor,
        receiver: torch.Tensor,
    ) -> torch.Tensor:
        """Vectors of the atoms, shape ``(n_atoms, channels, 3)``.

        :param node_feats: features of all layers, shape ``(n_atoms, n_features)``.
        :param weights: of the edges, shape ``(n_edges, n_weights)``.
        :param directions: unit vectors of the edges, shape ``(n_edges, 3)``.
        :param receiver: of each edge, shape ``(n_edges,)``.
        """
        edge_vectors = weights[:, : self.channels, None] * directions[:, None, :]
        return self.mixed_vectors(node_feats).index_add(0, receiver, edge_vectors)


def factor_of_sums(avg_num_neighbors: float) -> float:
    """What sums over neighbours are multiplied by, for terms of random sign."""
    return 1.0 / math.sqrt(max(avg_num_neighbors, 1.0))
