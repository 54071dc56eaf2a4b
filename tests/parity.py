"""One run of plain ``mace_run_train`` and one of ours with all heads off, to be compared.

The frames are pairs of water molecules, half of them in a periodic cell with stresses and virials;
each run takes about a second.
"""

import importlib
import json
import os
import sys
import types
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from pathlib import Path

import ase
import numpy as np
import pytest
import torch
from mace.cli import preprocess_data
from mace.cli import run_train as mace_run_train
from mace.tools.arg_parser import build_default_arg_parser, build_preprocess_arg_parser
from mace.tools.fairchem_dataset.lmdb_dataset_tools import LMDBDatabase

from mace_smile.training.mace_bridge import train
from mace_smile.training.mace_parser import build_parser
from training_data import frames, logging_restored, write

#: A model that trains in a tenth of a second an epoch.
TINY = (
    "--name=water --num_channels=4 --max_L=1 --max_ell=1 --correlation=2 --num_interactions=2 "
    "--r_max=3.0 --MLP_irreps=4x0e --radial_MLP=[8] --batch_size=2 --valid_batch_size=2 --seed=1 "
    "--pin_memory=False --default_dtype=float64 --max_num_epochs=2 --valid_fraction=0.4 "
    "--plot=False"
)
E0S = "--E0s={1:-1.0,8:-2.0}"
FROM_XYZ = "--train_file=train.xyz"
#: All that turns ours into plain MACE.
HEADS_OFF = "--charge_head=none"


@dataclass(frozen=True)
class Recorded:
    """What a run has left behind."""

    entries: list[dict] = field(default_factory=list)
    """Lines of the results file, without times."""
    weights: dict[str, dict[str, torch.Tensor]] = field(default_factory=dict)
    """Weights of each model file."""
    files: frozenset[str] = frozenset()
    """Names of checkpoints, models and plots."""
    logged: list[dict] = field(default_factory=list)
    """What went to ``wandb.log``."""


def make_data(directory: Path) -> None:
    """Files every case may read."""
    structures = frames(6)
    for number, atoms in enumerate(structures):
        atoms.info["config_type"] = "bulk" if number % 2 else "open"
        if number % 2:
            atoms.set_cell([8.0, 8.5, 9.0])
            atoms.pbc = True
            stress = np.random.default_rng(number).normal(scale=0.01, size=(3, 3))
            atoms.info["REF_stress"] = (stress + stress.T).ravel()
            atoms.info["REF_virials"] = -atoms.get_volume() * atoms.info["REF_stress"]
    write(directory, structures)
    write(directory, structures[:4], "first.xyz")
    write(directory, structures[4:], "last.xyz")
    other = [atoms.copy() for atoms in structures[:3]]
    for atoms in other:
        atoms.info["other_energy"] = atoms.info.pop("REF_energy") + 0.1
        atoms.arrays["other_forces"] = atoms.arrays.pop("REF_forces")
    write(directory, other, "other.xyz")
    atoms = [ase.Atoms(symbol) for symbol in ("H", "O")]
    for atom, energy in zip(atoms, (-1.0, -2.0), strict=True):
        atom.info.update(config_type="IsolatedAtom", REF_energy=energy)
    write(directory, [*atoms, *structures], "with_isolated.xyz")


def prepare_hdf5(directory: Path, *flags: str) -> None:
    """MACE's own preparation: folders ``train`` and ``val``, and statistics."""
    common = [
        f"--train_file={directory}/first.xyz",
        f"--valid_file={directory}/last.xyz",
        f"--h5_prefix={directory}/",
        f"--work_dir={directory}",
        "--r_max=3.0",
        "--compute_statistics",
        "--num_process=2",
        E0S,
    ]
    with logging_restored():
        preprocess_data.run(build_preprocess_arg_parser().parse_args([*common, *flags]))


def write_lmdb(path: Path, structures: list[ase.Atoms]) -> None:
    """A database as MACE reads it."""
    with LMDBDatabase(path) as database:
        for atoms in structures:
            database.write(atoms, data={})


def stub_wandb(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """A module ``wandb`` that keeps what is logged."""
    logged: list[dict] = []
    module = types.ModuleType("wandb")
    module.__spec__ = ModuleSpec("wandb", None)
    module.init = lambda **_: None
    module.log = logged.append
    module.run = types.SimpleNamespace(summary={})
    monkeypatch.setitem(sys.modules, "wandb", module)
    return logged


def run_both(
    data: Path, directory: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
) -> tuple[Recorded, Recorded]:
    """Run plain MACE and ours, each in a folder of its own.

    :param data: where the files are; runs start there.
    :param flags: of one or several runs, one after the other in the same folder.
    """
    compile_nothing = types.SimpleNamespace(compile=None)
    monkeypatch.setattr(mace_run_train, "jit", compile_nothing)  # as slow as all the rest
    logged = stub_wandb(monkeypatch)
    monkeypatch.chdir(data)
    recorded = []
    for name, parser, run, extra in (
        ("mace", build_default_arg_parser(), mace_run_train.run, ""),
        ("ours", build_parser(), train, HEADS_OFF),
    ):
        for of_run in flags:
            text = f"--work_dir={directory / name} {TINY} {of_run} {extra}"
            with logging_restored():
                run(parser.parse_args(text.split()))
        recorded.append(_record(directory / name, list(logged)))
        logged.clear()
    return recorded[0], recorded[1]


def _record(directory: Path, logged: list[dict]) -> Recorded:
    """What the runs in a folder have left."""
    results = directory / "results" / "water_run-1_train.txt"
    lines = results.read_text().splitlines() if results.exists() else []
    entries = [json.loads(line) for line in lines]
    weights = {}
    for path in directory.glob("*.model"):
        model = torch.load(path, weights_only=False)
        weights[path.name] = getattr(model, "backbone", model).state_dict()
    kept = {".pt", ".model", ".png"}
    files = {str(path.relative_to(directory)) for path in directory.rglob("*")}
    names = {name for name in files if os.path.splitext(name)[1] in kept}
    times = {"time"}
    return Recorded(
        [{key: value for key, value in entry.items() if key not in times} for entry in entries],
        weights,
        frozenset(name for name in names if not name.endswith("_restart.pt")),
        logged,
    )


def is_installed(package: str) -> bool:
    """Whether an optional package is there."""
    return importlib.util.find_spec(package) is not None
