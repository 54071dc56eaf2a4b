"""What the exported model costs beside the ``.model`` evaluated in memory.

Both get their neighbour list ready made and give energy and forces, with a field, or with the
stress; they take turns in one process, so that ratios hold on a machine whose speed drifts. The
exported file is loaded and called as ASE, i-PI and LAMMPS do, without the consistency checks of
metatomic. Prints the hardware, the versions and a row for each case.

    python benchmarks/export.py [--device cuda] [--channels 32] [--threads 1]

Its last output is in export_output.txt.
"""

import argparse
import gc
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import ase
import torch
from metatomic.torch import (
    AtomisticModel,
    ModelEvaluationOptions,
    ModelOutput,
    System,
    load_atomistic_model,
    systems_to_torch,
)
from plain_mace import make_backbone
from timing import paired_times, print_header
from vesin.metatomic import neighbor_lists_for_model
from water import make_batch, water_cell

from mace_smile.memory import keep_freed_memory
from mace_smile.model.options import SmileOptions
from mace_smile.model.smile_mace import SmileMACE
from mace_smile.physics.response import field_forces
from metatensor_models.export import build_atomistic_model
from metatensor_models.options import ExportOptions

FIELD = (0.0, 0.0, 0.05)
#: What is asked for: name, variant of the energy, whether the stress is wanted.
CASES = (
    ("energy, forces", "energy", False),
    ("energy, forces, stress", "energy", True),
    ("energy, forces in a field", "energy/z05", False),
)
MODELS = {
    "short range": {"charge_head": "none", "electrostatics": "none", "screening": "uncoupled"},
    "long range": {"screening": "uncoupled"},
}


def export(model: SmileMACE) -> AtomisticModel:
    """The model exported and loaded again."""
    exported = build_atomistic_model(model, ExportOptions(fields={"z05": FIELD}))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pt"
        exported.save(path)
        return load_atomistic_model(path)


def run_in_memory(
    model: SmileMACE, batch: dict[str, torch.Tensor], output: str, stress: bool
) -> Callable[[], None]:
    """One evaluation of the model in memory, on a batch that is there."""
    field = torch.tensor(FIELD, dtype=model.r_max.dtype, device=model.r_max.device)
    has_field = output != "energy"

    def evaluate() -> None:
        predicted = model(dict(batch), compute_stress=stress, compute_born_charges=has_field)
        if has_field:
            predicted["forces"] + field_forces(predicted["born_effective_charges"], field)

    return evaluate


def run_exported(
    exported: AtomisticModel, atoms: ase.Atoms, output: str, stress: bool, device: str
) -> Callable[[], None]:
    """One evaluation of the exported model, on a system whose neighbour list is there."""
    options = ModelEvaluationOptions(
        length_unit="angstrom", outputs={output: ModelOutput(unit="eV")}
    )
    dtype = getattr(torch, exported.capabilities().dtype)
    system = systems_to_torch(atoms, dtype=dtype)
    for calculator in neighbor_lists_for_model("angstrom", exported):
        calculator.add_neighbor_list(system)
    system = system.to(device=device)

    def evaluate() -> None:
        leaf = system.positions.detach().requires_grad_(True)
        wanted, positions, cell = [leaf], leaf, system.cell
        if stress:
            strain = torch.eye(3, dtype=dtype, device=device, requires_grad=True)
            wanted, positions, cell = [leaf, strain], leaf @ strain, cell @ strain
        strained = System(system.types, positions, cell, system.pbc)
        for request in system.known_neighbor_lists():
            strained.add_neighbor_list(request, system.get_neighbor_list(request))
        energy = exported([strained], options, check_consistency=False)[output]
        torch.autograd.grad(energy.block().values.sum(), wanted)

    return evaluate


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--max_L", type=int, default=0)
    parser.add_argument("--correlation", type=int, default=2)
    parser.add_argument("--r_max", type=float, default=4.5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, nargs=2, default=(9, 3))
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--dtypes", nargs="+", default=["float32", "float64"])
    args = parser.parse_args()
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=UserWarning)
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    print_header(args.device, args.threads)
    print("model        dtype    atoms  asked for                  .model ms  exported ms  ratio")
    for dtype in args.dtypes:
        torch.set_default_dtype(getattr(torch, dtype))
        for name in args.models:
            backbone = make_backbone(args.channels, args.max_L, args.correlation, args.r_max)
            model = SmileMACE(backbone, SmileOptions(**MODELS[name])).to(args.device).eval()
            exported = export(model).to(args.device)
            for repeat, repeats in zip((1, 2), args.repeats, strict=True):
                atoms = water_cell().repeat(repeat)
                batch = make_batch([atoms], args.r_max, args.device)
                for case, output, stress in CASES:
                    functions = [
                        run_in_memory(model, batch, output, stress),
                        run_exported(exported, atoms, output, stress, args.device),
                    ]
                    (own, other), (_, ratio) = paired_times(
                        functions, repeats, args.device, warmup=4
                    )
                    print(
                        f"{name:12s} {dtype:8s} {len(atoms):5d}  {case:25s} {own * 1e3:10.1f} "
                        f"{other * 1e3:12.1f} {ratio:6.2f}",
                        flush=True,
                    )
                    gc.collect()


if __name__ == "__main__":
    main()
