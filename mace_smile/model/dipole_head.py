"""Atomic dipoles: an equivariant readout on MACE node features.

.. math::

    d_i = m_{Z_i} \\Big( \\sum_j w_{Z_i Z_j}(r_{ij}) \\, \\hat r_{ij}
        + \\sum_c g_{ic} V_i^c \\Big)

with a mask m of the elements that carry a dipole: with oxygen alone there is one dipole for each
water molecule. The first sum are bond dipoles, a linear combination of radial functions for each
pair of elements: few numbers, which few dipoles determine. The second one depends on the
environment, with gates g from the invariants of atom i and the vectors V of
:class:`~mace_smile.model.edge_vectors.EdgeVectorHead`.
"""

import math
from typing import List

import torch
from e3nn import o3
from e3nn.util.jit import compile_mode

from mace_smile.model.edge_vectors import EdgeVectorHead
from mace_smile.model.element_axes import ElementAxis


@compile_mode("script")
class DipoleHead(EdgeVectorHead):
    """Atomic dipoles, whatever the hidden irreps are.

    :param layers: irreps of the node features, layer by layer.
    :param carries_dipole: whether an element of the model carries dipoles, element by element.
    :param channels: number of vectors built at each atom.
    :param r_max: cutoff of the neighbours in A.
    :param avg_num_neighbors: normalisation of the sums over neighbours.
    """

    element_axes = (
        *EdgeVectorHead.element_axes,
        ElementAxis("element_mask", 0),
        ElementAxis("bond_weights", 0),
        ElementAxis("bond_weights", 1),
    )
    element_mask: torch.Tensor

    def __init__(
        self,
        layers: List[o3.Irreps],
        carries_dipole: List[bool],
        channels: int,
        r_max: float,
        avg_num_neighbors: float,
    ) -> None:
        n_elements = len(carries_dipole)
        super().__init__(layers, n_elements, channels, channels, r_max, avg_num_neighbors)
        mask = torch.tensor(carries_dipole, dtype=torch.get_default_dtype())
        self.register_buffer("element_mask", mask)
        # Weights of the radial functions by elements of receiver and sender.
        self.bond_weights = torch.nn.Parameter(
            torch.zeros(n_elements, n_elements, self.radial.out_dim)
        )
        self.hidden = torch.nn.Linear(len(self.scalar_columns), 64)
        self.gates = torch.nn.Linear(64, channels)
        self.reset_edge_weights()
        # Small dipoles at the start, yet every parameter has a gradient at the first step.
        torch.nn.init.normal_(self.gates.weight, std=0.1 / math.sqrt(64 * channels))
        torch.nn.init.zeros_(self.gates.bias)

    def forward(
        self,
        node_feats: torch.Tensor,
        node_attrs: torch.Tensor,
        edge_index: torch.Tensor,
        vectors: torch.Tensor,
        atomic_numbers: torch.Tensor,
    ) -> torch.Tensor:
        """Dipoles of the atoms.

        :param node_feats: features of all layers, shape ``(n_atoms, n_features)``.
        :param node_attrs: one-hot elements, shape ``(n_atoms, n_elements)``.
        :param edge_index: sender and receiver of each edge, shape ``(2, n_edges)``.
        :param vectors: receiver minus sender, shape ``(n_edges, 3)``, in A.
        :param atomic_numbers: of the model's elements, shape ``(n_elements,)``.
        :return: shape ``(n_atoms, 3)``, in e A; zero for elements that carry none.
        """
        sender, receiver = edge_index[0], edge_index[1]
        hidden = torch.nn.functional.silu(self.hidden(node_feats[:, self.scalar_columns]))
        gates = self.gates(hidden)
        directions, radial = self.edge_geometry(node_attrs, edge_index, vectors, atomic_numbers)
        weights = self.edge_weights(node_feats, node_attrs, edge_index, radial)
        elements = torch.argmax(node_attrs, dim=1)
        bonds = self.bond_weights[elements[receiver], elements[sender]]  # (n_edges, n_radial)
        # The gates of the receiver turn the channels of the vectors into one weight an edge.
        strengths = (weights * gates[receiver]).sum(-1) + (bonds * radial).sum(-1)
        dipoles = (gates.unsqueeze(-1) * self.mixed_vectors(node_feats)).sum(dim=1)
        dipoles = dipoles.index_add(0, receiver, strengths.unsqueeze(-1) * directions)
        return dipoles * (node_attrs @ self.element_mask).unsqueeze(-1)
