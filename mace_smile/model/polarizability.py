"""Polarizabilities: an equivariant readout of atoms, which add up to that of the structure.

.. math::

    \\alpha_{ab} = \\frac{\\partial\\mu_a}{\\partial E_b} = \\sum_i \\alpha_{iab}

at fixed positions of the atoms, symmetric. The unit is e^2 A^2/eV = e A^2/V, so that
:math:`\\alpha E` is a dipole in e A and :math:`E\\alpha E` an energy in eV for a field in V/A.
"""

from typing import Dict, List

import torch
from e3nn import o3
from e3nn.util.jit import compile_mode
from mace.modules import ScaleShiftMACE
from torchpme.prefactors import eV_A

from mace_smile.model.edge_tensors import EdgeTensorHead
from mace_smile.model.edge_vectors import layer_irreps
from mace_smile.model.element_axes import ElementAxis
from mace_smile.model.options import SmileOptions
from mace_smile.model.response import ResponseHeads


@compile_mode("script")
class PolarizabilityHead(EdgeTensorHead):
    """Polarizabilities of the atoms (0e + 2e): the symmetric part of a tensor of each atom.

    The tensors are in A^3, in which polarizabilities of atoms are of order one, and are divided by
    the Coulomb constant. Nothing makes them positive.

    :param layers: irreps of the node features, layer by layer.
    :param n_elements: number of chemical elements of the model.
    :param channels: number of tensors and of vectors built at each atom.
    :param r_max: cutoff of the neighbours in A.
    :param avg_num_neighbors: normalisation of the sums over neighbours.
    """

    element_axes = (*EdgeTensorHead.element_axes, ElementAxis("element_polarizabilities", 0))

    def __init__(
        self,
        layers: List[o3.Irreps],
        n_elements: int,
        channels: int,
        r_max: float,
        avg_num_neighbors: float,
    ) -> None:
        super().__init__(layers, n_elements, channels, r_max, avg_num_neighbors)
        self.coulomb_constant = eV_A
        self.element_polarizabilities = torch.nn.Parameter(torch.zeros(n_elements))

    def forward(
        self,
        node_feats: torch.Tensor,
        node_attrs: torch.Tensor,
        edge_index: torch.Tensor,
        vectors: torch.Tensor,
        atomic_numbers: torch.Tensor,
    ) -> torch.Tensor:
        """Polarizabilities of the atoms.

        :param node_feats: features of all layers, shape ``(n_atoms, n_features)``.
        :param node_attrs: one-hot elements, shape ``(n_atoms, n_elements)``.
        :param edge_index: sender and receiver of each edge, shape ``(2, n_edges)``.
        :param vectors: receiver minus sender, shape ``(n_edges, 3)``, in A.
        :param atomic_numbers: of the model's elements, shape ``(n_elements,)``.
        :return: shape ``(n_atoms, 3, 3)``, in e^2 A^2/eV, symmetric.
        """
        directions, radial = self.edge_geometry(node_attrs, edge_index, vectors, atomic_numbers)
        tensors = self.node_tensors(
            node_feats, node_attrs, edge_index, directions, radial, self.element_polarizabilities
        )
        return (tensors + tensors.transpose(-1, -2)) / (2.0 * self.coulomb_constant)


class PolarizableHeads(ResponseHeads):
    """How a model answers to a field, to second order."""

    # TorchScript sees `Final` in the class itself only, not in a base class.
    __constants__ = [*ResponseHeads.__constants__, "has_polarizability"]

    def add_polarizability_head(self, backbone: ScaleShiftMACE, options: SmileOptions) -> None:
        """Add the head if the options ask for it; ``charge_heads`` must exist."""
        self.has_polarizability = options.has_polarizability
        if self.has_polarizability:
            self.charge_heads["polarizability"] = PolarizabilityHead(
                layer_irreps(backbone),
                len(self.atomic_numbers),
                options.polarizability_channels,
                float(self.r_max),
                float(backbone.interactions[0].avg_num_neighbors),
            )

    def read_out_polarizability(
        self,
        node_feats: torch.Tensor,
        data: Dict[str, torch.Tensor],
        keeps_features: bool,
        keeps_positions: bool,
    ) -> torch.Tensor:
        """Polarizabilities of the structures, shape ``(n_graphs, 3, 3)``, in e^2 A^2/eV.

        :param node_feats: features of all layers, shape ``(n_atoms, n_features)``.
        :param data: batch as the backbone has seen it.
        :param keeps_features: keep the graph to the features, as training needs it.
        :param keeps_positions: keep the graph to the edges, as forces in a field need it.
        """
        positions, edge_index = data["positions"], data["edge_index"]
        vectors = positions[edge_index[1]] - positions[edge_index[0]] + data["shifts"]
        of_atoms = self.charge_heads["polarizability"](
            node_feats if keeps_features else node_feats.detach(),
            data["node_attrs"],
            edge_index,
            vectors if keeps_positions else vectors.detach(),
            self.atomic_numbers,
        )
        n_graphs = data["ptr"].numel() - 1
        total = torch.zeros((n_graphs, 3, 3), dtype=of_atoms.dtype, device=of_atoms.device)
        return total.index_add(0, data["batch"], of_atoms)
