"""The metatomic interface around a SmileMACE, with fields as variants of the energy.

Engines differentiate the energy and know no field. The variant ``energy/<name>`` is the energy
without the field plus a term of value zero whose gradient is minus the force of the field,

.. math::

    F = F_0 + Z^T E + \\tfrac12 \\nabla (E \\cdot \\alpha E) ,

the last part where the model has a polarizability. Energy and stress stay those without the field
(constant reduced field: no piezoelectric or electrostrictive stress), so nothing that compares
energies, a minimiser for instance, may be used with it.
"""

from typing import Dict, List, Optional, Tuple

import torch
from metatensor.torch import Labels, TensorMap
from metatomic.torch import ModelOutput, NeighborListOptions, System

from mace_smile import quantities
from mace_smile.model.field_order import field_order_of
from mace_smile.model.smile_mace import SmileMACE
from metatensor_models.field_terms import field_term, wanted_fields
from metatensor_models.fields import variant_name
from metatensor_models.given_charges import GivenCharges
from metatensor_models.options import ExportOptions
from metatensor_models.outputs import (
    ELECTROSTATIC_OUTPUTS,
    electrostatic_output,
    select_output,
    system_samples,
    to_tensor_map,
)
from metatensor_models.selection import check_selection, count_atoms
from metatensor_models.structure_checks import check_system
from metatensor_models.systems import systems_to_batch


