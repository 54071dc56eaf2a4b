"""Trial structures for an exported model, and all it gives for one: what its checks compare."""

import math
from collections.abc import Mapping, Sequence

import ase
import numpy as np
import torch
from metatomic.torch import AtomisticModel, ModelEvaluationOptions, systems_to_torch
from vesin.metatomic import neighbor_lists_for_model

from mace_smile import quantities
from mace_smile.errors import UserError
from metatensor_models.fields import Vector

#: Largest relative deviation of two ways to one number, by precision.
TOLERANCES = {"float32": 1e-5, "float64": 1e-10}
BORN_CHARGES = quantities.BY_NAME[quantities.BORN_EFFECTIVE_CHARGES].metatomic
POLARIZABILITY = quantities.BY_NAME[quantities.POLARIZABILITY].metatomic
#: Spacing of the atoms of the trial structures in A.
SPACING = 2.0


class SelfCheckError(UserError):
    """The exported file does not give what the model gives, or the model gives no numbers."""


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
    fields: Mapping[str, Vector] | None = None,
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
    # TorchScript's optimiser would take longer than the few calls of a check.
    with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
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


def trial_structures(
    model: AtomisticModel,
    boundary: str,
    slab_axis: int,
    is_slab: bool,
    given_numbers: Sequence[int] = (),
    tilt: np.ndarray | None = None,
) -> list[ase.Atoms]:
    """Small structures of the model's elements, in the boundaries the export allows.

    :param model: tells the elements, of which at most eight are used, and the cutoffs, which
        the vacuum must exceed.
    :param boundary: that is stored in the model.
    :param slab_axis: cell axis across a slab.
    :param is_slab: whether nothing but slabs can be used, as with a field in vacuum.
    :param given_numbers: elements in the order the model wants, where charges are given by index.
    :param tilt: rotation of slabs, which takes the Cartesian axis across them to their normal,
        shape ``(3, 3)``; None leaves them.
    """
    numbers = list(model.capabilities().atomic_types)
    cutoff = max(request.cutoff for request in model.requested_neighbor_lists())
    elements = list(given_numbers) or (numbers[:8] * 8)[:8]
    side = math.ceil(len(elements) ** (1 / 3))
    grid = np.array(list(np.ndindex(side, side, side)), dtype=float)[: len(elements)]
    generator = np.random.default_rng(0)
    positions = SPACING * grid + generator.uniform(-0.2, 0.2, grid.shape)
    extent = SPACING * side
    vacuum = np.full(3, extent + cutoff + 1.0)
    atoms = ase.Atoms(elements, positions)
    structures: list[ase.Atoms] = []
    if boundary in ("auto", "periodic") and not is_slab:
        periodic = atoms.copy()
        periodic.set_cell(np.full(3, extent))
        periodic.set_pbc(True)
        structures.append(periodic)
    if boundary in ("auto", "slab"):
        slab = atoms.copy()
        across = np.arange(3) == slab_axis
        if boundary == "auto":  # an engine that knows slabs
            slab.set_cell(np.where(across, 0.0, extent))
            slab.set_pbc(~across)
        else:
            slab.set_cell(np.where(across, vacuum, extent))
            slab.set_pbc(True)
        if tilt is not None:
            slab.set_cell(np.array(slab.cell) @ tilt.T)
            slab.positions = slab.positions @ tilt.T
        structures.append(slab)
    if boundary in ("auto", "open") and not is_slab:
        cluster = atoms.copy()
        if boundary == "open":
            cluster.set_cell(vacuum)
            cluster.set_pbc(True)
        structures.append(cluster)
    return structures
