"""From tensors to TensorMaps, and the declaration of what an exported model can compute.

Names, shapes and units come from :mod:`mace_smile.quantities`; the field variants of the energy
from :mod:`metatensor_models.fields`.
"""

from typing import List

import torch
from metatensor.torch import Labels, TensorBlock, TensorMap
from metatomic.torch import ModelOutput

from mace_smile import quantities
from mace_smile.model.options import SmileOptions
from metatensor_models.fields import Vector, declare_fields

#: Outputs of models with electrostatics, in the order they are declared.
ELECTROSTATIC_OUTPUTS = (
    quantities.SHORT_RANGE_ENERGY,
    quantities.ELECTROSTATIC_ENERGY,
    quantities.ELECTROSTATIC_POTENTIAL,
    quantities.LOCAL_ELECTRIC_FIELD,
)
#: Outputs of models with charges or atomic dipoles, in the order they are declared.
DIPOLE_OUTPUTS = (quantities.RESPONSE_DIPOLE, quantities.MACRO_DIPOLE)


def output_names(options: SmileOptions) -> list[str]:
    """Names (of our table) of what a model with these options exports."""
    names = [quantities.ENERGY]
    if options.has_electrostatics:
        names.extend(ELECTROSTATIC_OUTPUTS)
    if options.has_charges:
        names.append(quantities.CHARGES)
    if options.has_atomic_dipoles:
        names.append(quantities.ATOMIC_DIPOLES)
    if options.has_dipole:
        names.extend(DIPOLE_OUTPUTS)
    if options.has_born_charges:
        names.append(quantities.BORN_EFFECTIVE_CHARGES)
    if options.has_polarizability:
        names.append(quantities.POLARIZABILITY)
    return names


def declare_outputs(
    options: SmileOptions, fields: dict[str, Vector], field_kind: str
) -> dict[str, ModelOutput]:
    """Capabilities of an exported model.

    :param options: of the model.
    :param fields: name and vector in V/A of each field.
    :param field_kind: ``macroscopic`` or ``vacuum``.
    :return: metatomic's declaration of each output, under its metatomic name.
    """
    declared: dict[str, ModelOutput] = {}
    for name in output_names(options):
        quantity = quantities.BY_NAME[name]
        per_atom = quantity.per_atom or name == quantities.ENERGY
        declared[quantity.metatomic] = ModelOutput(
            unit=quantity.unit,
            sample_kind="atom" if per_atom else "system",
            description=quantity.meaning,
        )
    declared.update(declare_fields(fields, field_kind))
    return declared


def component_labels(names: List[str], device: torch.device) -> List[Labels]:
    """Labels of Cartesian axes: one set of three a name."""
    labels: List[Labels] = []
    for name in names:
        labels.append(Labels([name], torch.arange(3, device=device).reshape(-1, 1)))
    return labels


def to_tensor_map(
    values: torch.Tensor, samples: Labels, components: List[str], property_name: str
) -> TensorMap:
    """One block that holds one property.

    :param values: shape ``(n_samples, *components)``, one axis of length 3 a component.
    :param samples: labels of the first axis.
    :param components: names of the Cartesian axes.
    :param property_name: name of the property.
    """
    zero = torch.zeros((1, 1), dtype=torch.int64, device=values.device)
    block = TensorBlock(
        values=values.unsqueeze(-1),
        samples=samples,
        components=component_labels(components, values.device),
        properties=Labels([property_name], zero),
    )
    return TensorMap(keys=Labels(["_"], zero), blocks=[block])


def atom_samples(batch: torch.Tensor, ptr: torch.Tensor, index: torch.Tensor) -> Labels:
    """Labels (system, atom) of some atoms of a batch.

    :param batch: structure of each atom, shape ``(n_atoms,)``.
    :param ptr: first atom of each structure, shape ``(n_graphs + 1,)``.
    :param index: the atoms, shape ``(n_samples,)``.
    """
    graphs = batch[index]
    return Labels(["system", "atom"], torch.stack([graphs, index - ptr[graphs]], dim=1))


def system_samples(n_graphs: int, device: torch.device) -> Labels:
    """Labels (system) of all structures of a batch."""
    return Labels(["system"], torch.arange(n_graphs, device=device).reshape(-1, 1))


def select_output(
    values: torch.Tensor,
    output: ModelOutput,
    batch: torch.Tensor,
    ptr: torch.Tensor,
    index: torch.Tensor,
    components: List[str],
    property_name: str,
) -> TensorMap:
    """A quantity of the selected atoms, each for itself or added up for each structure.

    :param values: of all atoms, shape ``(n_atoms, *components)``.
    :param output: says whether the engine wants atoms or systems.
    :param batch: structure of each atom, shape ``(n_atoms,)``.
    :param ptr: first atom of each structure, shape ``(n_graphs + 1,)``.
    :param index: the selected atoms.
    :param components: names of the Cartesian axes.
    :param property_name: name of the property.
    """
    selected = values[index]
    if output.sample_kind == "atom":
        return to_tensor_map(selected, atom_samples(batch, ptr, index), components, property_name)
    n_graphs = ptr.numel() - 1
    shape: List[int] = [n_graphs]
    for size in values.shape[1:]:
        shape.append(size)
    total = torch.zeros(shape, dtype=values.dtype, device=values.device)
    total = total.index_add(0, batch[index], selected)
    return to_tensor_map(total, system_samples(n_graphs, values.device), components, property_name)


def electrostatic_output(
    values: torch.Tensor,
    name: str,
    output: ModelOutput,
    property_name: str,
    batch: torch.Tensor,
    ptr: torch.Tensor,
) -> TensorMap:
    """An energy of structures, or a potential or field, which have a value at each atom only.

    :param values: shape ``(n_graphs,)``, ``(n_atoms,)`` or ``(n_atoms, 3)``.
    :param name: of the output, which tells energies from the others.
    :param output: says whether the engine wants atoms or systems.
    :param property_name: name of the property.
    :param batch: structure of each atom, shape ``(n_atoms,)``.
    :param ptr: first atom of each structure, shape ``(n_graphs + 1,)``.
    :raises ValueError: when a potential or a field is wanted for systems.
    """
    if name.endswith("energy"):
        samples = system_samples(ptr.numel() - 1, values.device)
        return to_tensor_map(values, samples, [], property_name)
    if output.sample_kind != "atom":
        raise ValueError(
            f"the output '{name}' was asked for with the sample kind '{output.sample_kind}', but a "
            "potential or a field has a value at each atom and no sum over a structure; ask for it "
            "with the sample kind 'atom'"
        )
    samples = atom_samples(batch, ptr, torch.arange(batch.numel(), device=batch.device))
    components: List[str] = []
    if values.dim() == 2:
        components.append("xyz")
    return to_tensor_map(values, samples, components, property_name)