class FiniteFieldModel(torch.nn.Module):
    """A SmileMACE as metatomic sees it.

    :param model: the model, which may be compiled by ``e3nn.util.jit.compile``; its own
        boundary must be ``auto``, since the boundary is decided here.
    :param smile: the same model uncompiled, from which plain numbers are read.
    :param options: boundary, fields, given charges, head and total charge.
    """

    fields: List[str]
    along_normal: List[bool]
    element_index: torch.Tensor
    electric_fields: torch.Tensor
    given_numbers: torch.Tensor
    given_charges: torch.Tensor
    given_mask: torch.Tensor
    susceptibilities: Tuple[float, float]

    def __init__(self, model: torch.nn.Module, smile: SmileMACE, options: ExportOptions) -> None:
        super().__init__()
        self.model = model
        self.has_charges = smile.options.has_charges
        self.has_atomic_dipoles = smile.options.has_atomic_dipoles
        self.has_dipole = smile.options.has_dipole
        self.has_electrostatics = smile.options.has_electrostatics
        self.has_born_charges = smile.options.has_born_charges
        self.has_polarizability = smile.options.has_polarizability
        self.field_order = field_order_of(smile.options, options.field_order)
        self.is_local = smile.options.is_local
        self.born_charges_are_local = smile.options.born_charges_are_local
        self.susceptibilities = (
            smile.susceptibility_value(),
            smile.given_susceptibility_value(),
        )
        self.boundary = options.boundary
        self.slab_axis = options.slab_axis
        self.head = options.head_index(smile.heads)
        self.total_charge = options.total_charge
        self.n_elements = len(smile.atomic_numbers)
        # Of MACE, and of the real-space Coulomb sum where it has a cutoff of its own.
        r_max = float(smile.r_max)
        coulomb_cutoff = smile.options.second_cutoff
        self.has_second_list = coulomb_cutoff is not None
        self.coulomb_cutoff = r_max if coulomb_cutoff is None else coulomb_cutoff
        self.minimum_gap = max(r_max, self.coulomb_cutoff)
        self.neighbor_list = NeighborListOptions(cutoff=r_max, full_list=True, strict=True)
        self.coulomb_list = NeighborListOptions(
            cutoff=self.coulomb_cutoff, full_list=True, strict=True
        )

        numbers = smile.atomic_numbers.to(device="cpu", dtype=torch.int64)
        element_index = torch.zeros(int(numbers.max()) + 1, dtype=torch.int64)
        element_index[numbers] = torch.arange(self.n_elements)
        self.register_buffer("element_index", element_index)

        dtype = smile.r_max.dtype
        # mace_smile_set_field replaces these four in a file that is written.
        self.fields = [variant_name(name) for name in options.fields]
        self.along_normal = [name in options.voltages for name in options.fields]
        self.field_kind = options.field_kind
        vectors = torch.tensor(list(options.fields.values()), dtype=dtype).reshape(-1, 3)
        self.register_buffer("electric_fields", vectors)  # (n_fields, 3), V/A

        given = options.given_charges or GivenCharges.none()
        self.has_given_charges = options.given_charges is not None
        self.register_buffer("given_numbers", torch.as_tensor(given.atomic_numbers))
        self.register_buffer("given_charges", torch.as_tensor(given.charges, dtype=dtype))
        self.register_buffer("given_mask", torch.as_tensor(given.mask, dtype=dtype))

        self.energy_name = quantities.BY_NAME[quantities.ENERGY].metatomic
        self.charge_name = quantities.BY_NAME[quantities.CHARGES].metatomic
        self.atomic_dipole_name = quantities.BY_NAME[quantities.ATOMIC_DIPOLES].metatomic
        self.response_dipole_name = quantities.BY_NAME[quantities.RESPONSE_DIPOLE].metatomic
        self.macro_dipole_name = quantities.BY_NAME[quantities.MACRO_DIPOLE].metatomic
        self.born_name = quantities.BY_NAME[quantities.BORN_EFFECTIVE_CHARGES].metatomic
        self.polarizability_name = quantities.BY_NAME[quantities.POLARIZABILITY].metatomic
        self.electrostatic_names = {
            quantities.BY_NAME[name].metatomic: name for name in ELECTROSTATIC_OUTPUTS
        }
        self.local_field_name = quantities.BY_NAME[quantities.LOCAL_ELECTRIC_FIELD].metatomic

    def requested_neighbor_lists(self) -> List[NeighborListOptions]:
        """Full neighbour lists: of MACE, and of the Coulomb sum where it has its own cutoff."""
        if self.has_second_list:
            return [self.neighbor_list, self.coulomb_list]
        return [self.neighbor_list]

    def forward(
        self,
        systems: List[System],
        outputs: Dict[str, ModelOutput],
        selected_atoms: Optional[Labels] = None,
    ) -> Dict[str, TensorMap]:
        """What the engine asks for, as metatomic defines it.

        :param systems: structures with their neighbour lists, in A.
        :param outputs: names of the outputs, and whether atoms or systems are wanted.
        :param selected_atoms: the atoms to add up, for models without long range; all atoms, as
            LAMMPS selects them in one domain, are no selection.
        :raises NotImplementedError: for ``selected_atoms`` where an output depends on all
            atoms.
        :raises ValueError: for structures the model was not exported for, or that are none.
        """
        results: Dict[str, TensorMap] = {}
        if len(systems) == 0 or len(outputs) == 0:
            return results
        for system in systems:
            check_system(system, self.requested_neighbor_lists(), self.electric_fields.dtype)
        fields = wanted_fields(self.fields, outputs)
        # They may cost as much as the energy.
        wants_born_charges = self.born_name in outputs or len(fields) > 0
        polarizing: Optional[torch.Tensor] = None
        if self.field_order == 2 and len(fields) > 0:
            polarizing = self.electric_fields[fields]
        if selected_atoms is not None and len(selected_atoms) < count_atoms(systems):
            check_selection(
                has_global_charges=not self.is_local or self.has_given_charges,
                wants_dipole=self.response_dipole_name in outputs
                or self.macro_dipole_name in outputs
                or self.polarizability_name in outputs,
                wants_coupled_born_charges=wants_born_charges and not self.born_charges_are_local,
                wants_second_order=polarizing is not None,
            )
        batch = systems_to_batch(
            systems,
            self.requested_neighbor_lists(),
            self.element_index,
            self.n_elements,
            self.boundary,
            self.slab_axis,
            self.minimum_gap,
        )
        self.add_conditions(batch, systems)
        graphs, ptr, periodic = batch["batch"], batch["ptr"], batch["pbc"]
        index = torch.arange(graphs.numel(), device=graphs.device)
        if selected_atoms is not None:
            chosen = selected_atoms.values.to(torch.int64)
            index = ptr[chosen[:, 0]] + chosen[:, 1]
        dtype = systems[0].positions.dtype

        predicted = self.model(
            batch,
            compute_force=False,
            compute_local_electric_field=self.local_field_name in outputs,
            compute_born_charges=wants_born_charges,
            compute_polarizability=self.polarizability_name in outputs,
            polarizing_fields=polarizing,
        )
        node_energy = predicted["node_energy"]
        assert node_energy is not None
        if self.energy_name in outputs:
            # Added up in double precision: in float32 large systems would lose 0.1 eV.
            energy = select_output(
                node_energy, outputs[self.energy_name], graphs, ptr, index, [], "energy"
            )
            results[self.energy_name] = energy.to(dtype=dtype)
        if self.has_electrostatics:
            for name, own_name in self.electrostatic_names.items():
                if name in outputs:
                    values = predicted[own_name]
                    assert values is not None
                    results[name] = electrostatic_output(
                        values.to(dtype), name, outputs[name], own_name, graphs, ptr
                    )
        if self.has_charges:
            charges = predicted["charges"]
            assert charges is not None
            if self.charge_name in outputs:
                results[self.charge_name] = select_output(
                    charges, outputs[self.charge_name], graphs, ptr, index, [], "charge"
                )
        if self.has_atomic_dipoles:
            dipoles = predicted["atomic_dipoles"]
            assert dipoles is not None
            name = self.atomic_dipole_name
            if name in outputs:
                results[name] = select_output(
                    dipoles, outputs[name], graphs, ptr, index, ["xyz"], "atomic_dipoles"
                )
        if self.has_dipole:
            samples = system_samples(len(systems), graphs.device)
            response_dipole = predicted["response_dipole"]
            macro_dipole = predicted["macro_dipole"]
            assert response_dipole is not None
            assert macro_dipole is not None
            if self.response_dipole_name in outputs:
                results[self.response_dipole_name] = to_tensor_map(
                    response_dipole, samples, ["xyz"], "response_dipole"
                )
            if self.macro_dipole_name in outputs:
                results[self.macro_dipole_name] = to_tensor_map(
                    macro_dipole, samples, ["xyz"], "macro_dipole"
                )
        if self.has_born_charges and wants_born_charges:
            born_charges = predicted["born_effective_charges"]
            assert born_charges is not None
            if self.born_name in outputs:
                results[self.born_name] = select_output(
                    born_charges,
                    outputs[self.born_name],
                    graphs,
                    ptr,
                    index,
                    ["field", "displacement"],
                    "born_effective_charges",
                )
            for number, field in enumerate(fields):
                forces = torch.zeros_like(batch["positions"])
                if polarizing is not None:
                    second_order = predicted["second_order_forces"]
                    assert second_order is not None
                    forces = second_order[number]
                carrier = field_term(
                    systems,
                    born_charges,
                    forces,
                    periodic,
                    ptr,
                    self.electric_fields[field],
                    self.field_kind == "vacuum",
                    self.along_normal[field],
                    self.susceptibilities,
                    self.given_mask,
                )
                name = self.fields[field]
                energy = select_output(
                    node_energy + carrier, outputs[name], graphs, ptr, index, [], "energy"
                )
                results[name] = energy.to(dtype=dtype)
        if self.has_polarizability and self.polarizability_name in outputs:
            polarizability = predicted["polarizability"]
            assert polarizability is not None
            results[self.polarizability_name] = to_tensor_map(
                polarizability,
                system_samples(len(systems), graphs.device),
                ["xyz_1", "xyz_2"],
                "polarizability",
            )
        return results

    def add_conditions(self, batch: Dict[str, torch.Tensor], systems: List[System]) -> None:
        """Add what was stored at export: head, total charge and given charges."""
        n_graphs = len(systems)
        batch["head"] = torch.full_like(batch["ptr"][:n_graphs], self.head)
        batch["total_charge"] = torch.full(
            [n_graphs],
            self.total_charge,
            dtype=batch["positions"].dtype,
            device=batch["positions"].device,
        )
        if self.has_given_charges:
            for system in systems:
                if not torch.equal(system.types.to(torch.int64), self.given_numbers):
                    raise ValueError(
                        "this model stores given charges by atom index, for "
                        f"{self.given_numbers.numel()} atoms in the order of the frame it was "
                        "exported with; the engine gave another number or order of elements "
                        f"({len(system)} atoms); use the order of that frame"
                    )
            batch["given_charges"] = self.given_charges.repeat(n_graphs)
            batch["given_mask"] = self.given_mask.repeat(n_graphs)
