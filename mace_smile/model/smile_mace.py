"""SmileMACE: a MACE with charges, electrostatics, dipoles and Born effective charges.

The energy of a structure is

.. math::

    U = U_{MACE} + \\frac{1}{2} \\sum_i J_{Z_i} q_i^2 + \\frac{1}{2} \\sum_i q_i \\phi_i

with charges q_i read out of the node features and a hardness J of each element (or a learned
readout of charges and potentials), and atomic dipoles beside them where the options say so. Forces
and stress are its exact derivatives, all charge derivatives included. The model *holds* a MACE:
with charges that are zero it returns the energies, forces and stresses of the MACE inside, bit
for bit.
"""

import warnings
from typing import Any, Dict, List, Optional

import torch
from e3nn.util.jit import compile_mode
from mace.modules import ScaleShiftMACE
from mace.modules.utils import get_outputs

from mace_smile.model.backbone_parts import BackboneParts
from mace_smile.model.electrostatic_energy import ElectrostaticHeads
from mace_smile.model.options import SmileOptions
from mace_smile.model.tools_of_mace import check_command, check_made_by_us, guard_converters
from mace_smile.model.versions import FORMAT_VERSION, upgrade
from mace_smile.physics.response import second_order_forces


@compile_mode("script")
class SmileMACE(ElectrostaticHeads, BackboneParts):
    """A ScaleShiftMACE with charge heads, electrostatics and response.

    :param backbone: a ``mace.modules.ScaleShiftMACE``; it is held, not copied.
    :param options: what to add to it.
    :raises ValueError: for a backbone that is no ScaleShiftMACE.
    :raises TypeError: when MACE wants to compile it.
    """

    num_interactions: torch.Tensor

    def __new__(cls, *args: Any, **named: Any) -> "SmileMACE":
        """Refuse MACE's way to copy a model, which is to make it from what MACE knows of it."""
        check_made_by_us(named)
        return super().__new__(cls)

    def __init__(self, backbone: ScaleShiftMACE, options: SmileOptions) -> None:
        super().__init__()
        if type(backbone).__name__ != "ScaleShiftMACE":
            raise ValueError(
                f"the backbone is a {type(backbone).__name__} but must be a ScaleShiftMACE: "
                "train with --model MACE or --model ScaleShiftMACE"
            )
        self.format_version = FORMAT_VERSION
        self.options = options
        self.backbone = backbone
        self.heads: List[str] = list(backbone.heads)
        self.register_buffer("r_max", backbone.r_max.detach().clone())
        self.register_buffer("atomic_numbers", backbone.atomic_numbers.detach().clone())
        self.register_buffer("num_interactions", backbone.num_interactions.detach().clone())

        self.charge_heads = torch.nn.ModuleDict()
        self.add_polarization_heads(backbone, options)
        self.add_response_heads(backbone, options)
        self.add_polarizability_head(backbone, options)
        self.add_electrostatic_heads(backbone, options)

    def forward(
        self,
        data: Dict[str, torch.Tensor],
        training: bool = False,
        compute_force: bool = True,
        compute_virials: bool = False,
        compute_stress: bool = False,
        compute_displacement: bool = False,
        compute_hessian: bool = False,
        compute_edge_forces: bool = False,
        compute_atomic_stresses: bool = False,
        lammps_mliap: bool = False,
        compute_local_electric_field: bool = False,
        compute_born_charges: bool = True,
        compute_polarizability: bool = True,
        polarizing_fields: Optional[torch.Tensor] = None,
    ) -> Dict[str, Optional[torch.Tensor]]:
        """Energy, forces, charges, dipoles and Born effective charges of a batch.

        :param data: MACE's batch dictionary. Beside MACE's own entries it may hold
            ``total_charge`` ``(n_graphs,)`` in e, ``pbc`` ``(n_graphs, 3)``, and
            ``given_charges`` and ``given_mask`` ``(n_atoms,)`` or ``(n_atoms, 1)``.
        :param training: keep the graph, for a loss on forces.
        :param compute_local_electric_field: ask for ``local_electric_field``.
        :param compute_born_charges: ask for ``born_effective_charges``, where the model has them.
        :param compute_polarizability: ask for ``polarizability``, where the model has it.
        :param polarizing_fields: homogeneous fields, shape ``(n_fields, 3)``, in V/A, for which to
            give ``second_order_forces`` where the model has a polarizability.
        :return: MACE's outputs; ``electrostatic_energy`` and ``short_range_energy``, the rest of
            the energy, ``(n_graphs,)`` in eV; ``electrostatic_potential`` ``(n_atoms,)`` in V
            and ``local_electric_field`` ``(n_atoms, 3)`` in V/A; ``charges`` and
            ``response_charges`` ``(n_atoms,)`` in e; ``atomic_dipoles`` ``(n_atoms, 3)``,
            ``response_dipole`` and ``macro_dipole`` ``(n_graphs, 3)`` in e A;
            ``predicted_total_charge`` ``(n_graphs,)`` in e; ``screening`` ``(n_atoms,)``, the
            factors from charges to response charges; ``born_effective_charges``
            ``(n_atoms, 3, 3)`` in e, field index first, and ``acoustic_residual``
            ``(n_graphs, 3, 3)`` in e, their sum less the total charge before anything is
            subtracted; ``polarizability`` ``(n_graphs, 3, 3)`` in e^2 A^2/eV, and
            ``second_order_forces`` ``(n_fields, n_atoms, 3)`` in eV/A, half the gradient of
            E . alpha E, which no other output contains. What the model does not have, or nobody
            asked for, is None.
        :raises NotImplementedError: for Hessians, edge forces, atomic stresses and ML-IAP.
        """
        if compute_hessian or compute_edge_forces or compute_atomic_stresses or lammps_mliap:
            raise NotImplementedError(
                "SmileMACE has no Hessian, edge forces, atomic stresses or ML-IAP interface: "
                "they would lack the electrostatic part; use finite differences of the forces, "
                "or an exported model in LAMMPS"
            )
        if not torch.jit.is_scripting():  # type: ignore[attr-defined]
            self.tell_of_given_charges(data)
        positions = data["positions"]
        cell = data["cell"]
        had_gradients = torch.is_grad_enabled()
        is_polarized = self.has_polarizability and polarizing_fields is not None
        if is_polarized:
            torch.set_grad_enabled(True)  # an engine may have switched them off
        if self.has_coupled_screening and compute_born_charges:
            torch.set_grad_enabled(True)
            if self.follows_edges:
                self.start_recording(data)
        output = self.backbone(
            data,
            training=training,
            compute_force=False,
            compute_virials=False,
            compute_stress=False,
            compute_displacement=compute_displacement or compute_virials or compute_stress,
        )
        node_feats = output["node_feats"]
        displacement = output["displacement"]
        energy = output["energy"]
        interaction_energy = output["interaction_energy"]
        node_energy = output["node_energy"]
        assert node_feats is not None
        assert energy is not None
        assert interaction_energy is not None
        assert node_energy is not None
        assert displacement is not None

        # MACE strains the positions in place of the given ones, but not the cell.
        strain = 0.5 * (displacement + displacement.transpose(-1, -2))
        cells = cell.view(-1, 3, 3)
        cells = cells + torch.matmul(cells, strain)
        strained = data["positions"]

        short_range_energy = energy
        electrostatic_energy = torch.zeros_like(interaction_energy)
        electrostatic_potential: Optional[torch.Tensor] = None
        local_electric_field: Optional[torch.Tensor] = None
        charges: Optional[torch.Tensor] = None
        response_charges: Optional[torch.Tensor] = None
        atomic_dipoles: Optional[torch.Tensor] = None
        response_dipole: Optional[torch.Tensor] = None
        macro_dipole: Optional[torch.Tensor] = None
        predicted_total_charge: Optional[torch.Tensor] = None
        screening: Optional[torch.Tensor] = None
        born_effective_charges: Optional[torch.Tensor] = None
        acoustic_residual: Optional[torch.Tensor] = None
        polarizability: Optional[torch.Tensor] = None
        polarization_forces: Optional[torch.Tensor] = None
        if self.has_dipole:
            polarized = self.polarize(node_feats, data, strained, cells)
            response_charges = polarized["response_charges"]
            response_dipole = polarized["response_dipole"]
            macro_dipole = polarized["macro_dipole"]
            predicted_total_charge = polarized["predicted_total_charge"]
            if self.has_atomic_dipoles:
                atomic_dipoles = polarized["atomic_dipoles"]
            if self.has_charges:
                charges = polarized["charges"]
                if self.has_coupled_screening:
                    screening = polarized["screening"]
            if self.has_electrostatics:
                terms = self.electrostatic_terms(
                    node_feats, data, polarized, strained, cells, compute_local_electric_field
                )
                atom_energy, charging = terms["energy"], terms["charging"]
                electrostatic_potential = terms["potential"]
                if compute_local_electric_field:
                    local_electric_field = terms["field"]
                electrostatic_energy = electrostatic_energy.index_add(0, data["batch"], atom_energy)
                charging_energy = torch.zeros_like(energy).index_add(0, data["batch"], charging)
                node_energy = node_energy + atom_energy + charging
                short_range_energy = energy + charging_energy
                energy = short_range_energy + electrostatic_energy
                interaction_energy = interaction_energy + charging_energy + electrostatic_energy

        # Before the forces: outside training `get_outputs` frees the graph.
        if self.has_born_charges and compute_born_charges:
            if self.has_coupled_screening:
                sender_features: List[torch.Tensor] = []
                if self.follows_edges:
                    for interaction in self.backbone.interactions[1:]:
                        sender_features.append(interaction.conv_tp.take())
                born = self.differentiate_dipole(data, polarized, cells, sender_features, training)
            else:
                born = self.read_out_born_charges(node_feats, data, training)
            born_effective_charges, acoustic_residual = self.with_acoustic_sum(born, data)
        if self.has_polarizability and (compute_polarizability or is_polarized):
            polarizability = self.read_out_polarizability(
                node_feats, data, training or is_polarized, is_polarized
            )
            if polarizing_fields is not None:
                polarization_forces = second_order_forces(
                    polarizability, positions, polarizing_fields
                )
        torch.set_grad_enabled(had_gradients)

        forces, virials, stress, _, _ = get_outputs(
            energy=interaction_energy,
            positions=positions,
            cell=cell,
            displacement=displacement,
            training=training,
            compute_force=compute_force,
            compute_virials=compute_virials,
            compute_stress=compute_stress,
        )
        return {
            "energy": energy,
            "node_energy": node_energy,
            "interaction_energy": interaction_energy,
            "short_range_energy": short_range_energy,
            "electrostatic_energy": electrostatic_energy,
            "electrostatic_potential": electrostatic_potential,
            "local_electric_field": local_electric_field,
            "forces": forces,
            "edge_forces": None,
            "virials": virials,
            "stress": stress,
            "atomic_virials": None,
            "atomic_stresses": None,
            "hessian": None,
            "displacement": displacement,
            "node_feats": node_feats,
            "charges": charges,
            "response_charges": response_charges,
            "atomic_dipoles": atomic_dipoles,
            "response_dipole": response_dipole,
            "macro_dipole": macro_dipole,
            "predicted_total_charge": predicted_total_charge,
            "screening": screening,
            "born_effective_charges": born_effective_charges,
            "acoustic_residual": acoustic_residual,
            "polarizability": polarizability,
            "second_order_forces": polarization_forces,
        }

    def __setstate__(self, state: Dict[str, Any]) -> None:
        """Restore a stored model, upgrading older formats and refusing newer ones."""
        guard_converters()
        state = upgrade(state)
        options: SmileOptions = state["options"]
        check_command(options.given_charges_key is not None or options.second_cutoff is not None)
        super().__setstate__(state)  # type: ignore[no-untyped-call]

    @torch.jit.unused
    def tell_of_given_charges(self, data: Dict[str, torch.Tensor]) -> None:
        """Warn where the model was trained with given charges and a tool gives none."""
        key = self.options.given_charges_key
        is_of_mace = "weight" in data  # an engine has given charges in the exported model
        if key is not None and is_of_mace and "given_mask" not in data:
            warnings.warn(
                f"the model was trained with given charges '{key}', which MACE's tools do not "
                "pass on: all charges are predicted; use mace_smile.calculator.SmileCalculator",
                stacklevel=2,
            )
