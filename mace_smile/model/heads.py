"""Readouts on MACE node features: static charges and Born effective charges.

Both see the invariants of all layers. The Born-charge head also needs vectors; it builds them
from the edges, and adds those of the features where there are any, so it works for any hidden
irreps, ``max_L 0`` included.
"""

import math
from typing import Final, List

import torch
from e3nn import o3
from e3nn.util.jit import compile_mode
from mace.modules import ScaleShiftMACE
from mace.modules.blocks import RadialEmbeddingBlock


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
class BornChargeHead(torch.nn.Module):
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

    has_feature_vectors: Final[bool]
    has_feature_tensors: Final[bool]
    scalar_columns: torch.Tensor
    sender_columns: torch.Tensor
    vector_columns: torch.Tensor
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
        super().__init__()
        self.channels = channels
        self.normalization = 1.0 / math.sqrt(max(avg_num_neighbors, 1.0))
        scalars = irrep_columns(layers, o3.Irrep("0e"))
        sender_scalars = irrep_columns(layers[:-1], o3.Irrep("0e"))
        vectors = irrep_columns(layers, o3.Irrep("1o"))
        tensors = irrep_columns(layers, o3.Irrep("2e"))
        for name, columns in (
            ("scalar_columns", scalars),
            ("sender_columns", sender_scalars),
            ("vector_columns", vectors),
            ("tensor_columns", tensors),
        ):
            self.register_buffer(name, torch.tensor(columns, dtype=torch.long), persistent=False)
        self.radial = RadialEmbeddingBlock(r_max=r_max, num_bessel=8, num_polynomial_cutoff=5)
        self.radial_weights = torch.nn.Linear(self.radial.out_dim, 2 * channels, bias=False)
        self.sender_weights = torch.nn.Linear(
            n_elements + len(sender_scalars), 2 * channels, bias=False
        )
        self.has_feature_vectors = len(vectors) > 0
        self.has_feature_tensors = len(tensors) > 0
        if self.has_feature_vectors:
            self.feature_vectors = torch.nn.Linear(len(vectors) // 3, channels, bias=False)
        if self.has_feature_tensors:
            self.feature_tensors = torch.nn.Linear(len(tensors) // 5, channels, bias=False)
        self.partner_vectors = torch.nn.Linear(channels, channels, bias=False)
        self.hidden = torch.nn.Linear(len(scalars), 64)
        self.gates = torch.nn.Linear(64, 1 + 2 * channels)
        # Vectors and tensors take part from the first step on.
        for linear in (self.sender_weights, self.partner_vectors):
            torch.nn.init.normal_(linear.weight, std=1.0 / math.sqrt(linear.in_features))
        torch.nn.init.normal_(self.radial_weights.weight)
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
        sender, receiver = edge_index[0], edge_index[1]
        hidden = torch.nn.functional.silu(self.hidden(node_feats[:, self.scalar_columns]))
        gates = self.gates(hidden)
        isotropic = gates[:, 0] + node_attrs @ self.element_charges
        tensor_gates = gates[:, 1 : 1 + self.channels]
        vector_gates = gates[:, 1 + self.channels :]

        lengths = torch.linalg.norm(vectors, dim=-1, keepdim=True)
        directions = vectors / (lengths + 1e-9)
        radial, _ = self.radial(lengths, node_attrs, edge_index, atomic_numbers)
        given = torch.cat([node_attrs, node_feats[:, self.sender_columns]], dim=-1)
        weights = self.radial_weights(radial) * self.sender_weights(given)[sender]
        weights = weights * self.normalization  # (n_edges, 2 channels)

        # The gates of the receiver turn the channels of the tensors into one weight an edge.
        strengths = (weights[:, self.channels :] * tensor_gates[receiver]).sum(-1, keepdim=True)
        products = (directions.unsqueeze(-1) * directions.unsqueeze(-2)).flatten(1)
        node_tensors = torch.zeros((n_atoms, 9), dtype=weights.dtype, device=weights.device)
        node_tensors = node_tensors.index_add(0, receiver, strengths * products).view(-1, 3, 3)
        trace = torch.diagonal(node_tensors, dim1=-2, dim2=-1).sum(-1) / 3
        isotropic = isotropic - trace

        edge_vectors = weights[:, : self.channels, None] * directions[:, None, :]
        node_vectors = torch.zeros(
            (n_atoms, self.channels, 3), dtype=weights.dtype, device=weights.device
        )
        node_vectors = node_vectors.index_add(0, receiver, edge_vectors)
        if self.has_feature_vectors:
            features = node_feats[:, self.vector_columns].reshape(n_atoms, -1, 3).transpose(1, 2)
            node_vectors = node_vectors + self.feature_vectors(features).transpose(1, 2)
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
