"""Outputs of a model for ASE structures, batch by batch, and structures that carry them."""

from collections.abc import Iterator

import ase
import numpy as np
import torch
from mace.data import AtomicData, KeySpecification, config_from_atoms
from mace.tools import AtomicNumberTable, torch_geometric
from mace.tools.torch_tools import default_dtype
from tqdm import tqdm

from mace_smile import quantities
from mace_smile.errors import UserError
from mace_smile.graphs import structure_data
from mace_smile.model.net_charge import NetChargeWarning
from mace_smile.model.smile_mace import SmileMACE
from mace_smile.structures import (
    StructureSettings,
    check_elements,
    input_keys,
    prepare_configuration,
)
from mace_smile.training.labels import LabelSettings, check_labels, complete_labels

#: What is written for each structure, with a prefix.
STRUCTURE_OUTPUTS = (
    quantities.ENERGY,
    quantities.STRESS,
    quantities.RESPONSE_DIPOLE,
    quantities.MACRO_DIPOLE,
    quantities.POLARIZABILITY,
    quantities.ACOUSTIC_RESIDUAL,
    quantities.SHORT_RANGE_ENERGY,
    quantities.ELECTROSTATIC_ENERGY,
)
#: What is written for each atom, with a prefix.
ATOM_OUTPUTS = (
    quantities.FORCES,
    quantities.CHARGES,
    quantities.ATOMIC_DIPOLES,
    quantities.SCREENING,
    quantities.BORN_EFFECTIVE_CHARGES,
    quantities.ELECTROSTATIC_POTENTIAL,
    quantities.LOCAL_ELECTRIC_FIELD,
)
#: What a model without electrostatics returns, but has nothing to tell by.
PARTS_OF_ENERGY = (quantities.SHORT_RANGE_ENERGY, quantities.ELECTROSTATIC_ENERGY)


class ModelEvaluator:
    """Evaluates a model over ASE structures.

    :param model: on its device, in its precision.
    :param keys: where labels are found; the inputs are found where they were in training.
    :param head: head of a multi-head model; None is the last.
    :param dipole_axes: Cartesian axes along which dipoles are labels, as in training.
    :param dipole_quantum: charge in e of the quantum modulo which dipoles along periodic axes are
        labels; 0: they are none.
    """

    def __init__(
        self,
        model: SmileMACE,
        keys: KeySpecification | None = None,
        head: str | None = None,
        dipole_axes: str = "auto",
        dipole_quantum: int = 0,
    ) -> None:
        if head is not None and head not in model.heads:
            raise UserError(f"the model has no head '{head}'; it has {', '.join(model.heads)}")
        self.model = model
        self.head = head or model.heads[-1]
        self.dtype = model.r_max.dtype
        self.device = model.r_max.device
        self.z_table = AtomicNumberTable([int(z) for z in model.atomic_numbers])
        options = model.options
        self.output_names = [
            name
            for name in (*STRUCTURE_OUTPUTS, *ATOM_OUTPUTS)
            if options.has_electrostatics or name not in PARTS_OF_ENERGY
        ]
        self.settings = LabelSettings(
            born_effective_charges=True,
            given_charges=options.given_charges_key is not None,
            dipole_axes=dipole_axes,
            dipole_quantum=dipole_quantum,
            structure=StructureSettings.of_model(options, float(model.r_max), model.scale_value()),
        )
        self.net_charge_warning = NetChargeWarning(self.settings.structure.net_charge)
        inputs = input_keys(options)
        self.keys = KeySpecification(info_keys=dict(inputs.info_keys))
        if keys is not None:
            self.keys.update(info_keys=keys.info_keys, arrays_keys=keys.arrays_keys)
        self.keys.update(arrays_keys=inputs.arrays_keys)

    def structure(self, atoms: ase.Atoms, name: str) -> AtomicData:
        """One structure as an entry of a batch, with its labels.

        :param name: of the structure, for messages.
        :raises UserError: for unknown elements, bad labels and structures that are refused.
        """
        try:
            check_elements(atoms, self.z_table)
            config = config_from_atoms(atoms, self.keys, head_name=self.head)
            check_labels(config)
            config = prepare_configuration(config, self.settings.structure)
            config = complete_labels(config, self.settings)
        except UserError as error:
            raise UserError(f"{name}: {error}") from error
        total_charge = config.properties.get(quantities.TOTAL_CHARGE)
        self.net_charge_warning.check(total_charge, config.cell, config.pbc, name)
        try:
            return structure_data(
                AtomicData.from_config,
                config,
                float(self.model.r_max),
                self.settings.structure.coulomb_cutoff,
                z_table=self.z_table,
                heads=self.model.heads,
            )
        except UserError as error:
            raise UserError(f"{name}: {error}") from error

    def outputs(
        self, frames: list[ase.Atoms], batch_size: int = 8, progress: bool = False
    ) -> Iterator[tuple[AtomicData, dict[str, np.ndarray]]]:
        """Yield each structure as the model saw it, and its outputs, in order.

        The outputs hold ``energy`` (), ``forces`` (n, 3), ``stress`` (3, 3) where the cell has
        a volume, and what the model has of ``charges`` (n,), ``atomic_dipoles`` (n, 3),
        ``response_dipole`` and ``macro_dipole`` (3,), ``polarizability`` (3, 3),
        ``screening`` (n,), ``born_effective_charges`` (n, 3, 3),
        ``acoustic_residual`` (3, 3), ``short_range_energy`` and ``electrostatic_energy`` (),
        ``electrostatic_potential`` (n,) and ``local_electric_field`` (n, 3), in the units of
        :mod:`mace_smile.quantities`.
        """
        with tqdm(total=len(frames), unit="frame", disable=not progress) as bar:
            for start in range(0, len(frames), batch_size):
                group = frames[start : start + batch_size]
                with default_dtype(self.dtype):
                    structures = [
                        self.structure(atoms, f"frame {start + number}")
                        for number, atoms in enumerate(group)
                    ]
                    batch = torch_geometric.Batch.from_data_list(structures).to(self.device)
                    output = self.model(
                        batch.to_dict(), compute_stress=True, compute_local_electric_field=True
                    )
                output = {name: output[name] for name in self.output_names}
                for number, (atoms, data) in enumerate(zip(group, structures, strict=True)):
                    yield data, _of_structure(output, batch.ptr, number, atoms)
                bar.update(len(group))


def _of_structure(
    output: dict[str, torch.Tensor | None], ptr: torch.Tensor, number: int, atoms: ase.Atoms
) -> dict[str, np.ndarray]:
    """The outputs of one structure of a batch."""
    first, last = int(ptr[number]), int(ptr[number + 1])
    result = {}
    for name, value in output.items():
        has_volume = bool(atoms.pbc.any()) and atoms.cell.rank == 3
        if value is None or (name == quantities.STRESS and not has_volume):
            continue
        part = value[first:last] if name in ATOM_OUTPUTS else value[number]
        result[name] = part.detach().cpu().numpy()
    return result


def annotate(atoms: ase.Atoms, outputs: dict[str, np.ndarray], prefix: str) -> ase.Atoms:
    """A copy of a structure that carries the outputs under prefixed keys.

    Born effective charges become nine columns, field index first; stress and polarizability nine
    numbers.
    """
    result = atoms.copy()
    result.calc = atoms.calc
    for name, value in outputs.items():
        if name in ATOM_OUTPUTS:
            columns = value.reshape(len(atoms), -1) if value.ndim == 3 else value
            result.arrays[prefix + name] = columns
        else:
            result.info[prefix + name] = float(value) if value.ndim == 0 else value.ravel()
    return result
