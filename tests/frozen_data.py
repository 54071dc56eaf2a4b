"""Slabs with dipoles of a known law, and commands on them, that the tests of frozen MACEs share.

Their dipole is that of fixed charges and of bond dipoles from H to O, screened by 1 + CHI, with
given charges on the walls at their bare value.
"""

import argparse
import functools
import io
import logging
from pathlib import Path

import ase
import ase.io
import numpy as np
import torch

from helpers import R_MAX, make_backbone, water
from mace_smile.frozen.flags import build_scan_parser

CHI = 0.5
HYDROGEN_CHARGE = 0.35
FLAGS = (
    "--E0s={1:-1.0,8:-2.0,10:-3.0}",
    "--given_charges_key=wall_charge",
    "--given_mask_key=wall",
    "--dipole_head=local",
    "--dipole_elements=O",
    "--batch_size=1",
    "--default_dtype=float64",
    "--seed=1",
)


def bond_dipole(lengths: np.ndarray) -> np.ndarray:
    """Strength in e A of the dipole on O that an H at some distance makes; smooth, short."""
    return 0.3 * np.exp(-lengths) * (1.0 - np.clip(lengths / R_MAX, 0.0, 1.0) ** 2) ** 3


def slab(run: int, snapshot: int, wall_charge: float) -> ase.Atoms:
    """Six water molecules between charged layers of neon, with energy, forces and dipole."""
    atoms = water(6, seed=10 * run + snapshot)
    atoms.positions[:, 2] += 6.0
    atoms += ase.Atoms("Ne2", [[1.0, 1.0, 2.8], [1.0, 1.0, 12.4]])
    atoms.set_cell([6.4, 6.6, 20.0])
    atoms.pbc = [True, True, False]
    atoms.arrays["wall"] = (atoms.numbers == 10).astype(int)
    atoms.arrays["wall_charge"] = np.zeros(len(atoms))
    atoms.arrays["wall_charge"][-2:] = [wall_charge, -wall_charge]
    charges = np.where(atoms.numbers == 1, HYDROGEN_CHARGE, -2.0 * HYDROGEN_CHARGE)
    charges[-2:] = atoms.arrays["wall_charge"][-2:]
    dipole = float(charges @ atoms.positions[:, 2])
    for oxygen in np.flatnonzero(atoms.numbers == 8):
        vectors = atoms.get_distances(
            oxygen, np.flatnonzero(atoms.numbers == 1), mic=True, vector=True
        )
        lengths = np.linalg.norm(vectors, axis=1)
        near = lengths < R_MAX
        dipole -= float((bond_dipole(lengths) * vectors[:, 2] / lengths)[near].sum())
    atoms.info["REF_dipole"] = np.array([0.0, 0.0, dipole / (1.0 + CHI)])
    atoms.info["geometry_id"] = f"run{run}_s{snapshot}"
    atoms.arrays["REF_charges"] = charges
    atoms.info["REF_energy"] = float(-9.0 * 6 - 6.0 + 0.01 * run)
    atoms.arrays["REF_forces"] = 0.01 * np.cos(np.arange(3.0 * len(atoms))).reshape(-1, 3)
    return atoms


def slabs(n_runs: int = 4, n_snapshots: int = 3) -> list[ase.Atoms]:
    """Runs of some geometries, each with two charges of the walls."""
    return [
        slab(run, snapshot, charge)
        for run in range(n_runs)
        for snapshot in range(n_snapshots)
        for charge in (0.1 * (snapshot - 1), 0.05 + 0.1 * run)
    ]


@functools.cache
def _stored_mace() -> bytes:
    """A file with a MACE of random weights, made once: building one takes a second."""
    stream = io.BytesIO()
    torch.save(make_backbone("4x0e", n_layers=1, r_max=R_MAX), stream)
    return stream.getvalue()


def prepare(directory: Path, frames: list[ase.Atoms] | None = None) -> None:
    """Write ``train.xyz`` and a MACE with random weights, ``mace.model``."""
    ase.io.write(directory / "train.xyz", slabs() if frames is None else frames)
    (directory / "mace.model").write_bytes(_stored_mace())


def arguments(directory: Path, *flags: str, foundation: bool = True) -> argparse.Namespace:
    """Arguments of a run called ``film``; those of the scan serve both commands."""
    common = [f"--train_file={directory}/train.xyz", "--name=film", f"--work_dir={directory}"]
    if foundation:
        common.append(f"--foundation_model={directory}/mace.model")
    return build_scan_parser().parse_args([*common, *FLAGS, *flags])


def scan_arguments(directory: Path, *flags: str) -> argparse.Namespace:
    """Arguments of a scan that leaves out whole runs."""
    groups = ("--group_key=geometry_id", "--group_pattern=(.*)_s[0-9]+", "--bootstrap=50")
    return arguments(directory, *groups, *flags)


def log_of(directory: Path, tag: str) -> str:
    """Text of a log."""
    logging.shutdown()
    return (directory / "logs" / f"{tag}.log").read_text()
