"""What charges and Born effective charges cost beside a plain MACE of the same size.

Both models are timed in turn in one process, so that the ratio holds on a machine whose speed
drifts. Prints the hardware, the versions, each time and one closing line with the ratios.

    python benchmarks/cost.py [--device cuda] [--channels 32] [--threads 1]

Its last output, for max_L 1 and 0, is in cost_output.txt.
"""

import argparse
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version

import ase
import ase.build
import numpy as np
import torch

import mace_smile  # noqa: F401  (before e3nn is imported)

# isort: split
from e3nn import o3
from mace import modules
from mace.tools import AtomicNumberTable, torch_geometric

from mace_smile.model.options import SmileOptions
from mace_smile.model.smile_mace import SmileMACE
from mace_smile.structures import atomic_data

ELEMENTS = [1, 8]


def water_cell() -> ase.Atoms:
    """54 water molecules, 162 atoms, at twice the density of ambient water."""
    rng = np.random.default_rng(0)
    length = 9.31
    grid = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), -1).reshape(-1, 3)
    atoms = ase.Atoms(cell=[length] * 3, pbc=True)
    for place in grid[rng.permutation(64)[:54]]:
        one = ase.build.molecule("H2O")
        one.euler_rotate(*rng.uniform(0, 360, 3))
        one.positions += place * length / 4 - one.get_center_of_mass()
        atoms += one
    return atoms


def make_models(channels: int, max_l: int, correlation: int, r_max: float) -> list:
    """A plain MACE and a SmileMACE that holds an equal one."""
    built = []
    for _ in range(2):
        torch.manual_seed(0)
        blocks = modules.interaction_classes
        built.append(
            modules.ScaleShiftMACE(
                r_max=r_max,
                num_bessel=8,
                num_polynomial_cutoff=5,
                max_ell=2,
                interaction_cls=blocks["RealAgnosticResidualInteractionBlock"],
                interaction_cls_first=blocks["RealAgnosticResidualInteractionBlock"],
                num_interactions=2,
                num_elements=2,
                hidden_irreps=o3.Irreps(
                    "+".join(
                        f"{channels}x{degree}{'eo'[degree % 2]}" for degree in range(max_l + 1)
                    )
                ),
                MLP_irreps=o3.Irreps("16x0e"),
                atomic_energies=np.zeros((1, 2)),
                avg_num_neighbors=30.0,
                atomic_numbers=ELEMENTS,
                correlation=correlation,
                gate=torch.nn.functional.silu,
                atomic_inter_scale=1.0,
                atomic_inter_shift=0.0,
                heads=["Default"],
            )
        )
    return [built[0], SmileMACE(built[1], SmileOptions(screening="uncoupled"))]


def train_step(model: torch.nn.Module, batch: dict) -> None:
    """Forward, a loss on all the model predicts, and the gradient of the parameters."""
    output = model(dict(batch), training=True, compute_force=True)
    loss = output["energy"].square().mean() + output["forces"].square().mean()
    for name in ("born_effective_charges", "macro_dipole", "charges"):
        if output.get(name) is not None:
            loss = loss + output[name].square().mean()
    model.zero_grad(set_to_none=True)
    loss.backward()


def evaluate(model: torch.nn.Module, batch: dict) -> None:
    """Energy and forces; charges, dipoles and Born effective charges where there are heads."""
    model(dict(batch), training=False, compute_force=True)


def paired_times(
    functions: list[Callable[[], None]], repeats: int, device: str
) -> tuple[list[float], float]:
    """Median seconds of each function, called in turn, and the median ratio of the pairs."""
    times: list[list[float]] = [[] for _ in functions]
    for repeat in range(repeats + 2):
        for number, function in enumerate(functions):
            if device != "cpu":
                torch.cuda.synchronize()
            start = time.perf_counter() if device != "cpu" else time.process_time()
            function()
            if device != "cpu":
                torch.cuda.synchronize()
            end = time.perf_counter() if device != "cpu" else time.process_time()
            if repeat > 1:
                times[number].append(end - start)
    ratios = [second / first for first, second in zip(*times, strict=True)]
    return [statistics.median(values) for values in times], statistics.median(ratios)


def main() -> None:
    """Time both models and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--max_L", type=int, default=1)
    parser.add_argument("--correlation", type=int, default=2)
    parser.add_argument("--r_max", type=float, default=3.5)
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(args.threads)
    torch.set_default_dtype(getattr(torch, args.dtype))

    atoms = water_cell()
    data = atomic_data(atoms, AtomicNumberTable(ELEMENTS), args.r_max)
    batch = torch_geometric.Batch.from_data_list([data]).to(args.device).to_dict()
    models = [
        model.to(args.device)
        for model in make_models(args.channels, args.max_L, args.correlation, args.r_max)
    ]
    hardware = torch.cuda.get_device_name() if args.device != "cpu" else f"{os.cpu_count()} cores"
    print(f"# {platform.machine()}, {hardware}, {args.threads} threads")
    names = ("torch", "mace-torch", "torch-pme", "e3nn")
    print("# " + ", ".join(f"{name} {version(name)}" for name in names))
    print(
        f"# {len(atoms)} atoms, {batch['edge_index'].shape[1]} edges, {args.channels} channels, "
        f"max_L {args.max_L}, correlation {args.correlation}, {args.dtype}; "
        f"{'CPU seconds' if args.device == 'cpu' else 'seconds'}, median of {args.repeats} pairs"
    )
    results = {}
    for name, function in (("training", train_step), ("evaluation", evaluate)):
        calls = [lambda model=model, f=function: f(model, batch) for model in models]
        seconds, results[name] = paired_times(calls, args.repeats, args.device)
        print(f"{name:>10}: plain MACE {seconds[0]:.4f}  SmileMACE {seconds[1]:.4f}")
    print(f"ratio_training {results['training']:.3f} ratio_evaluation {results['evaluation']:.3f}")


if __name__ == "__main__":
    main()
