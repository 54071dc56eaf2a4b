"""Frames, flags and runs that the tests of training share.

The frames are pairs of water molecules with labels of a simple law: springs between
neighbours, fixed charges, and Born effective charges that are these charges and a little of
the bond direction. Small models learn it in a few epochs.
"""

import argparse
import contextlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import ase
import ase.io
import numpy as np

from helpers import water
from mace_smile.training.mace_bridge import train
from mace_smile.training.mace_parser import build_parser

CHARGES = {"O": -0.8, "H": 0.4}
#: A model that trains in a fraction of a second an epoch.
SMALL = [
    "--E0s={1:-1.0,8:-2.0}",
    "--num_channels=8",
    "--max_L=1",
    "--max_ell=2",
    "--correlation=2",
    "--num_interactions=2",
    "--r_max=4.0",
    "--MLP_irreps=8x0e",
    "--radial_MLP=[16,16]",
    "--batch_size=2",
    "--valid_batch_size=4",
    "--valid_fraction=0.25",
    "--plot=False",
    "--pin_memory=False",
    "--default_dtype=float64",
    "--seed=1",
]


def labelled(atoms: ase.Atoms) -> ase.Atoms:
    """The structure with labels of energy, forces, dipole, charges and Born charges."""
    atoms = atoms.copy()
    charges = np.array([CHARGES[symbol] for symbol in atoms.symbols])
    vectors = atoms.positions[:, None] - atoms.positions[None]
    distances = np.linalg.norm(vectors, axis=-1) + np.eye(len(atoms))
    bonded = (distances < 1.3) & ~np.eye(len(atoms), dtype=bool)
    stretch = np.where(bonded, distances - 1.0, 0.0)
    directions = vectors / distances[..., None]
    atoms.info["REF_energy"] = 0.5 * 2.0 * (stretch**2).sum() - sum(
        {"O": 2.0, "H": 1.0}[symbol] for symbol in atoms.symbols
    )
    atoms.arrays["REF_forces"] = -4.0 * (stretch[..., None] * directions).sum(axis=1)
    atoms.info["REF_dipole"] = charges @ atoms.positions
    atoms.arrays["REF_charges"] = charges
    along = np.einsum("ij,ija,ijb->iab", bonded.astype(float), directions, directions)
    born = charges[:, None, None] * (np.eye(3) + 0.3 * along)
    atoms.arrays["REF_becs"] = born.reshape(-1, 9)
    return atoms


def frames(number: int = 8) -> list[ase.Atoms]:
    """Pairs of water molecules, some 0.05 A off their rest positions."""
    structures = []
    for seed in range(number):
        atoms = water(2, seed=seed)
        atoms.rattle(0.05, seed=seed)
        structures.append(labelled(atoms))
    return structures


def write(directory: Path, structures: list[ase.Atoms], name: str = "train.xyz") -> Path:
    """Write an extended XYZ file."""
    path = directory / name
    ase.io.write(path, structures, format="extxyz")
    return path


def parse(directory: Path, *flags: str, train_file: Path | None = None) -> argparse.Namespace:
    """Arguments of a small run called ``water`` in a directory."""
    path = train_file or directory / "train.xyz"
    common = [f"--train_file={path}", "--name=water", f"--work_dir={directory}"]
    return build_parser().parse_args([*common, *SMALL, *flags])


def run(directory: Path, *flags: str, train_file: Path | None = None) -> None:
    """Train in this process."""
    run_arguments(parse(directory, *flags, train_file=train_file))


@contextlib.contextmanager
def logging_restored() -> Iterator[None]:
    """Take MACE's handlers off the root logger again."""
    root = logging.getLogger()
    handlers, filters, level = list(root.handlers), list(root.filters), root.level
    try:
        yield
    finally:
        for handler in set(root.handlers) - set(handlers):
            root.removeHandler(handler)
            handler.close()
        root.filters[:] = filters
        root.setLevel(level)


def run_arguments(args: argparse.Namespace) -> None:
    """Train in this process."""
    with logging_restored():
        train(args)


def validation(directory: Path) -> list[dict]:
    """Entries of the validation errors in the results file, in order."""
    path = directory / "results" / "water_run-1_train.txt"
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    return [entry for entry in entries if entry["mode"] == "eval"]


def log_of(directory: Path) -> str:
    """Text of the log."""
    return (directory / "logs" / "water_run-1.log").read_text()
