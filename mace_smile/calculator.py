"""ASE calculator of a stored model, with charges, dipole, Born charges and a field.

``calc.results`` holds names that ASE knows and no others: ``energy``, ``free_energy``,
``forces``, ``stress``, ``charges``, ``dipole`` (the macro dipole) and
``born_effective_charges``. Everything else the model returns is in ``calc.outputs``, under the
names of :mod:`mace_smile.quantities`: ``short_range_energy``, ``electrostatic_energy``,
``electrostatic_potential``, ``local_electric_field`` (where it is asked for),
``atomic_dipoles`` and others.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import ase
import numpy as np
import torch
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress
from mace.tools import AtomicNumberTable, torch_geometric
from mace.tools.torch_tools import default_dtype

from mace_smile import quantities
from mace_smile.errors import UserError
from mace_smile.memory import keep_freed_memory
from mace_smile.model.field_order import field_order_of
from mace_smile.model.files import check_device, load_model
from mace_smile.model.net_charge import NetChargeWarning
from mace_smile.model.smile_mace import SmileMACE
from mace_smile.physics.response import field_forces
from mace_smile.structures import StructureSettings, atomic_data, input_keys


class SmileCalculator(Calculator):
    """Energies, forces, stress, charges, dipole and Born effective charges from a ``.model``.

    With a field E the forces are F0 + Z^T E, and, where the model has a polarizability alpha, half
    the gradient of E . alpha E more: those of H = U - E . mu - 1/2 E . alpha E. The energy and the
    stress stay those without a field (constant reduced field, no piezoelectric or electrostrictive
    stress), so minimisers must not be used with a field, and the energy alone is not conserved.
    The dipole is then that of nuclei and electrons in the field, mu + alpha E.

    The total charge is read from ``atoms.info["total_charge"]`` (0 where absent), given
    charges from the arrays that were used in training.

    :param model: path of a ``.model`` file, or a loaded :class:`SmileMACE`.
    :param electric_field: macroscopic field, shape ``(3,)``, in V/A; None for no field.
    :param field_order: 1 leaves the polarizability out, 2 takes it in; None is 2 where the model
        has one.
    :param device: ``cpu`` or ``cuda``.
    :param default_dtype: ``float32`` or ``float64``; None keeps the one of the file.
    :param local_electric_field: put the field of all other charges at each atom, ``(n_atoms, 3)``
        in V/A, into ``calc.outputs``; it costs a second electrostatic sum.
    :param keep_memory: let the whole process keep freed memory for the next step
        (:func:`mace_smile.memory.keep_freed_memory`), which is faster from some ten thousand
        atoms on.
    :param trust: run whatever code the file holds.
    :param head: which head of the energy to use; None is the only one, or the one called Default.
    :raises UserError: for an unreadable model, a head it does not have, a field with a model that
        has no Born effective charges, the second order with one that has no polarizability, or a
        local field of one that has no electrostatics.
    """

    implemented_properties: ClassVar[list[str]] = [
        "energy",
        "free_energy",
        "forces",
        "stress",
        "charges",
        "dipole",
        "born_effective_charges",
    ]

    def __init__(
        self,
        model: str | Path | SmileMACE,
        electric_field: Any = None,
        device: str = "cpu",
        default_dtype: str | None = None,
        local_electric_field: bool = False,
        keep_memory: bool = True,
        field_order: int | None = None,
        trust: bool = False,
        head: str | None = None,
    ) -> None:
        super().__init__()
        if keep_memory:
            keep_freed_memory()
        check_device(device)
        if isinstance(model, SmileMACE):
            self.model = model.to(device)
        else:
            self.model = load_model(model, device, trust=trust)
        if default_dtype is not None:
            dtypes = {"float32": torch.float32, "float64": torch.float64}
            if default_dtype not in dtypes:
                raise UserError(
                    f"`default_dtype` is '{default_dtype}' but must be float32 or float64"
                )
            self.model = self.model.to(dtypes[default_dtype])
        self.head = chosen_head(self.model.heads, head)
        self.device = torch.device(device)
        self.dtype = self.model.r_max.dtype
        self.z_table = AtomicNumberTable([int(z) for z in self.model.atomic_numbers])
        self.key_specification = input_keys(self.model.options)
        r_max = float(self.model.r_max)
        scale = self.model.scale_value()
        self.settings = StructureSettings.of_model(self.model.options, r_max, scale)
        self.net_charge_warning = NetChargeWarning(self.settings.net_charge)
        self._told_of_given_charges = False
        if local_electric_field and not self.model.options.has_electrostatics:
            raise UserError(
                "`local_electric_field` was asked for but the model has no electrostatics; leave "
                "it out, or train without --electrostatics none and --charge_head none"
            )
        self.local_electric_field = local_electric_field
        self.field_order = field_order_of(self.model.options, field_order)
        self.outputs: dict[str, np.ndarray] = {}
        self._inputs: dict[str, Any] = {}
        self.electric_field = electric_field

    @property
    def electric_field(self) -> np.ndarray | None:
        """Macroscopic field in V/A, shape ``(3,)``, or None."""
        return self._electric_field

    @electric_field.setter
    def electric_field(self, value: Any) -> None:
        if value is not None:
            given = value
            try:
                value = np.array(given, dtype=float)
            except (TypeError, ValueError):
                value = np.full(1, np.nan)
            if value.shape != (3,) or not np.isfinite(value).all():
                raise UserError(
                    f"`electric_field` is {given} but must be three finite numbers in V/A"
                )
            if not self.model.options.has_born_charges:
                raise UserError(
                    "a field was given but the model has no Born effective charges to couple "
                    "to; train with --screening uncoupled or local and labels (--becs_key), or "
                    "with --screening global and --screening_value"
                )
        self._electric_field: np.ndarray | None = value
        self.results: dict[str, Any] = {}

    def check_state(self, atoms: ase.Atoms, tol: float = 1e-15) -> list[str]:
        """ASE's changes, and ``initial_charges`` when total or given charges have changed."""
        changes: list[str] = super().check_state(atoms, tol=tol)
        if not _same_inputs(self._inputs, self._charge_inputs(atoms)):
            changes.append("initial_charges")
        return changes

    def _charge_inputs(self, atoms: ase.Atoms) -> dict[str, Any]:
        """The inputs of the model that ASE does not watch."""
        keys = self.key_specification
        inputs: dict[str, Any] = {key: atoms.info.get(key) for key in keys.info_keys.values()}
        for key in keys.arrays_keys.values():
            values = atoms.arrays.get(key)
            inputs[key] = None if values is None else values.copy()
        return inputs

    def _tell_of_given_charges(self, atoms: ase.Atoms) -> None:
        """Warn once where the model was trained with given charges and the atoms have none."""
        key = self.model.options.given_charges_key
        if key is None or key in atoms.arrays or self._told_of_given_charges:
            return
        self._told_of_given_charges = True
        warnings.warn(
            f"the model was trained with given charges '{key}', which the atoms do not have: all "
            f"charges are predicted; set atoms.arrays['{key}'] and the mask "
            f"'{self.model.options.given_mask_key}'",
            stacklevel=3,
        )

    def calculate(
        self,
        atoms: ase.Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Evaluate the model; called by ASE.

        A net charge in a periodic cell, and given charges that are missing, are told once, as
        a warning.

        :raises UserError: for elements the model does not know and structures it refuses.
        """
        super().calculate(atoms, properties, system_changes)
        atoms = self.atoms
        self._inputs = self._charge_inputs(atoms)
        self._tell_of_given_charges(atoms)
        has_stress = bool(atoms.pbc.any()) and atoms.cell.rank == 3
        batch = self._batch(atoms)
        field: torch.Tensor | None = None
        if self.electric_field is not None:
            field = torch.as_tensor(self.electric_field, dtype=self.dtype, device=self.device)
        polarizing = field[None] if field is not None and self.field_order == 2 else None
        output = self.model(
            batch,
            compute_force=True,
            compute_stress=has_stress,
            compute_local_electric_field=self.local_electric_field,
            polarizing_fields=polarizing,
        )
        forces = output["forces"]
        if field is not None:
            forces = forces + field_forces(output["born_effective_charges"], field)
        if polarizing is not None:
            forces = forces + output["second_order_forces"][0]
        self.outputs = {
            name: value.detach().cpu().numpy()
            for name, value in output.items()
            if value is not None and name != "node_feats"
        }
        energy = float(self.outputs["energy"][0])
        results: dict[str, Any] = {
            "energy": energy,
            "free_energy": energy,
            "forces": forces.detach().cpu().numpy(),
        }
        if has_stress:
            results["stress"] = full_3x3_to_voigt_6_stress(self.outputs["stress"][0])
        if quantities.CHARGES in self.outputs:
            results["charges"] = self.outputs[quantities.CHARGES]
        if quantities.MACRO_DIPOLE in self.outputs:
            results["dipole"] = self.outputs[quantities.MACRO_DIPOLE][0]
            if polarizing is not None:
                induced = self.outputs[quantities.POLARIZABILITY][0] @ self.electric_field
                results["dipole"] = results["dipole"] + induced
        if quantities.BORN_EFFECTIVE_CHARGES in self.outputs:
            results["born_effective_charges"] = self.outputs[quantities.BORN_EFFECTIVE_CHARGES]
        self.results = results

    def _batch(self, atoms: ase.Atoms) -> dict[str, torch.Tensor]:
        """The structure as a batch of one, in the precision of the model."""
        with default_dtype(self.dtype):
            data = atomic_data(
                atoms,
                self.z_table,
                float(self.model.r_max),
                self.key_specification,
                self.model.heads,
                self.settings,
                self.head,
            )
        total_charge = atoms.info.get(self.model.options.total_charge_key)
        name = f"the structure {atoms.get_chemical_formula()}"
        self.net_charge_warning.check(total_charge, atoms.cell, atoms.pbc, name)
        return torch_geometric.Batch.from_data_list([data]).to(self.device).to_dict()


def chosen_head(heads: Sequence[str], head: str | None) -> str:
    """The head that was asked for, or the one that goes without saying.

    :raises UserError: for one that the model does not have, and where there are several.
    """
    defaults = [name for name in heads if name.lower() == "default"] or list(heads)
    if head is None and len(defaults) == 1:
        return defaults[0]
    if head is None or head not in heads:
        asked = "no head was chosen" if head is None else f"there is no head '{head}'"
        raise UserError(f"{asked}: the model has {', '.join(heads)}; give one of them as `head`")
    return head


def _same_inputs(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return all(
        np.array_equal(np.asarray(first.get(key)), np.asarray(second.get(key)))
        for key in set(first) | set(second)
    )
