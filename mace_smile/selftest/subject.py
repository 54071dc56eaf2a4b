"""The model under test: what it says of a structure, in its precision and in float64."""

import copy
from collections.abc import Callable

import ase
import numpy as np
import torch
from mace.tools import AtomicNumberTable, torch_geometric
from mace.tools.torch_tools import default_dtype

from mace_smile import quantities
from mace_smile.calculator import SmileCalculator
from mace_smile.model.smile_mace import SmileMACE
from mace_smile.physics.boundaries import model_axes
from mace_smile.physics.parameters import EWALD_ATOMS, mesh_error
from mace_smile.structures import StructureSettings, atomic_data, input_keys

Batch = dict[str, torch.Tensor]


class Subject:
    """A model, evaluated one structure at a time.

    :param model: on its device, in its precision.
    """

    def __init__(self, model: SmileMACE) -> None:
        self.model = model
        self.options = model.options
        self.dtype = model.r_max.dtype
        self.device = model.r_max.device
        self.receptive_field = float(model.r_max) * int(model.num_interactions)
        #: The self-test is one of the last head, as evaluations are.
        self.head = model.heads[-1]
        self.z_table = AtomicNumberTable([int(z) for z in model.atomic_numbers])
        self.keys = input_keys(model.options)
        self.settings = StructureSettings.of_model(
            model.options, float(model.r_max), model.scale_value()
        )
        #: The last structure whose dipole was differentiated by differences, and the result.
        self.differences: tuple[ase.Atoms, np.ndarray] | None = None
        self._reference: Subject | None = None
        self._raw: Subject | None = None

    @property
    def reference(self) -> "Subject":
        """The same model in float64, for finite differences."""
        if self._reference is None:
            self._reference = Subject(copy.deepcopy(self.model).to(torch.float64))
        return self._reference

    @property
    def raw(self) -> "Subject":
        """The same in float64, its charges without the shift that makes them add up."""
        if self._raw is None:
            model = copy.deepcopy(self.model).to(torch.float64)
            model.exact_total_charge = False
            self._raw = Subject(model)
        return self._raw

    def calculator(
        self, field: tuple[float, float, float] | None = None, order: int | None = None
    ) -> SmileCalculator:
        """The ASE calculator of the model, in a field in V/A where one is given.

        :param order: of the response to the field; None is the highest there is.
        """
        return SmileCalculator(
            self.model,
            electric_field=field,
            device=str(self.device),
            field_order=order,
            head=self.head,
        )

    def batch(self, atoms: ase.Atoms) -> Batch:
        """A structure as a batch of one.

        :raises UserError: for structures the model refuses.
        """
        with default_dtype(self.dtype):
            data = atomic_data(
                atoms,
                self.z_table,
                float(self.model.r_max),
                self.keys,
                self.model.heads,
                self.settings,
                self.head,
            )
        batch = torch_geometric.Batch.from_data_list([data])
        return dict(batch.to(self.device).to_dict())

    def evaluate(
        self, atoms: ase.Atoms, change: Callable[[Batch], Batch] | None = None
    ) -> dict[str, np.ndarray]:
        """What the model has of energy, forces, stress, charges, dipoles and Born charges.

        Shapes are those of one structure, without an axis of structures; units are those of
        :mod:`mace_smile.quantities`. The stress is there where the cell has a volume.

        :param change: of the batch, before the model sees it.
        """
        batch = self.batch(atoms)
        has_stress = has_volume(atoms)
        output = self.model(change(batch) if change else batch, compute_stress=has_stress)
        return self._arrays(output, has_stress)

    def evaluate_energy(self, atoms: ase.Atoms) -> dict[str, np.ndarray]:
        """The same without derivatives, for finite differences."""
        with torch.no_grad():
            output = self.model(self.batch(atoms), compute_force=False, compute_born_charges=False)
        return self._arrays(output, False)

    def _arrays(
        self, output: dict[str, torch.Tensor | None], has_stress: bool
    ) -> dict[str, np.ndarray]:
        arrays = {}
        for name, value in output.items():
            known = name in quantities.BY_NAME or name == "response_charges"
            if value is None or not known or (name == quantities.STRESS and not has_stress):
                continue
            per_atom = name == "response_charges" or quantities.BY_NAME[name].per_atom
            array = value.detach().cpu().numpy()
            arrays[name] = array if per_atom else array[0]
        return arrays

    def periodic_axes(self, atoms: ase.Atoms) -> np.ndarray:
        """Axes along which the charges are periodic, shape ``(3,)``, bool."""
        pbc = torch.tensor(atoms.pbc.tolist())
        axes = model_axes(pbc.view(1, 3), self.options.boundary, self.options.slab_axis)
        return np.array(axes.view(3).tolist())

    def uses_mesh(self, n_atoms: int) -> bool:
        """Whether the electrostatic sum of a structure runs over a mesh."""
        if not self.options.has_electrostatics:
            return False
        method = self.options.electrostatics
        return method in ("pme", "p3m") or (method == "auto" and n_atoms > EWALD_ATOMS)

    def mesh_error(self) -> float:
        """Relative error of the electrostatic forces of a sum over a mesh."""
        parameters = self.options.coulomb_parameters(float(self.model.r_max))
        return mesh_error(parameters.mesh_method, parameters.smearing, parameters.mesh_spacing)

    def coulomb_force(self, atoms: ase.Atoms) -> float:
        """Largest force of the field of all other charges on an atom's charge, in eV/A."""
        output = self.model(self.batch(atoms), compute_local_electric_field=True)
        field, charges = output[quantities.LOCAL_ELECTRIC_FIELD], output[quantities.CHARGES]
        return float((charges.unsqueeze(-1) * field).detach().norm(dim=1).max())

    def repeated(self, atoms: ase.Atoms, counts: tuple[int, int, int]) -> ase.Atoms:
        """A supercell, its total charge that of all its cells."""
        supercell = atoms.repeat(counts)
        key = self.options.total_charge_key
        if key in atoms.info:
            supercell.info[key] = atoms.info[key] * int(np.prod(counts))
        return supercell


def has_volume(atoms: ase.Atoms) -> bool:
    """Whether a structure has a stress."""
    return bool(atoms.pbc.any()) and atoms.cell.rank == 3
