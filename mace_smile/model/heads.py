"""Readouts on MACE node features: static charges and Born effective charges.

Both see the invariants of all layers. The Born-charge head also needs vectors, which
:class:`~mace_smile.model.edge_vectors.EdgeVectorHead` builds for any hidden irreps, ``max_L 0``
included.
"""

import math
from typing import Final, List

import torch
from e3nn import o3
from e3nn.util.jit import compile_mode

from mace_smile.model.edge_vectors import EdgeVectorHead, irrep_columns


@compile_mode("script")
class ChargeHead(torch.nn.Module):
    """Static charges before any shift: a two-layer readout and one value an element.

    :param layers: irreps of the node features, layer by layer.
    :param n_elements: number of chemical elements of the model.
    :param channels: width of the hidden layer.
    """

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
class BornChargeHead(EdgeVectorHead):
    r"""Born effective charges as an equivariant readout of their own (0e + 1e + 2e).

    .. math::

        Z_i = a_i 1 + \sum_c g_{ic} T_i^c + \sum_c h_{ic} V_i^c \otimes W_i^c

    with scalars a, g, h from the invariants of atom i; T_i^c and V_i^c, W_i^c are traceless
    symmetric tensors and vectors, sums over the neighbours j of
    :math:`\hat r \hat r - 1/3` and :math:`\hat r` with weights that depend on the distance and
    on atom j, plus those of the node features where they have any. The product of two vectors
    carries the antisymmetric part. What atom j gives is its element and its invariants of all
    layers but the last, so the receptive field stays r_max times the number of layers.

    :param layers: irreps of the node features, layer by layer.
    :param n_elements: number of chemical elements of the model.
    :param channels: number of tensors and of vectors built at each atom.
    :param r_max: cutoff of the neighbours in A.
    :param avg_num_neighbors: normalisation of the sums over neighbours.
    """

    has_feature_tensors: Final[bool]
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
        self.element_charges = torch.nn.Parameter(torch.zeros(n_elements))
        # e3nn's five components of l = 2 as a symmetric traceless 3x3 matrix
        basis = o3.wigner_3j(2, 1, 1).reshape(5, 9)
        self.register_buffer("change_of_basis", basis, persistent=False)
        self.register_buffer("identity", torch.eye(3), persistent=False)

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
        n_atoms = node_feats.shape[0]
        receiver = edge_index[1]
        hidden = torch.nn.functional.silu(self.hidden(node_feats[:, self.scalar_columns]))
        gates = self.gates(hidden)
        isotropic = gates[:, 0] + node_attrs @ self.element_charges
        tensor_gates = gates[:, 1 : 1 + self.channels]
        vector_gates = gates[:, 1 + self.channels :]

        lengths = torch.linalg.norm(vectors, dim=-1, keepdim=True)
        directions = vectors / (lengths + 1e-9)
        radial = self.edge_radial(node_attrs, edge_index, lengths, atomic_numbers)
        weights = self.edge_weights(node_feats, node_attrs, edge_index, radial)

        # The gates of the receiver turn the channels of the tensors into one weight an edge.
        strengths = (weights[:, self.channels :] * tensor_gates[receiver]).sum(-1, keepdim=True)
        products = (directions.unsqueeze(-1) * directions.unsqueeze(-2)).flatten(1)
        node_tensors = torch.zeros((n_atoms, 9), dtype=weights.dtype, device=weights.device)
        node_tensors = node_tensors.index_add(0, receiver, strengths * products).view(-1, 3, 3)
        trace = torch.diagonal(node_tensors, dim1=-2, dim2=-1).sum(-1) / 3
        isotropic = isotropic - trace

        node_vectors = self.node_vectors(node_feats, weights, directions, receiver)
        if self.has_feature_tensors:
            features = node_feats[:, self.tensor_columns].reshape(n_atoms, -1, 5).transpose(1, 2)
            mixed = (self.feature_tensors(features) * tensor_gates.unsqueeze(1)).sum(-1)
            node_tensors = node_tensors + (mixed @ self.change_of_basis).view(-1, 3, 3)
        partners = self.partner_vectors(node_vectors.transpose(1, 2))  # (n_atoms, 3, channels)
        return (
            isotropic[:, None, None] * self.identity
            + node_tensors
            + (vector_gates.unsqueeze(-1) * node_vectors).transpose(1, 2) @ partners.transpose(1, 2)
        )
