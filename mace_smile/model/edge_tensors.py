"""Tensors of atoms, built from their edges and from node features: 3x3, of any symmetry.

.. math::

    T_i = a_i 1 + \\sum_c g_{ic} T_i^c + \\sum_c h_{ic} V_i^c \\otimes W_i^c

with scalars a, g, h from the invariants of atom i; T_i^c and V_i^c, W_i^c are traceless symmetric
tensors and vectors, sums over the neighbours j of :math:`\\hat r \\hat r - 1/3` and
:math:`\\hat r` with weights that depend on the distance and on atom j, plus those of the node
features where they have any. The product of two vectors carries the antisymmetric part.
"""

import math
from typing import List

import torch
from e3nn import o3

from mace_smile.model.edge_vectors import EdgeVectorHead, irrep_columns


class EdgeTensorHead(EdgeVectorHead):
    """A readout that builds a tensor at each atom (0e + 1e + 2e); subclasses say what it is.

    :param layers: irreps of the node features, layer by layer.
    :param n_elements: number of chemical elements of the model.
    :param channels: number of tensors and of vectors built at each atom.
    :param r_max: cutoff of the neighbours in A.
    :param avg_num_neighbors: normalisation of the sums over neighbours.
    """

    # TorchScript sees `Final` in the class itself only, not in a base class.
    __constants__ = [*EdgeVectorHead.__constants__, "has_feature_tensors"]
    tensor_columns: torch.Tensor
    change_of_basis: torch.Tensor
    identity: torch.Tensor

    def __init__(
        self,
        layers: List[o3.Irreps],
        n_elements: int,
        channels: int,
        r_max: float,
        avg_num_neighbors: float,
    ) -> None:
        n_weights = 2 * channels  # of the vectors, then of the tensors
        super().__init__(layers, n_elements, channels, n_weights, r_max, avg_num_neighbors)
        tensors = irrep_columns(layers, o3.Irrep("2e"))
        self.register_columns("tensor_columns", tensors)
        self.has_feature_tensors = len(tensors) > 0
        if self.has_feature_tensors:
            self.feature_tensors = torch.nn.Linear(len(tensors) // 5, channels, bias=False)
        self.partner_vectors = torch.nn.Linear(channels, channels, bias=False)
        self.hidden = torch.nn.Linear(len(self.scalar_columns), 64)
        self.gates = torch.nn.Linear(64, 1 + 2 * channels)
        self.reset_edge_weights()
        torch.nn.init.normal_(self.partner_vectors.weight, std=1.0 / math.sqrt(channels))
        torch.nn.init.ones_(self.gates.bias[1:])
        # e3nn's five components of l = 2 as a symmetric traceless 3x3 matrix
        basis = o3.wigner_3j(2, 1, 1).reshape(5, 9)
        self.register_buffer("change_of_basis", basis, persistent=False)
        self.register_buffer("identity", torch.eye(3), persistent=False)

    def node_tensors(
        self,
        node_feats: torch.Tensor,
        node_attrs: torch.Tensor,
        edge_index: torch.Tensor,
        directions: torch.Tensor,
        radial: torch.Tensor,
        element_values: torch.Tensor,
    ) -> torch.Tensor:
        """Tensors of the atoms, shape ``(n_atoms, 3, 3)``.

        :param node_feats: features of all layers, shape ``(n_atoms, n_features)``.
        :param node_attrs: one-hot elements, shape ``(n_atoms, n_elements)``.
        :param edge_index: sender and receiver of each edge, shape ``(2, n_edges)``.
        :param directions: unit vectors from sender to receiver, shape ``(n_edges, 3)``.
        :param radial: functions of the distances, shape ``(n_edges, n_radial)``.
        :param element_values: added to the isotropic part, shape ``(n_elements,)``.
        """
        n_atoms = node_feats.shape[0]
        receiver = edge_index[1]
        hidden = torch.nn.functional.silu(self.hidden(node_feats[:, self.scalar_columns]))
        gates = self.gates(hidden)
        isotropic = gates[:, 0] + node_attrs @ element_values
        tensor_gates = gates[:, 1 : 1 + self.channels]
        vector_gates = gates[:, 1 + self.channels :]

        weights = self.edge_weights(node_feats, node_attrs, edge_index, radial)

        # The gates of the receiver turn the channels of the tensors into one weight an edge.
        strengths = (weights[:, self.channels :] * tensor_gates[receiver]).sum(-1, keepdim=True)
        products = (directions.unsqueeze(-1) * directions.unsqueeze(-2)).flatten(1)
        tensors = torch.zeros((n_atoms, 9), dtype=weights.dtype, device=weights.device)
        tensors = tensors.index_add(0, receiver, strengths * products).view(-1, 3, 3)
        trace = torch.diagonal(tensors, dim1=-2, dim2=-1).sum(-1) / 3
        isotropic = isotropic - trace

        node_vectors = self.node_vectors(node_feats, weights, directions, receiver)
        if self.has_feature_tensors:
            features = node_feats[:, self.tensor_columns].reshape(n_atoms, -1, 5).transpose(1, 2)
            mixed = (self.feature_tensors(features) * tensor_gates.unsqueeze(1)).sum(-1)
            tensors = tensors + (mixed @ self.change_of_basis).view(-1, 3, 3)
        partners = self.partner_vectors(node_vectors.transpose(1, 2))  # (n_atoms, 3, channels)
        return (
            isotropic[:, None, None] * self.identity
            + tensors
            + (vector_gates.unsqueeze(-1) * node_vectors).transpose(1, 2) @ partners.transpose(1, 2)
        )
