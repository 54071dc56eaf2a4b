"""The electrostatic part of a model's energy: charges, and atomic dipoles beside them.

.. math::

    U_{el} = \\frac{1}{2} \\sum_i \\Big( q_i \\phi_i + \\frac{d_i}{s} \\cdot \\nabla \\phi_i \\Big),
    \\quad
    U_{short} = \\frac{1}{2} \\sum_i \\Big( J_{Z_i} q_i^2 + K_{Z_i} \\frac{d_i^2}{s^2} \\Big)

The terms of the dipoles are there where the options ask for them. Atomic dipoles are on the scale
of response charges s q, so the energy takes d / s: moments of the energy are those of the
response by s, whether charges or dipoles make them.
"""

from typing import Dict

import torch
from mace.modules import ScaleShiftMACE

from mace_smile.model.edge_vectors import layer_irreps
from mace_smile.model.long_range import (
    DipoleHardness,
    Hardness,
    HiddenCharges,
    LearnedReadout,
    LongRange,
)
from mace_smile.model.options import SmileOptions
from mace_smile.model.polarizability import PolarizableHeads


class ElectrostaticHeads(PolarizableHeads):
    """The sum over charges and dipoles of a model, and what their size costs."""

    # TorchScript sees `Final` in the class itself only, not in a base class.
    __constants__ = [
        *PolarizableHeads.__constants__,
        "has_electrostatics",
        "has_learned_readout",
        "has_hidden_charges",
        "has_dipoles_in_energy",
    ]

    def add_electrostatic_heads(self, backbone: ScaleShiftMACE, options: SmileOptions) -> None:
        """Add what the options ask for; the heads of the polarization must be there."""
        self.has_electrostatics = options.has_electrostatics
        self.has_learned_readout = (
            options.has_electrostatics and options.long_range_readout == "learned"
        )
        self.has_hidden_charges = self.has_learned_readout and options.long_range_channels > 1
        self.has_dipoles_in_energy = options.dipoles_in_energy
        if not self.has_electrostatics:
            return
        n_elements = len(self.atomic_numbers)
        parameters = options.coulomb_parameters(float(self.r_max))
        self.long_range = LongRange(parameters, options.second_cutoff is not None)
        # With `full` terms the smearing is numerics, and no property of the atoms.
        gaussian = parameters.smearing if parameters.terms == "long_range" else 1.0
        self.charge_heads["hardness"] = Hardness(n_elements, gaussian)
        if self.has_dipoles_in_energy:
            self.charge_heads["dipole_hardness"] = DipoleHardness(n_elements, gaussian)
        n_channels, width = options.long_range_channels, options.charge_channels
        if self.has_hidden_charges:
            self.charge_heads["hidden_charges"] = HiddenCharges(
                layer_irreps(backbone), n_elements, n_channels - 1, width
            )
        if self.has_learned_readout:
            self.charge_heads["long_range_readout"] = LearnedReadout(n_channels, width)

    def electrostatic_terms(
        self,
        node_feats: torch.Tensor,
        data: Dict[str, torch.Tensor],
        polarized: Dict[str, torch.Tensor],
        positions: torch.Tensor,
        cells: torch.Tensor,
        wants_field: bool,
    ) -> Dict[str, torch.Tensor]:
        """Electrostatic energies of the atoms, and the potential they come from.

        :param node_feats: features of all layers, shape ``(n_atoms, n_features)``.
        :param data: the batch.
        :param polarized: of :meth:`PolarizationHeads.polarize`.
        :param positions: strained as the cells, shape ``(n_atoms, 3)``, in A.
        :param cells: shape ``(n_graphs, 3, 3)``, in A.
        :param wants_field: add the local electric field.
        :return: ``energy`` of the sum and ``charging`` energy, the cost of charges and dipoles,
            ``(n_atoms,)`` in eV; ``potential`` ``(n_atoms,)`` in V; where it is wanted ``field``
            ``(n_atoms, 3)`` in V/A, without a graph.
        """
        node_attrs, n_graphs = data["node_attrs"], int(data["ptr"].numel() - 1)
        charges, whole = polarized["charges"], polarized["whole_positions"]
        periodic = polarized["periodic"]
        channels = charges.unsqueeze(-1)
        if self.has_hidden_charges:
            hidden = self.charge_heads["hidden_charges"](
                node_feats, node_attrs, data["batch"], n_graphs
            )
            channels = torch.cat([channels, hidden], dim=1)
        charging = self.charge_heads["hardness"](charges, node_attrs)
        result: Dict[str, torch.Tensor] = {}
        if self.has_dipoles_in_energy:
            dipoles = polarized["atomic_dipoles"] / self.present_scale()
            columns = self.long_range(channels, whole, positions, cells, periodic, data, dipoles)
            potentials, gradients = columns[:, :-3], columns[:, -3:]
            energy = 0.5 * charges * potentials[:, 0] + 0.5 * (dipoles * gradients).sum(dim=1)
            charging = charging + self.charge_heads["dipole_hardness"](dipoles, node_attrs)
            if wants_field:
                result["field"] = -gradients.detach()
        else:
            potentials = self.long_range(channels, whole, positions, cells, periodic, data)
            energy = 0.5 * charges * potentials[:, 0]
            if wants_field:
                result["field"] = self.long_range.electric_field(
                    charges.unsqueeze(-1), whole, positions, cells, periodic, data
                )
        if self.has_learned_readout:
            energy = energy + self.charge_heads["long_range_readout"](channels, potentials)
        result["energy"] = energy
        result["charging"] = charging
        result["potential"] = potentials[:, 0]
        return result
