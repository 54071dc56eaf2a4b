"""From node features to charges and dipoles: the part of a model that no energy is needed for.

The dipole of a structure and the one DFT reports along the normal of a slab are

.. math::

    \\mu = \\sum_i \\tilde q_i r_i + \\sum_i d_i, \\quad
    \\mu^{tot} = \\frac{\\mu_{learned}}{1 + \\chi} + \\frac{\\mu_{given}}{1 + \\chi_{given}}

(S0 eqs. 4 and 6; there one chi serves for both). Given charges enter at their bare value.
"""

from typing import Dict, List

import torch
from mace.modules import ScaleShiftMACE

from mace_smile.model.charges import complete_charges, given_atoms
from mace_smile.model.dipole_head import DipoleHead
from mace_smile.model.edge_vectors import layer_irreps
from mace_smile.model.heads import ChargeHead
from mace_smile.model.options import SmileOptions
from mace_smile.model.screening import LearnedScale, ScreeningHead
from mace_smile.model.susceptibility import LearnedSusceptibility
from mace_smile.physics.boundaries import model_axes
from mace_smile.physics.polarization import compute_dipole, screen_slabs, whole_slabs


def dipole_carriers(options: SmileOptions, atomic_numbers: List[int]) -> List[bool]:
    """Which elements of a model carry atomic dipoles, in the order of its elements.

    :raises ValueError: for an element that the model does not know.
    """
    if options.dipole_elements is None:
        return [True] * len(atomic_numbers)
    chosen = options.dipole_numbers
    unknown = [
        symbol
        for symbol, number in zip(options.dipole_elements, chosen, strict=True)
        if number not in atomic_numbers
    ]
    if unknown:
        raise ValueError(
            f"`dipole_elements` names {', '.join(unknown)}, which the model does not know; name "
            "elements of the training frames"
        )
    return [number in chosen for number in atomic_numbers]


