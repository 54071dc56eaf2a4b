"""Exported models for tests: written once a session, and evaluated without an engine."""

import tempfile
from pathlib import Path
from typing import Optional

import ase
import numpy as np
import torch
from metatensor.torch import Labels, TensorBlock
from metatomic.torch import (
    AtomisticModel,
    ModelEvaluationOptions,
    ModelOutput,
    System,
    load_atomistic_model,
    systems_to_torch,
)
from vesin.metatomic import neighbor_lists_for_model

from helpers import make_model
from mace_smile.model.smile_mace import SmileMACE
from metatensor_models.export import build_atomistic_model, export_model
from metatensor_models.options import ExportOptions

FIELDS = {"z05": (0.0, 0.0, 0.05), "tilted": (0.03, -0.02, 0.04)}
#: Options of a model whose outputs of an atom depend on its receptive field only.
LOCAL = {"electrostatics": "none", "total_charge_constraint": "none"}


def write_model(folder: Path, model: SmileMACE | None = None, **options) -> Path:
    """Export a model with the fields of these tests; returns the file."""
    options = ExportOptions(**{"fields": FIELDS, **options})
    return export_model(model or make_model(), folder / "model.pt", options)


def build(model: SmileMACE | None = None, **options) -> AtomisticModel:
    """A model exported to a file and loaded again, without the check of the export."""
    options = ExportOptions(**{"fields": FIELDS, **options})
    exported = build_atomistic_model(model or make_model(), options)
    with tempfile.TemporaryDirectory() as folder:
        exported.save(Path(folder) / "model.pt")
        return load_atomistic_model(Path(folder) / "model.pt")


def to_system(model: AtomisticModel, atoms: ase.Atoms, seed: int | None = None) -> System:
    """A metatomic System with its neighbour list, its positions ready for gradients.

    :param seed: shuffle the neighbour list with this seed.
    """
    atoms = atoms.copy()
    atoms.cell[~atoms.pbc] = 0.0
    system = systems_to_torch(atoms, dtype=getattr(torch, model.capabilities().dtype))
    system.positions.requires_grad_(True)
    for neighbor_list in neighbor_lists_for_model("angstrom", model):
        block = neighbor_list.compute(system)
        if seed is not None:
            order = np.random.default_rng(seed).permutation(len(block.samples))
            block = TensorBlock(
                block.values[order],
                Labels(block.samples.names, block.samples.values[order]),
                block.components,
                block.properties,
            )
        system.add_neighbor_list(neighbor_list.options, block)
    return system


def run(
    model: AtomisticModel,
    systems: list[System],
    names: list[str],
    sample_kind: str = "system",
    selected_atoms: Optional[Labels] = None,  # a TorchScript class knows no `|`
) -> dict[str, torch.Tensor]:
    """Values of some outputs, with metatomic's consistency checks."""
    options = ModelEvaluationOptions(
        length_unit="angstrom",
        outputs={name: ModelOutput(sample_kind=sample_kind) for name in names},
        selected_atoms=selected_atoms,
    )
    outputs = model(systems, options, check_consistency=True)
    return {name: outputs[name].block().values.squeeze(-1) for name in names}


def forces(
    model: AtomisticModel, atoms: ase.Atoms, output: str = "energy", seed: int | None = None
) -> np.ndarray:
    """Forces of one energy output in eV/A."""
    system = to_system(model, atoms, seed)
    energy = run(model, [system], [output])[output].sum()
    return -torch.autograd.grad(energy, system.positions)[0].numpy()
