"""Born effective charges of a model: a readout of their own, or derivatives of the dipole."""

from typing import Dict, List, Tuple

import torch
from mace.modules import ScaleShiftMACE

from mace_smile.model.born_charges import derivative_by_edges, derivative_by_positions
from mace_smile.model.charges import given_atoms
from mace_smile.model.edge_vectors import layer_irreps
from mace_smile.model.heads import BornChargeHead
from mace_smile.model.options import SmileOptions
from mace_smile.model.polarization import PolarizationHeads
from mace_smile.model.recorder import obstacle, record_sender_features
from mace_smile.physics.acoustic_sum import acoustic_residual, subtract_residual
from mace_smile.physics.dipole_derivatives import (
    derivative_along_open_axes,
    derivative_of_dipoles,
)


class ResponseHeads(PolarizationHeads):
    """How a model with charges and dipoles answers to a field."""

    # TorchScript sees `Final` in the class itself only, not in a base class.
    __constants__ = [
        *PolarizationHeads.__constants__,
        "has_born_charges",
        "has_coupled_screening",
        "follows_edges",
    ]
    backbone: ScaleShiftMACE

    def add_response_heads(self, backbone: ScaleShiftMACE, options: SmileOptions) -> None:
        """Add what the options ask for; the heads of the polarization must be there.

        :raises ValueError: for a backbone whose edges ``unfolded`` cannot follow.
        """
        self.has_born_charges = options.has_born_charges
        self.has_coupled_screening = options.has_coupled_screening
        self.born_charge_method = options.born_charge_method
        self.phase_harmonics = options.phase_harmonics
        self.subtracts_residual = options.acoustic_sum_rule == "subtract"
        self.receptive_field = float(self.r_max) * len(backbone.interactions)
        self.follows_edges = (
            options.has_coupled_screening
            and options.has_charges
            and options.born_charge_method != "minimum_image"
        )
        if self.follows_edges and obstacle(backbone):
            if options.born_charge_method == "unfolded":
                raise ValueError(
                    "`born_charge_method` is unfolded, which follows the features along the edges "
                    f"of the backbone, but {obstacle(backbone)}; use `born_charge_method` phase, "
                    "or a backbone of e3nn"
                )
            self.follows_edges = False
        if self.follows_edges:
            record_sender_features(backbone)
        if options.screening == "uncoupled":
            self.charge_heads["born_effective_charges"] = BornChargeHead(
                layer_irreps(backbone),
                len(self.atomic_numbers),
                options.born_channels,
                float(self.r_max),
                float(backbone.interactions[0].avg_num_neighbors),
            )

    def start_recording(self, data: Dict[str, torch.Tensor]) -> None:
        """Make the next call of the backbone keep what following its edges needs.

        :param data: its ``shifts`` are replaced by a copy that can be differentiated by.
        """
        data["shifts"] = data["shifts"].clone().requires_grad_(True)
        for interaction in self.backbone.interactions[1:]:
            interaction.conv_tp.start()

    def read_out_born_charges(
        self, node_feats: torch.Tensor, data: Dict[str, torch.Tensor], training: bool
    ) -> torch.Tensor:
        """Born effective charges of the head of their own, shape ``(n_atoms, 3, 3)``, in e.

        No force depends on them, so they hold no graph to the positions, and outside training none
        to the features either.
        """
        positions, edge_index = data["positions"], data["edge_index"]
        vectors = positions[edge_index[1]] - positions[edge_index[0]] + data["shifts"]
        return self.charge_heads["born_effective_charges"](
            node_feats if training else node_feats.detach(),
            data["node_attrs"],
            edge_index,
            vectors.detach(),
            self.atomic_numbers,
        )

    def differentiate_dipole(
        self,
        data: Dict[str, torch.Tensor],
        polarized: Dict[str, torch.Tensor],
        cells: torch.Tensor,
        sender_features: List[torch.Tensor],
        training: bool,
    ) -> torch.Tensor:
        """Born effective charges from charges and dipoles, shape ``(n_atoms, 3, 3)``, in e.

        In training on a batch without labels of them only their first term is there, with a graph
        to every parameter: nothing asks for the rest.

        :param data: batch as the backbone has seen it.
        :param polarized: of :meth:`PolarizationHeads.polarize`.
        :param cells: strained as the positions, shape ``(n_graphs, 3, 3)``, in A.
        :param sender_features: of all layers but the first, where the model follows edges.
        """
        charges, whole = polarized["unshifted_charges"], polarized["whole_positions"]
        periodic, dipoles = polarized["periodic"], polarized["atomic_dipoles"]
        identity = torch.eye(3, dtype=charges.dtype, device=charges.device)
        born = polarized["response_charges"][:, None, None] * identity
        name = "born_effective_charges_weight"
        if training and name in data and not bool((data[name] > 0).any()):
            return born + 0.0 * dipoles.sum()
        if self.has_charges:
            method, harmonics = self.born_charge_method, self.phase_harmonics
            if self.follows_edges:
                moments, derivative_of_sum = derivative_by_edges(
                    method, harmonics, charges, cells, periodic, data, sender_features, training
                )
            else:
                moments, derivative_of_sum = derivative_by_positions(
                    method,
                    harmonics,
                    charges,
                    whole,
                    cells,
                    periodic,
                    data,
                    self.receptive_field,
                    training,
                )
            born = born + moments
            if not bool(periodic.all()):
                shifted = torch.logical_not(given_atoms(data))
                if not self.exact_total_charge:
                    shifted = torch.zeros_like(shifted)
                born = born + derivative_along_open_axes(
                    derivative_of_sum,
                    whole.detach(),
                    cells.detach(),
                    periodic,
                    data["batch"],
                    shifted,
                )
        if self.has_atomic_dipoles:
            born = born + derivative_of_dipoles(dipoles, data["positions"], training)
        return born if training else born.detach()

    def with_acoustic_sum(
        self, born: torch.Tensor, data: Dict[str, torch.Tensor]
    ) -> Tuple[torch.Tensor, torch.Tensor]:
        """Born effective charges as the acoustic sum rule of the model wants them.

        :param born: shape ``(n_atoms, 3, 3)``, in e.
        :return: the same, and by how much they failed the rule before, ``(n_graphs, 3, 3)``, in e.
        """
        ptr, batch = data["ptr"], data["batch"]
        total = torch.zeros(ptr.numel() - 1, dtype=born.dtype, device=born.device)
        if "total_charge" in data:
            total = total + data["total_charge"].view(-1).to(born.dtype)
        residual = acoustic_residual(born, total, batch)
        if self.subtracts_residual:
            born = subtract_residual(born, residual, batch, ptr)
        return born, residual
