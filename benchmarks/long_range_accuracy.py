"""What charges buy: errors on unseen frames of plain MACE and of SmileMACE, trained alike.

``python benchmarks/long_range_accuracy.py --data FOLDER`` trains, for each data set found in the
folder and each seed, plain MACE by MACE's own command and SmileMACE by ours: same config, frames,
epochs and seed, on energies and forces alone. Both are evaluated in one way on frames that neither
has seen. A run whose model is there already is not repeated, so the script can be interrupted.

The last output is stored in ``long_range_accuracy_output.txt``.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import ase.io
import numpy as np
import torch
import yaml
from ase import Atoms
from mace.tools import AtomicNumberTable, build_default_arg_parser, torch_geometric
from mace.tools.torch_tools import default_dtype

from mace_smile.structures import atomic_data

CONFIGS = Path(__file__).parents[1] / "configs"
COMMANDS = {"plain MACE": "mace.cli.run_train", "SmileMACE": "mace_smile.cli.run_train"}
LABELS = ("REF_energy", "REF_forces")


@dataclass(frozen=True)
class DataSet:
    """Frames and how they are split and trained on."""

    name: str
    """Of the data set; its frames are in ``NAME_train.xyz``."""
    config: str
    """File in ``configs``."""
    n_unseen: int
    """Number of frames that are kept for the evaluation."""
    n_valid: int
    """Number of frames that choose the best epoch."""
    max_seeds: int | None = None
    """Number of seeds that are trained at most; None: all."""


DATA_SETS = (
    DataSet("superionic_water", "superionic_long_range.yaml", n_unseen=8, n_valid=3),
    DataSet("water_clusters", "water_clusters_long_range.yaml", n_unseen=15, n_valid=5),
    # For the bias of its energy only.
    DataSet("bulk_water", "superionic_long_range.yaml", n_unseen=8, n_valid=3, max_seeds=1),
)


@dataclass(frozen=True)
class Errors:
    """Errors on unseen frames."""

    force_rmse: float
    """Of the components, in meV/A."""
    energy_rmse: float
    """In meV an atom."""
    energy_bias: float
    """Mean of predicted minus reference, in meV an atom."""
    charges: dict[str, float]
    """Mean charge of each element, in e; empty without charges."""


def split(data_set: DataSet, data: Path, folder: Path) -> None:
    """Write train, valid and unseen frames with energies and forces and no other label.

    The order is random and the same on every call; the last frames are the unseen ones.
    """
    frames = ase.io.read(data / f"{data_set.name}_train.xyz", ":")
    bare = []
    for number in np.random.default_rng(0).permutation(len(frames)):
        given = frames[number]
        atoms = Atoms(given.numbers, given.positions, cell=given.cell, pbc=given.pbc)
        atoms.info["REF_energy"] = given.info["REF_energy"]
        atoms.arrays["REF_forces"] = given.arrays["REF_forces"]
        bare.append(atoms)
    first_unseen = len(bare) - data_set.n_unseen
    first_valid = first_unseen - data_set.n_valid
    folder.mkdir(parents=True, exist_ok=True)
    ase.io.write(folder / "train.xyz", bare[:first_valid])
    ase.io.write(folder / "valid.xyz", bare[first_valid:first_unseen])
    ase.io.write(folder / "unseen.xyz", bare[first_unseen:])


def write_config(data_set: DataSet, kind: str, path: Path) -> None:
    """Write the config of the data set; for plain MACE without the keys MACE does not know."""
    config = yaml.safe_load((CONFIGS / data_set.config).read_text())
    if kind == "plain MACE":
        known = {action.dest for action in build_default_arg_parser()._actions}
        config = {key: value for key, value in config.items() if key in known}
    path.write_text(yaml.safe_dump(config, sort_keys=False))


def trained_model(data_set: DataSet, kind: str, seed: int, folder: Path) -> Path:
    """Return the model of one run, trained if it is not there yet."""
    run = folder / f"{kind.split()[0].lower()}_{seed}"
    model = run / "run.model"
    if not model.is_file():
        shutil.rmtree(run, ignore_errors=True)  # what an interrupted run has left
        run.mkdir()
        write_config(data_set, kind, run / "config.yaml")
        command = [sys.executable, "-m", COMMANDS[kind], "--config", str(run / "config.yaml")]
        command += ["--train_file", str(folder / "train.xyz")]
        command += ["--valid_file", str(folder / "valid.xyz")]
        command += ["--name", "run", "--seed", str(seed), "--work_dir", str(run)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        with (run / "training.log").open("w") as log:
            subprocess.run(command, env=environment, stdout=log, stderr=log, check=True)
    return model


def evaluate(path: Path, frames: list[Atoms]) -> Errors:
    """Evaluate a model of either kind, frame by frame."""
    model = torch.load(path, weights_only=False).eval()
    z_table = AtomicNumberTable([int(z) for z in model.atomic_numbers])
    energy_errors, force_errors = [], []
    charges: dict[str, list[float]] = {}
    for atoms in frames:
        with default_dtype(model.r_max.dtype):
            data = atomic_data(atoms, z_table, float(model.r_max), heads=model.heads)
        batch = torch_geometric.Batch.from_data_list([data]).to_dict()
        output = model(batch, compute_force=True)
        energy_errors.append((float(output["energy"]) - atoms.info["REF_energy"]) / len(atoms))
        force_errors.append(output["forces"].detach().numpy() - atoms.arrays["REF_forces"])
        if output.get("charges") is not None:
            for symbol, charge in zip(atoms.symbols, output["charges"].tolist(), strict=True):
                charges.setdefault(symbol, []).append(charge)
    energy, forces = np.array(energy_errors), np.concatenate(force_errors)
    return Errors(
        force_rmse=1000 * float(np.sqrt(np.mean(forces**2))),
        energy_rmse=1000 * float(np.sqrt(np.mean(energy**2))),
        energy_bias=1000 * float(np.mean(energy)),
        charges={symbol: float(np.mean(values)) for symbol, values in sorted(charges.items())},
    )


def compare(data_set: DataSet, data: Path, work: Path, seeds: list[int]) -> None:
    """Train and evaluate both models with each seed, and print a line for each and the means."""
    folder = work / data_set.name
    if not (folder / "unseen.xyz").is_file():
        split(data_set, data, folder)
    unseen = ase.io.read(folder / "unseen.xyz", ":")
    n_train, n_valid = (
        len(ase.io.read(folder / f"{part}.xyz", ":")) for part in ("train", "valid")
    )
    print(
        f"\n{data_set.name}: {data_set.config}; {n_train} frames to train on, {n_valid} for "
        f"validation, {len(unseen)} unseen"
    )
    print("seed  model       force RMSE  energy RMSE  energy bias  mean charges")
    print("                     meV/A     meV/atom     meV/atom  e")
    results: dict[str, list[Errors]] = {kind: [] for kind in COMMANDS}
    for seed in seeds[: data_set.max_seeds]:
        for kind in COMMANDS:
            errors = evaluate(trained_model(data_set, kind, seed, folder), unseen)
            results[kind].append(errors)
            charges = "  ".join(f"{name} {value:+.3f}" for name, value in errors.charges.items())
            print(
                f"{seed:>4}  {kind:<10}  {errors.force_rmse:10.2f}  {errors.energy_rmse:11.3f}  "
                f"{errors.energy_bias:+11.3f}  {charges}",
                flush=True,
            )
    means = {}
    for kind, runs in results.items():
        columns = np.array([(run.force_rmse, run.energy_rmse, run.energy_bias) for run in runs])
        means[kind] = columns.mean(axis=0)
        force, energy, bias = means[kind]
        print(f"mean  {kind:<10}  {force:10.2f}  {energy:11.3f}  {bias:+11.3f}")
    ratios = [
        smile.force_rmse / plain.force_rmse
        for plain, smile in zip(results["plain MACE"], results["SmileMACE"], strict=True)
    ]
    print(
        f"gain {data_set.name}: force RMSE "
        f"{100 * (1 - means['SmileMACE'][0] / means['plain MACE'][0]):.1f} percent (by seed "
        f"{', '.join(f'{100 * (1 - ratio):.1f}' for ratio in ratios)}), energy RMSE "
        f"{100 * (1 - means['SmileMACE'][1] / means['plain MACE'][1]):.1f} percent",
        flush=True,
    )


def main() -> None:
    """Compare the two models on every data set that is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with NAME_train.xyz files")
    parser.add_argument("--work_dir", type=Path, default=Path("output/long_range_accuracy"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--data_sets", nargs="+", help="names of those to take; all without")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    found = [
        data_set
        for data_set in DATA_SETS
        if (arguments.data / f"{data_set.name}_train.xyz").is_file()
        and (arguments.data_sets is None or data_set.name in arguments.data_sets)
    ]
    if not found:
        names = ", ".join(f"{data_set.name}_train.xyz" for data_set in DATA_SETS)
        sys.exit(f"'{arguments.data}' holds none of {names}")
    print(f"# {platform.machine()}, {os.cpu_count()} cores, 1 thread")
    packages = ("torch", "mace-torch", "torch-pme", "e3nn")
    print("# " + ", ".join(f"{name} {version(name)}" for name in packages))
    for data_set in found:
        compare(data_set, arguments.data, arguments.work_dir, arguments.seeds)


if __name__ == "__main__":
    main()
