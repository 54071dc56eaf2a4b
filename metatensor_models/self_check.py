"""A file is written only when it gives, loaded anew, what the model in memory gives."""

import math
from collections.abc import Mapping
from pathlib import Path

import ase
import numpy as np
import torch
from metatomic.torch import (
    AtomisticModel,
    ModelEvaluationOptions,
    load_atomistic_model,
    systems_to_torch,
)
from vesin.metatomic import neighbor_lists_for_model

from mace_smile import quantities
from metatensor_models.options import ExportOptions

#: Largest relative deviation of forces, by precision.
TOLERANCES = {"float32": 1e-5, "float64": 1e-10}
BORN_CHARGES = quantities.BY_NAME[quantities.BORN_EFFECTIVE_CHARGES].metatomic
POLARIZABILITY = quantities.BY_NAME[quantities.POLARIZABILITY].metatomic
#: Spacing of the atoms of the trial structures in A.
SPACING = 2.0


class SelfCheckError(RuntimeError):
    """The exported file does not give what the model gives: a bug, not the user's mistake."""


def check_exported(path: str | Path, eager: AtomisticModel, options: ExportOptions) -> None:
    """Compare a written file with the model in memory, on small trial structures.

    All outputs and the forces of each variant must agree, and the force of each macroscopic
    field must be Z^T E, and half the gradient of E . alpha E where the field acts to second order.

    :param path: the exported file.
    :param eager: the model before compilation, with the same interface.
    :param options: of the export.
    :raises SelfCheckError: when they differ.
    """
    written = load_atomistic_model(path)
    tolerance = TOLERANCES[eager.capabilities().dtype]
    for atoms in trial_structures(options, eager):
        found, wanted = evaluate(written, atoms, options.fields), evaluate(eager, atoms)
        for name, values in wanted.items():
            compare(name, found[name], values, tolerance)
        if options.field_kind == "macroscopic":
            for name, field in options.fields.items():
                forces = found["forces"] + np.einsum("iab,a->ib", found[BORN_CHARGES], field)
                if options.field_order != 1:
                    forces = forces + found.get(f"second order/{name}", 0.0)
                compare("force of a field", found[f"forces/{name}"], forces, tolerance)


def compare(name: str, found: np.ndarray, wanted: np.ndarray, tolerance: float) -> None:
    """Raise when two arrays differ by more than the tolerance, relative to their size."""
    scale = 1.0 + float(np.abs(wanted).max())
    deviation = float(np.abs(found - wanted).max()) / scale
    if not deviation <= tolerance:
        raise SelfCheckError(
            f"the exported file gives another {name} than the model: relative deviation "
            f"{deviation:.1e}, allowed {tolerance:.0e}; nothing was written"
        )


def evaluate(
    model: AtomisticModel,
    atoms: ase.Atoms,
    fields: Mapping[str, tuple[float, float, float]] | None = None,
) -> dict[str, np.ndarray]:
    """All outputs of a model for one structure, and the forces of each energy.

    :param model: exported model, on the CPU.
    :param atoms: the structure.
    :param fields: in V/A, for which to differentiate E . alpha E, if the model has it.
    :return: by metatomic's names; ``forces``, ``forces/<field>`` and ``second order/<field>`` in
        eV/A beside them.
    """
    capabilities = model.capabilities()
    system = systems_to_torch(atoms, dtype=getattr(torch, capabilities.dtype))
    system.positions.requires_grad_(True)
    for calculator in neighbor_lists_for_model("angstrom", model):
        calculator.add_neighbor_list(system)
    # metatomic adds old names of its standard quantities, such as "charges" for "charge".
    wanted = {name: output for name, output in capabilities.outputs.items() if name != "charges"}
    predicted = model(
        [system],
        ModelEvaluationOptions(length_unit="angstrom", outputs=wanted),
        check_consistency=True,
    )
    results: dict[str, np.ndarray] = {}
    for name, tensor_map in predicted.items():
        values = tensor_map.block().values
        results[name] = values.detach().squeeze(-1).double().numpy()
        if name.split("/")[0] == "energy":
            (gradient,) = torch.autograd.grad(values.sum(), system.positions, retain_graph=True)
            results[name.replace("energy", "forces", 1)] = -gradient.double().numpy()
        if name == POLARIZABILITY and values.requires_grad:
            for field, vector in (fields or {}).items():
                e = torch.tensor(vector, dtype=values.dtype)
                energy = 0.5 * (values.squeeze(-1) @ e @ e).sum()
                (gradient,) = torch.autograd.grad(energy, system.positions, retain_graph=True)
                results[f"second order/{field}"] = gradient.double().numpy()
    return results


def trial_structures(options: ExportOptions, eager: AtomisticModel) -> list[ase.Atoms]:
    """Small structures of the model's elements, in the boundaries the export allows.

    :param options: of the export; with given charges their elements and order are kept.
    :param eager: tells the elements, of which at most eight are used, and the cutoffs, which
        the vacuum must exceed.
    """
    numbers = list(eager.capabilities().atomic_types)
    cutoff = max(request.cutoff for request in eager.requested_neighbor_lists())
    if options.given_charges is None:
        elements = (numbers[:8] * 8)[:8]
    else:
        elements = options.given_charges.atomic_numbers.tolist()
    side = math.ceil(len(elements) ** (1 / 3))
    grid = np.array(list(np.ndindex(side, side, side)), dtype=float)[: len(elements)]
    generator = np.random.default_rng(0)
    positions = SPACING * grid + generator.uniform(-0.2, 0.2, grid.shape)
    extent = SPACING * side
    vacuum = np.full(3, extent + cutoff + 1.0)
    atoms = ase.Atoms(elements, positions)
    structures: list[ase.Atoms] = []
    if options.boundary in ("auto", "periodic") and options.field_kind != "vacuum":
        periodic = atoms.copy()
        periodic.set_cell(np.full(3, extent))
        periodic.set_pbc(True)
        structures.append(periodic)
    if options.boundary in ("auto", "slab"):
        axis = options.slab_axis
        slab = atoms.copy()
        across = np.arange(3) == axis
        if options.boundary == "auto":  # an engine that knows slabs
            slab.set_cell(np.where(across, 0.0, extent))
            slab.set_pbc(~across)
        else:
            slab.set_cell(np.where(across, vacuum, extent))
            slab.set_pbc(True)
        structures.append(slab)
    if options.boundary in ("auto", "open") and options.field_kind != "vacuum":
        cluster = atoms.copy()
        if options.boundary == "open":
            cluster.set_cell(vacuum)
            cluster.set_pbc(True)
        structures.append(cluster)
    return structures