class PolarizationHeads(torch.nn.Module):
    """The heads of charges and dipoles of a model, and the relation to the macro dipole."""

    # TorchScript sees `Final` in the class itself only, not in a base class.
    __constants__ = [
        "has_charges",
        "has_atomic_dipoles",
        "has_dipole",
        "learns_susceptibility",
        "learns_given_susceptibility",
        "has_given_susceptibility",
        "scale_follows",
        "learns_scale",
        "has_local_screening",
    ]
    atomic_numbers: torch.Tensor
    r_max: torch.Tensor
    charge_heads: torch.nn.ModuleDict

    def add_polarization_heads(self, backbone: ScaleShiftMACE, options: SmileOptions) -> None:
        """Add what the options ask for; ``charge_heads`` must exist, and be empty.

        :raises ValueError: for dipoles on an element the model does not know.
        """
        self.has_charges = options.has_charges
        self.has_atomic_dipoles = options.has_atomic_dipoles
        self.has_dipole = options.has_dipole
        self.exact_total_charge = options.total_charge_constraint == "exact"
        self.learns_susceptibility = options.learn_susceptibility
        self.learns_given_susceptibility = options.learn_given_susceptibility
        self.has_given_susceptibility = options.has_given_susceptibility
        self.susceptibility = options.susceptibility
        self.given_susceptibility = options.given_susceptibility or 0.0
        self.scale_follows = options.scale_follows
        self.learns_scale = options.learn_screening_value
        self.has_local_screening = options.has_local_screening
        self.scale = options.scale
        self.boundary = options.boundary
        self.slab_axis = options.slab_axis
        self.minimum_gap = max(float(self.r_max), options.second_cutoff or 0.0)

        layers = layer_irreps(backbone)
        if self.has_charges:
            n_elements = len(self.atomic_numbers)
            head = ChargeHead(layers, n_elements, options.charge_channels)
            self.charge_heads["charges"] = head
        if self.has_atomic_dipoles:
            self.charge_heads["atomic_dipoles"] = DipoleHead(
                layers,
                dipole_carriers(options, self.atomic_numbers.tolist()),
                options.dipole_channels,
                float(self.r_max),
                float(backbone.interactions[0].avg_num_neighbors),
            )
        if self.learns_susceptibility:
            self.charge_heads["susceptibility"] = LearnedSusceptibility(self.susceptibility)
        if self.learns_given_susceptibility:
            self.charge_heads["given_susceptibility"] = LearnedSusceptibility(
                self.given_susceptibility
            )
        if self.learns_scale:
            self.charge_heads["screening_value"] = LearnedScale(self.scale)
        if self.has_local_screening:
            self.charge_heads["screening"] = ScreeningHead(
                layers, len(self.atomic_numbers), options.charge_channels
            )

    def present_susceptibility(self) -> torch.Tensor:
        """The susceptibility chi as it is now, fixed or learned, shape ``()``."""
        if self.learns_susceptibility:
            return self.charge_heads["susceptibility"]()
        return torch.full([], self.susceptibility, dtype=self.r_max.dtype, device=self.r_max.device)

    def present_given_susceptibility(self) -> torch.Tensor:
        """The susceptibility of the given charges as it is now, shape ``()``."""
        if self.learns_given_susceptibility:
            return self.charge_heads["given_susceptibility"]()
        if self.has_given_susceptibility:
            return torch.full(
                [], self.given_susceptibility, dtype=self.r_max.dtype, device=self.r_max.device
            )
        return self.present_susceptibility()

    def present_scale(self) -> torch.Tensor:
        """The factor s from energy charges to response charges as it is now, shape ``()``."""
        if self.learns_scale:
            return self.charge_heads["screening_value"]()
        if self.scale_follows:
            return torch.sqrt(1.0 + self.present_susceptibility())
        return torch.full([], self.scale, dtype=self.r_max.dtype, device=self.r_max.device)

    def susceptibility_value(self) -> float:
        """The susceptibility chi as it is now, fixed or learned."""
        if self.learns_susceptibility:
            return float(self.present_susceptibility().detach())
        return self.susceptibility

    def given_susceptibility_value(self) -> float:
        """The susceptibility of the given charges as it is now."""
        if self.learns_given_susceptibility:
            return float(self.present_given_susceptibility().detach())
        return (
            self.given_susceptibility
            if self.has_given_susceptibility
            else self.susceptibility_value()
        )

    def scale_value(self) -> float:
        """The factor s from energy charges to response charges as it is now."""
        is_learned = self.scale_follows or self.learns_scale
        return float(self.present_scale().detach()) if is_learned else self.scale

    def polarize(
        self,
        node_feats: torch.Tensor,
        data: Dict[str, torch.Tensor],
        positions: torch.Tensor,
        cells: torch.Tensor,
    ) -> Dict[str, torch.Tensor]:
        """Charges and dipoles of a batch from its node features.

        :param node_feats: features of all layers, shape ``(n_atoms, n_features)``.
        :param data: batch with ``batch``, ``ptr``, ``node_attrs`` and ``pbc``; with atomic
            dipoles also ``edge_index`` and ``shifts``; optionally ``total_charge``,
            ``given_charges`` and ``given_mask``.
        :param positions: strained as the cells, shape ``(n_atoms, 3)``, in A.
        :param cells: shape ``(n_graphs, 3, 3)``, in A.
        :return: ``charges``, ``response_charges`` and ``unshifted_charges``, which are response
            charges before the shift, ``(n_atoms,)`` in e (zero for atoms without a given charge
            in a model without a charge head); ``screening`` ``(n_atoms,)``; ``atomic_dipoles``
            ``(n_atoms, 3)`` in e A, zero without the head; ``response_dipole`` and
            ``macro_dipole`` ``(n_graphs, 3)`` in e A; ``predicted_total_charge``
            ``(n_graphs,)`` in e; ``whole_positions`` ``(n_atoms, 3)`` in A, made whole along
            slab normals; ``periodic`` ``(n_graphs, 3)``, bool.
        """
        batch, n_graphs = data["batch"], int(data["ptr"].numel() - 1)
        pbc = data["pbc"].view(-1, 3)
        periodic = model_axes(pbc, self.boundary, self.slab_axis)
        whole = positions
        if self.boundary == "slab":
            whole = whole_slabs(
                positions, cells, pbc, data["ptr"], self.slab_axis, self.minimum_gap
            )
        scale = self.present_scale()
        exact = self.exact_total_charge
        if self.has_charges:
            raw_charges = self.charge_heads["charges"](node_feats, data["node_attrs"])
        else:
            raw_charges = torch.zeros_like(positions[:, 0])
            exact = False
        charges = complete_charges(raw_charges, data, scale, exact)
        response_charges = scale * charges
        screening = scale * torch.ones_like(raw_charges)
        one = torch.ones_like(scale)
        if self.has_local_screening:
            factors = self.charge_heads["screening"](node_feats, data["node_attrs"])
            screening = scale * factors
            response_charges = complete_charges(screening * raw_charges, data, one, exact)
        dipole = compute_dipole(response_charges, whole, batch, n_graphs)
        atomic_dipoles = torch.zeros_like(positions)
        if self.has_atomic_dipoles:
            sender, receiver = data["edge_index"][0], data["edge_index"][1]
            atomic_dipoles = self.charge_heads["atomic_dipoles"](
                node_feats,
                data["node_attrs"],
                data["edge_index"],
                positions[receiver] - positions[sender] + data["shifts"],
                self.atomic_numbers,
            )
            dipole = dipole.index_add(0, batch, atomic_dipoles)
        macro_dipole = screen_slabs(dipole, cells, periodic, self.present_susceptibility())
        if self.has_given_susceptibility:
            given_charges = torch.where(
                given_atoms(data), response_charges, torch.zeros_like(response_charges)
            )
            given = compute_dipole(given_charges, whole, batch, n_graphs)
            macro_dipole = screen_slabs(
                dipole - given, cells, periodic, self.present_susceptibility()
            ) + screen_slabs(given, cells, periodic, self.present_given_susceptibility())
        total = torch.zeros(n_graphs, dtype=charges.dtype, device=charges.device)
        return {
            "charges": charges,
            "response_charges": response_charges,
            "unshifted_charges": complete_charges(screening * raw_charges, data, one, False),
            "screening": screening,
            "atomic_dipoles": atomic_dipoles,
            "response_dipole": dipole,
            "macro_dipole": macro_dipole,
            "predicted_total_charge": total.index_add(0, batch, response_charges),
            "whole_positions": whole,
            "periodic": periodic,
        }
